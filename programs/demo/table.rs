//! The table of objects: redrawn on a terminal, otherwise only new rows.

use std::io::{IsTerminal, Write};

use kube::ResourceExt;
use kube::api::DynamicObject;

/// One object.
#[derive(Clone, PartialEq)]
pub(crate) struct Row {
    kind: String,
    name: String,
    ready: String,
    reason: String,
    id: String,
}

impl Row {
    /// The row of an object.
    pub(crate) fn of(kind: &str, object: &DynamicObject) -> Self {
        let status = &object.data["status"];
        let ready = status["conditions"]
            .as_array()
            .and_then(|conditions| conditions.iter().find(|condition| condition["type"] == "Ready"));
        let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
        Self {
            kind: kind.to_owned(),
            name: object.name_any(),
            ready: text(ready.and_then(|ready| ready["status"].as_str())),
            reason: text(ready.and_then(|ready| ready["reason"].as_str())),
            id: text(status["id"].as_str()),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready == "True"
    }

    fn line(&self) -> String {
        line([&self.kind, &self.name, &self.ready, &self.reason, &self.id])
    }
}

fn line([kind, name, ready, reason, id]: [&str; 5]) -> String {
    format!("{kind:<16} {name:<14} {ready:<6} {reason:<18} {id}")
}

/// The table, with the rows drawn so far.
#[derive(Default)]
pub(crate) struct Table {
    drawn: Vec<Row>,
}

impl Table {
    /// Shows the rows as they are now.
    pub(crate) fn draw(&mut self, rows: Vec<Row>) -> std::io::Result<()> {
        if rows == self.drawn {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        if self.drawn.is_empty() {
            writeln!(out, "{}", line(["KIND", "NAME", "READY", "REASON", "ID"]))?;
        }
        if out.is_terminal() {
            if !self.drawn.is_empty() {
                // Moves to the first row and clears from there.
                write!(out, "\x1b[{}A\x1b[J", self.drawn.len())?;
            }
            // No wrapping: a wrapped row would be two lines.
            write!(out, "\x1b[?7l")?;
            for row in &rows {
                writeln!(out, "{}", row.line())?;
            }
            write!(out, "\x1b[?7h")?;
        } else {
            for row in rows.iter().filter(|row| !self.drawn.contains(row)) {
                writeln!(out, "{}", row.line())?;
            }
        }
        self.drawn = rows;
        out.flush()
    }
}
