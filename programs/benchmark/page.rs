//! Writes a run into the documentation: the table, the machine, and a plot for each figure that was measured for several
//! numbers of objects.

use std::fmt::Write;
use std::path::Path;

use plotters::prelude::*;

use crate::Failure;
use crate::report::{Plot, Report};

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->\n";

/// Replaces the measured part of a page, and the plots in the folder of its name.
pub(crate) fn write(report: &Report, page: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(page)?;
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or("the page has no part between the two marks")?;
    let folder = page.with_extension("");
    std::fs::create_dir_all(&folder)?;
    let mut measured = format!("Measured on {}.\n\n{report}", machine()?);
    for plot in report.plots() {
        let name = format!("{}.svg", plot.name);
        draw(plot, &folder.join(&name))?;
        let folder = folder.file_name().unwrap_or_default().to_string_lossy();
        writeln!(measured, "\n![{}]({folder}/{name})", plot.title)?;
    }
    std::fs::write(page, format!("{before}{BEGIN}\n{measured}\n{END}{after}"))?;
    Ok(())
}

/// The processor and the memory of this machine.
fn machine() -> Result<String, Failure> {
    let processors = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model.trim());
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib = memory.split_whitespace().nth(1).map_or(Ok(0), str::parse::<u64>)?;
    let gib = kib / 1024 / 1024;
    Ok(format!(
        "{cores} cores of {model} with {gib} GiB, which the control plane and the simulator share"
    ))
}

/// Draws the figure and its limit over the number of objects, both logarithmic.
fn draw(plot: &Plot, file: &Path) -> Result<(), Failure> {
    let area = SVGBackend::new(file, (720, 380)).into_drawing_area();
    area.fill(&WHITE)?;
    let objects = || plot.points.iter().map(|point| point.objects);
    let values = || {
        plot.points
            .iter()
            .flat_map(|point| [point.figure, point.limit])
            .filter(|value| *value > 0.0)
    };
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let x = least(&mut objects())..most(&mut objects());
    let y = least(&mut values()) / 2.0..most(&mut values()) * 2.0;
    let mut chart = ChartBuilder::on(&area)
        .caption(plot.title, ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(x.log_scale(), y.log_scale())?;
    chart.configure_mesh().x_desc("objects").y_desc(plot.unit).draw()?;
    let figures = plot.points.iter().map(|point| (point.objects, point.figure));
    let limits = plot.points.iter().map(|point| (point.objects, point.limit));
    let line = |x: i32, y: i32| vec![(x, y), (x + 16, y)];
    chart
        .draw_series(LineSeries::new(figures, BLUE.stroke_width(2)).point_size(3))?
        .label("measured")
        .legend(move |(x, y)| PathElement::new(line(x, y), BLUE));
    chart
        .draw_series(LineSeries::new(limits, RED))?
        .label(plot.limit)
        .legend(move |(x, y)| PathElement::new(line(x, y), RED));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    area.present()?;
    Ok(())
}
