//! The outcome of a measurement: a table, for people and for scripts, and plots.

mod html;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::machine::Machine;
use crate::target::{Part, Target};

/// One figure of every target.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// In JSON.
    pub key: &'static str,
    /// Above the table.
    pub label: &'static str,
    /// After the point.
    pub digits: usize,
}

impl Column {
    #[must_use]
    pub const fn new(key: &'static str, label: &'static str, digits: usize) -> Self {
        Self { key, label, digits }
    }

    /// A figure as a table shows it.
    fn text(&self, value: f64) -> String {
        if value.is_nan() { "-".to_owned() } else { format!("{value:.*}", self.digits) }
    }
}

/// In place of a figure that a target does not have. Shown as `-`, and as null in JSON.
pub const ABSENT: f64 = f64::NAN;

/// What one target reached.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub part: Part,
    /// `None` where no connection is in the way.
    pub transport: Option<crate::client::Transport>,
    /// One for each column; [`ABSENT`] where there is none.
    pub values: Vec<f64>,
    /// How it stands to the raw limit of its transport: 1 is as good. `None` without one.
    pub of_raw: Option<f64>,
}

impl Row {
    #[must_use]
    pub fn new(target: &Target, values: &[f64]) -> Self {
        Self {
            name: target.name.clone(),
            part: target.part,
            transport: Some(target.transport),
            values: values.to_vec(),
            of_raw: None,
        }
    }
}

/// Lines over a common axis.
#[derive(Debug, Clone, Serialize)]
pub struct Plot {
    pub title: String,
    pub x: String,
    pub y: String,
    pub series: Vec<Series>,
    /// Where something happened on the axis: dashed lines.
    pub marks: Vec<f64>,
}

impl Plot {
    #[must_use]
    pub fn new(title: &str, x: &str, y: &str) -> Self {
        let (title, x, y) = (title.to_owned(), x.to_owned(), y.to_owned());
        Self { title, x, y, series: Vec::new(), marks: Vec::new() }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A heading, and rows with what their names say beside it.
type UprightPart<'a> = (&'a str, Vec<(&'a str, &'a Row)>);

#[derive(Debug, Clone)]
pub struct Report {
    pub subject: &'static str,
    /// How it was measured, in a sentence.
    pub method: String,
    pub machine: Machine,
    pub columns: &'static [Column],
    pub rows: Vec<Row>,
    pub plots: Vec<Plot>,
    /// What has no place in the table, a sentence each.
    pub notes: Vec<String>,
    /// What only programs read.
    pub facts: Map<String, Value>,
    /// The table shows its columns as lines: for a few rows with very many figures.
    pub is_upright: bool,
    /// What the names of rows begin with, in an upright table: each has a part of its own. None: all
    /// rows are one table.
    pub headings: Vec<String>,
}

impl Report {
    #[must_use]
    pub fn new(subject: &'static str, method: String, columns: &'static [Column]) -> Self {
        let machine = Machine::describe();
        Self {
            subject,
            method,
            machine,
            columns,
            rows: Vec::new(),
            plots: Vec::new(),
            notes: Vec::new(),
            facts: Map::new(),
            is_upright: false,
            headings: Vec::new(),
        }
    }

    /// Sets every row against the raw limit of its transport.
    pub fn compare(&mut self, key: &str) {
        let Some(at) = self.columns.iter().position(|column| column.key == key) else { return };
        let raws: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.part == Part::Raw)
            .map(|row| (row.transport, row.values[at]))
            .collect();
        for row in &mut self.rows {
            let raw = raws.iter().find(|(transport, _)| *transport == row.transport);
            row.of_raw = raw.map(|(_, raw)| row.values[at] / raw);
        }
    }

    #[must_use]
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let mut object = Map::new();
            object.insert("target".to_owned(), json!(row.name));
            object.insert("part".to_owned(), json!(row.part));
            object.insert("transport".to_owned(), json!(row.transport));
            for (column, value) in self.columns.iter().zip(&row.values) {
                object.insert(column.key.to_owned(), json!(value));
            }
            object.insert("of_raw".to_owned(), json!(row.of_raw));
            Value::Object(object)
        };
        json!({
            "subject": self.subject,
            "method": self.method,
            "machine": self.machine,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "plots": self.plots,
            "notes": self.notes,
            "facts": self.facts,
        })
    }

    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("{}\n\n", self.method);
        text += &match self.is_upright {
            true => {
                let parts = self.upright_parts();
                parts.iter().map(|part| self.upright(part)).collect::<Vec<_>>().join("\n\n")
            }
            false => self.flat(),
        };
        for note in &self.notes {
            text += &format!("\n\n{note}");
        }
        text
    }

    fn flat(&self) -> String {
        let widest = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut text = format!("{:widest$}", "");
        for column in self.columns {
            text += &format!("  {:>width$}", column.label, width = width(column));
        }
        text += "  of raw";
        for row in &self.rows {
            text += &format!("\n{:widest$}", row.name);
            for (column, value) in self.columns.iter().zip(&row.values) {
                text += &format!("  {:>w$}", column.text(*value), w = width(column));
            }
            text += &row.of_raw.map_or_else(String::new, |it| format!("  {:>5.0}%", it * 100.0));
        }
        text
    }

    /// The parts of an upright table.
    fn upright_parts(&self) -> Vec<UprightPart<'_>> {
        if self.headings.is_empty() {
            return vec![("", self.rows.iter().map(|row| (row.name.as_str(), row)).collect())];
        }
        self.headings.iter().map(|heading| (heading.as_str(), self.rows_under(heading))).collect()
    }

    fn rows_under(&self, heading: &str) -> Vec<(&str, &Row)> {
        let mut rows = Vec::new();
        for row in &self.rows {
            let rest = row.name.strip_prefix(heading).and_then(|rest| rest.strip_prefix(": "));
            rows.extend(rest.map(|rest| (rest, row)));
        }
        rows
    }

    fn upright(&self, (heading, rows): &UprightPart<'_>) -> String {
        let labels = self.columns.iter().map(|column| column.label.chars().count());
        let widest = labels.chain([heading.chars().count()]).max().unwrap_or(0);
        let width = |name: &str| name.chars().count().max(9);
        let mut text = format!("{heading:widest$}");
        for (name, _) in rows {
            text += &format!("  {name:>w$}", w = width(name));
        }
        for (at, column) in self.columns.iter().enumerate() {
            text += &format!("\n{:widest$}", column.label);
            for (name, row) in rows {
                text += &format!("  {:>w$}", column.text(row.values[at]), w = width(name));
            }
        }
        text
    }

    /// A page that needs nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }
}

fn width(column: &Column) -> usize {
    column.label.chars().count().max(9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Transport;

    const COLUMNS: &[Column] = &[Column::new("rate", "rate", 1)];

    fn row(name: &str, part: Part, transport: Transport, value: f64) -> Row {
        let transport = Some(transport);
        Row { name: name.to_owned(), part, transport, values: vec![value], of_raw: None }
    }

    fn report() -> Report {
        let mut report = Report::new("test", "a <method>".to_owned(), COLUMNS);
        report.rows = vec![
            row("raw quic", Part::Raw, Transport::Quic, 200.0),
            row("sterna quic", Part::Sterna, Transport::Quic, 150.0),
            row("sterna wss", Part::Sterna, Transport::Wss, 70.0),
        ];
        report.compare("rate");
        report
    }

    #[test]
    fn rows_are_held_against_the_raw_limit_of_their_transport() {
        let of_raw: Vec<_> = report().rows.iter().map(|row| row.of_raw).collect();
        assert_eq!(of_raw, [Some(1.0), Some(0.75), None]);
        assert!(report().table().contains("75%"));
        assert_eq!(report().json()["rows"][1]["rate"], 150.0);
    }

    #[test]
    fn an_upright_table_has_a_line_for_each_column() {
        let mut report = report();
        report.is_upright = true;
        report.notes.push("a note".to_owned());
        let table = report.table();
        let line = table.lines().find(|line| line.starts_with("rate")).unwrap();
        let values: Vec<&str> = line.split_whitespace().skip(1).collect();
        assert_eq!(values, ["200.0", "150.0", "70.0"]);
        assert!(table.ends_with("a note"));
        assert!(report.html().contains("<th>sterna wss</th></tr>"));
    }

    #[test]
    fn a_figure_that_is_absent_is_shown_as_such() {
        let mut report = report();
        report.rows[1].values = vec![ABSENT];
        report.compare("rate");
        let table = report.table();
        let line = table.lines().find(|line| line.starts_with("sterna quic")).unwrap();
        assert_eq!(line.split_whitespace().nth(2), Some("-"));
        assert_eq!(report.json()["rows"][1]["rate"], Value::Null);
        assert!(report.html().contains("<td>-</td>"));
    }

    #[test]
    fn an_upright_table_has_a_part_for_each_heading() {
        let mut report = report();
        report.is_upright = true;
        report.headings = vec!["sterna quic".to_owned(), "raw quic".to_owned()];
        for (row, name) in
            report.rows.iter_mut().zip(["raw quic: one", "sterna quic: one", "sterna quic: two"])
        {
            name.clone_into(&mut row.name);
        }
        let table = report.table();
        let words: Vec<Vec<&str>> =
            table.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        let first = [vec!["sterna", "quic", "one", "two"], vec!["rate", "150.0", "70.0"]];
        let second = [vec!["raw", "quic", "one"], vec!["rate", "200.0"]];
        assert_eq!(words[..2], first);
        assert_eq!(words[3..], second);
        assert!(report.html().contains("<th>sterna quic</th><th>one</th><th>two</th>"));
    }

    #[test]
    fn a_page_needs_nothing_else_and_escapes_what_it_is_given() {
        let mut report = report();
        let mut plot = Plot::new("Memory", "sessions", "MiB");
        let points = vec![(0.0, 0.0), (1000.0, 12.5)];
        plot.series.push(Series { name: "a & b".to_owned(), points });
        plot.marks.push(500.0);
        report.plots.push(plot);
        let page = report.html();
        assert!(page.contains("a &lt;method&gt;") && page.contains("a &amp; b"));
        assert!(page.contains("<polyline") && page.ends_with("</html>\n"));
        // In the middle of what lies between 0 and 1000.
        assert!(page.contains("<line class=\"mark\" x1=\"410.0\" x2=\"410.0\""), "{page}");
        assert!(!page.contains("http") && !page.contains("<script"));
    }
}
