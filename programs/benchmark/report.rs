//! The rows of a run, as a table and as JSON.

use std::fmt;

use serde::Serialize;

use crate::Failure;

/// A measured figure beside what it is compared with.
#[derive(Serialize)]
pub(crate) struct Row {
    /// What was measured, and of how many objects.
    pub what: String,
    pub of: Measure,
    /// For times and sizes.
    pub unit: &'static str,
    pub figure: f64,
    /// What no operator can beat, or the same without what is measured; `None`: the goal is absolute.
    pub baseline: Option<f64>,
    /// The most that the figure, or its ratio to the baseline, may be.
    pub goal: Goal,
}

/// What a figure counts. Only counts are the same on every machine.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Measure {
    Count,
    Time,
    Size,
}

/// See [`Row::goal`].
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Goal {
    AtMost(f64),
    /// The baseline of a later row.
    None,
    /// In units of the figure, above the baseline.
    AboveBaseline(f64),
    /// Of the figure to the baseline.
    Ratio(f64),
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.baseline
            .filter(|baseline| *baseline > 0.0)
            .map(|baseline| self.figure / baseline)
    }

    fn is_met(&self) -> bool {
        match (self.goal, self.baseline) {
            (Goal::AtMost(most), _) => self.figure <= most,
            (Goal::None, _) => true,
            (Goal::AboveBaseline(most), baseline) => self.figure <= baseline.unwrap_or(0.0) + most,
            (Goal::Ratio(most), baseline) => self.figure <= baseline.unwrap_or(0.0) * most,
        }
    }
}

/// A figure over the number of objects.
#[derive(Serialize)]
pub(crate) struct Plot {
    /// Of its file.
    pub name: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    /// What the limit is.
    pub limit: &'static str,
    pub points: Vec<Point>,
}

/// A point of a plot.
#[derive(Serialize)]
pub(crate) struct Point {
    pub objects: f64,
    pub figure: f64,
    pub limit: f64,
}

/// The rows of a run.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    plots: Vec<Plot>,
}

impl Report {
    /// Adds a row, and prints it at once: a run takes long.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("benchmark: {row}");
        self.rows.push(row);
    }

    /// Adds a point to a plot, which has no points yet if it is new.
    pub(crate) fn point(&mut self, plot: Plot, point: Point) {
        let index = self
            .plots
            .iter()
            .position(|other| other.name == plot.name)
            .unwrap_or(self.plots.len());
        if index == self.plots.len() {
            self.plots.push(plot);
        }
        self.plots[index].points.push(point);
    }

    /// The plots with a line.
    pub(crate) fn plots(&self) -> impl Iterator<Item = &Plot> {
        self.plots.iter().filter(|plot| plot.points.len() > 1)
    }

    /// The rows of counts that miss their goal.
    pub(crate) fn missed_counts(&self) -> Vec<String> {
        let missed = self.rows.iter().filter(|row| row.of == Measure::Count && !row.is_met());
        missed.map(Row::to_string).collect()
    }

    pub(crate) fn to_json(&self) -> Result<String, Failure> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: f64| {
            if value.fract() == 0.0 {
                format!("{value:.0}")
            } else {
                format!("{value:.2}")
            }
        };
        let baseline = self.baseline.map_or_else(|| "-".to_owned(), shown);
        let ratio = self
            .ratio()
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let goal = match self.goal {
            Goal::AtMost(most) => format!("≤ {}", shown(most)),
            Goal::None => "-".to_owned(),
            Goal::AboveBaseline(most) => format!("≤ limit + {}", shown(most)),
            Goal::Ratio(most) => format!("≤ {} ×", shown(most)),
        };
        let met = if self.is_met() { "met" } else { "**missed**" };
        let (what, unit, figure) = (&self.what, self.unit, shown(self.figure));
        write!(
            f,
            "| {what} | {figure} {unit} | {baseline} | {ratio} | {goal} | {met} |"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| measured | figure | limit or baseline | ratio | goal | |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}
