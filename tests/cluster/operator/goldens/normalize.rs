//! Takes out of kubectl's output what differs from run to run: ids, times, ages, ports. Tables are cut into cells and
//! set again, so that their columns stay straight.

use regex::{Captures, Regex};
use serde_json::Value;

use crate::operator::world::{VPN_SERVER, World};

/// Columns that show how long ago something was.
const AGES: [&str; 5] = ["AGE", "CREATED", "UPDATED", "LAST SEEN", "Age"];
/// Between two columns, as kubectl sets them.
const GAP: &str = "   ";

/// Patterns and what stands for them, in the order in which they are applied.
const PATTERNS: [(&str, &str); 9] = [
    (
        r"request id [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "request id <request-id>",
    ),
    (r"request id [0-9a-f]{32}\b", "request id <request-id>"),
    // The id of a server's own group has other letters.
    (
        r"\b[0-9A-Za-z]{8}-[0-9A-Za-z]{4}-[0-9A-Za-z]{4}-[0-9A-Za-z]{4}-[0-9A-Za-z]{12}\b",
        "<uuid>",
    ),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:<port>"),
    (r"(?m)^(  Resource Version: +)\d+$", "${1}<version>"),
    (r"(?m)^( +Secret Resource Version: +)\d+$", "${1}<version>"),
    (r"(?m)^( +Key ID: +)[0-9a-f]{8}$", "${1}<key>"),
];

/// Knows the names of one object and of its world.
pub(super) struct Normalizer {
    known: Vec<(String, &'static str)>,
    patterns: Vec<(Regex, &'static str)>,
}

impl Normalizer {
    pub(super) fn new(world: &World, object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let known = [
            (text(&object["status"]["id"]), "<id>"),
            (text(&object["metadata"]["uid"]), "<uid>"),
            (world.namespace.clone(), "<namespace>"),
            (VPN_SERVER.to_owned(), "<server>"),
        ];
        Self {
            known: known.into_iter().filter(|(text, _)| !text.is_empty()).collect(),
            patterns: PATTERNS
                .map(|(pattern, stands)| (Regex::new(pattern).unwrap(), stands))
                .to_vec(),
        }
    }

    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (known, stands) in &self.known {
            text = text.replace(known, stands);
        }
        for (pattern, stands) in &self.patterns {
            text = pattern.replace_all(&text, *stands).into_owned();
        }
        text
    }

    /// `kubectl get`.
    pub(super) fn table(&self, table: &str) -> String {
        let mut lines = table.lines();
        let header = lines.next().unwrap_or_default();
        let starts = column_starts(header);
        let rows = std::iter::once(header).chain(lines);
        self.set(rows.map(|line| cut(line, &starts)).collect())
    }

    /// `kubectl describe`.
    pub(super) fn description(&self, description: &str) -> String {
        let Some((object, events)) = description.split_once("\nEvents:") else {
            panic!("no Events in {description}");
        };
        let object = self.text(&format!("{object}\n"));
        let lines: Vec<&str> = events.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.len() < 2 {
            return format!("{object}Events: {}", events.trim());
        }
        let gap = Regex::new(" {2,}").unwrap();
        let rows = lines
            .iter()
            .filter(|line| !line.trim_start().starts_with("----"))
            .map(|line| gap.splitn(line.trim(), 5).map(str::to_owned).collect());
        let events = self.set(rows.collect());
        let indented: String = events.lines().flat_map(|line| ["  ", line, "\n"]).collect();
        format!("{object}Events:\n{indented}")
    }

    /// Sets a table whose first row is the header.
    fn set(&self, mut rows: Vec<Vec<String>>) -> String {
        let header = rows.first().cloned().unwrap_or_default();
        for row in rows.iter_mut().skip(1) {
            for (cell, title) in row.iter_mut().zip(&header) {
                let is_age = AGES.contains(&title.as_str()) && cell.starts_with(|first: char| first.is_ascii_digit());
                *cell = if is_age { "<age>".to_owned() } else { self.text(cell) };
            }
        }
        let width = |column: usize| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..header.len()).map(|column| width(column).unwrap_or(0)).collect();
        let set = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned() + "\n"
        };
        rows.iter().map(set).collect()
    }
}

/// Where columns begin: titles may have single spaces in them.
fn column_starts(header: &str) -> Vec<usize> {
    let title = Regex::new(r"(^|  )(\S)").unwrap();
    let start = |found: Captures<'_>| found.get(2).map(|letter| header[..letter.start()].chars().count());
    title.captures_iter(header).filter_map(start).collect()
}

fn cut(line: &str, starts: &[usize]) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    let cell = |(start, end): (&usize, usize)| {
        let end = end.min(letters.len());
        let cell: String = letters[(*start).min(end)..end].iter().collect();
        cell.trim().to_owned()
    };
    starts.iter().zip(ends).map(cell).collect()
}
