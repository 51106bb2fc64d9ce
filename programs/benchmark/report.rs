//! The rows of a run, as a table and as JSON.

use std::fmt;

use serde::Serialize;

use crate::Failure;
use crate::probes::count;

pub(crate) const MIB: f64 = 1024.0 * 1024.0;

/// A measured figure beside what it is compared with.
#[derive(Serialize)]
struct Row {
    /// What was measured, and of how many objects.
    what: String,
    of: Measure,
    /// For times and sizes.
    unit: &'static str,
    figure: f64,
    /// What no operator can beat, or the same without what is measured; `None`: the goal is absolute.
    baseline: Option<f64>,
    /// The most that the figure, or its ratio to the baseline, may be.
    goal: Goal,
}

/// What a figure counts. Only counts are the same on every machine.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Measure {
    Count,
    Time,
    Size,
}

/// See [`Row::goal`].
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Goal {
    AtMost(f64),
    /// The baseline of a later row, or for information.
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
        self.is_within(self.goal)
    }

    fn is_within(&self, goal: Goal) -> bool {
        match (goal, self.baseline) {
            (Goal::AtMost(most), _) => self.figure <= most,
            (Goal::None, _) => true,
            (Goal::AboveBaseline(most), baseline) => self.figure <= baseline.unwrap_or(0.0) + most,
            (Goal::Ratio(most), baseline) => self.figure <= baseline.unwrap_or(0.0) * most,
        }
    }
}

/// Goals that are missed today, or that few objects miss: how the row ends, the most that a quick run accepts, and why.
const CEILINGS: &[(&str, Goal, &str)] = &[
    (
        "customergateways, from creation to deletion: writes to the apiserver",
        Goal::AtMost(6.0),
        "finalizer, intent, result, deletion, finalizer, and the intent again if its write was slow: the goal is 3",
    ),
    (
        "vpnusers, from creation to deletion: writes to the apiserver",
        Goal::AtMost(8.0),
        "as above, and two of the confirmation: the goal is 4",
    ),
    (
        ", calls until Ready",
        Goal::AboveBaseline(4.0),
        "the project and the first lists are no share of few objects",
    ),
    (
        ", accepted requests",
        Goal::AboveBaseline(4.0),
        "the project and the first lists are no share of few objects",
    ),
    (
        ", calls for the deletion",
        Goal::Ratio(3.0),
        "few objects are read one by one after their deletion, where many are listed",
    ),
];

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
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(skip)]
    is_quick: bool,
    rows: Vec<Row>,
    plots: Vec<Plot>,
}

impl Report {
    pub(crate) fn new(is_quick: bool) -> Self {
        Self {
            is_quick,
            rows: Vec::new(),
            plots: Vec::new(),
        }
    }

    /// Adds a row of a count, which is the same on every machine.
    pub(crate) fn count(&mut self, what: impl Into<String>, figure: f64, baseline: Option<f64>, goal: Goal) {
        self.row(Measure::Count, "", what.into(), figure, baseline, goal);
    }

    /// Adds a row of requests to the cloud, which are the same on every machine.
    pub(crate) fn calls(&mut self, what: impl Into<String>, figure: f64, baseline: Option<f64>, goal: Goal) {
        self.row(Measure::Count, "calls", what.into(), figure, baseline, goal);
    }

    /// Adds a row of something that depends on the machine.
    pub(crate) fn time(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        figure: f64,
        baseline: Option<f64>,
        goal: Goal,
    ) {
        self.row(Measure::Time, unit, what.into(), figure, baseline, goal);
    }

    /// Adds a row of a size.
    pub(crate) fn size(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        figure: f64,
        baseline: Option<f64>,
        goal: Goal,
    ) {
        self.row(Measure::Size, unit, what.into(), figure, baseline, goal);
    }

    /// Adds a row of bytes, in MiB.
    pub(crate) fn memory(&mut self, what: impl Into<String>, bytes: u64, baseline: Option<u64>, goal: Goal) {
        let mib = |bytes: u64| count(bytes) / MIB;
        self.size(what, "MiB", mib(bytes), baseline.map(mib), goal);
    }

    /// Adds a row, and prints it at once: a run takes long.
    fn row(&mut self, of: Measure, unit: &'static str, what: String, figure: f64, baseline: Option<f64>, goal: Goal) {
        let row = Row {
            what,
            of,
            unit,
            figure,
            baseline,
            goal,
        };
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

    /// The rows of counts that miss their goal. In a quick run, a missed goal is accepted up to its [`CEILINGS`].
    pub(crate) fn missed_counts(&self) -> Vec<String> {
        let is_accepted = |row: &Row| {
            let mut ceilings = CEILINGS.iter().filter(|(what, ..)| row.what.ends_with(what));
            self.is_quick && ceilings.any(|(_, most, _)| row.is_within(*most))
        };
        let counts = self.rows.iter().filter(|row| row.of == Measure::Count);
        let missed = counts.filter(|row| !row.is_met() && !is_accepted(row));
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
