//! Text in columns that fits the width it is given. Pure: lines of coloured pieces come out, and
//! whoever has them draws or prints them.

use std::fmt::Write as _;

/// What a piece of text means, and so its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Title,
    Faint,
    Good,
    Warn,
    Bad,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) tone: Tone,
}

pub(super) type Line = Vec<Piece>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A column; where there is no room for all, those of the highest rank go first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) align: Align,
    pub(super) rank: u8,
}

#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Line>,
}

/// Between columns.
const SPACE: usize = 2;

impl Tone {
    /// As terminals are told (ECMA-48, SGR).
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Title => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31;1m",
        }
    }
}

impl Column {
    pub(super) const fn left(title: &'static str, rank: u8) -> Self {
        Self { title, align: Align::Left, rank }
    }

    pub(super) const fn right(title: &'static str, rank: u8) -> Self {
        Self { title, align: Align::Right, rank }
    }
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// One piece for each column.
    pub(super) fn row(&mut self, row: Line) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// A line of titles, then the rows.
    pub(super) fn lines(self, width: usize) -> Vec<Line> {
        let widths = self.widths();
        let shown = self.fitting(&widths, width);
        let titles = shown.iter().map(|&at| piece(self.columns[at].title, Tone::Faint)).collect();
        let rows = self.rows.iter().map(|row| shown.iter().map(|&at| row[at].clone()).collect());
        let layout = |line: Line| self.layout(&line, &shown, &widths);
        std::iter::once(titles).chain(rows).map(layout).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let of = |at: usize, column: &Column| {
            let rows = self.rows.iter().map(|row| row[at].text.chars().count());
            rows.chain([column.title.chars().count()]).max().unwrap_or(0)
        };
        self.columns.iter().enumerate().map(|(at, column)| of(at, column)).collect()
    }

    /// The columns for which there is room, in their order; the first one always.
    fn fitting(&self, widths: &[usize], width: usize) -> Vec<usize> {
        let mut by_rank: Vec<usize> = (0..self.columns.len()).collect();
        by_rank.sort_by_key(|&at| self.columns[at].rank);
        let (mut shown, mut taken) = (Vec::new(), 0);
        for at in by_rank {
            let more = widths[at] + if shown.is_empty() { 0 } else { SPACE };
            if shown.is_empty() || taken + more <= width {
                taken += more;
                shown.push(at);
            }
        }
        shown.sort_unstable();
        shown
    }

    fn layout(&self, line: &Line, shown: &[usize], widths: &[usize]) -> Line {
        let mut out = Line::new();
        for (position, (cell, &at)) in line.iter().zip(shown).enumerate() {
            let padding = " ".repeat(widths[at] - cell.text.chars().count());
            let gap = if position == 0 { 0 } else { SPACE };
            let text = match self.columns[at].align {
                Align::Left => format!("{}{}{padding}", " ".repeat(gap), cell.text),
                Align::Right => format!("{}{padding}{}", " ".repeat(gap), cell.text),
            };
            out.push(Piece { text, tone: cell.tone });
        }
        out
    }
}

pub(super) fn piece(text: impl Into<String>, tone: Tone) -> Piece {
    Piece { text: text.into(), tone }
}

/// The line as a terminal takes it, cut to its width; without colour as anything takes it.
pub(super) fn rendered(line: &Line, width: usize, colour: bool) -> String {
    let (mut out, mut left) = (String::new(), width);
    for piece in line {
        let text: String = piece.text.chars().take(left).collect();
        left -= text.chars().count();
        match piece.tone.code() {
            code if colour && !code.is_empty() => {
                // Writing to a text cannot fail.
                let _ = write!(out, "{code}{text}\x1b[0m");
            }
            _ => out.push_str(&text),
        }
    }
    if colour { out } else { out.trim_end().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let columns = [Column::left("NAME", 0), Column::left("REGION", 2), Column::right("SUM", 1)];
        let mut table = Table::new(&columns);
        for (name, region, sum) in [("a", "eu-west", "7"), ("longer", "us", "12345")] {
            let cell = |text| piece(text, Tone::Plain);
            table.row(vec![cell(name), cell(region), piece(sum, Tone::Bad)]);
        }
        table
    }

    fn plain(width: usize) -> Vec<String> {
        example().lines(width).iter().map(|line| rendered(line, width, false)).collect()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        assert_eq!(
            plain(80),
            ["NAME    REGION     SUM", "a       eu-west      7", "longer  us       12345"]
        );
    }

    #[test]
    fn what_does_not_fit_goes_by_rank_and_then_by_the_edge() {
        assert_eq!(plain(15), ["NAME      SUM", "a           7", "longer  12345"]);
        assert_eq!(plain(4), ["NAME", "a", "long"]);
    }

    #[test]
    fn colour_is_added_where_it_is_wanted_only() {
        let line = vec![piece("ab", Tone::Bad), piece("cd", Tone::Plain)];
        assert_eq!(rendered(&line, 80, true), "\x1b[31;1mab\x1b[0mcd");
        assert_eq!(rendered(&line, 80, false), "abcd");
        assert_eq!(rendered(&line, 3, false), "abc");
    }
}
