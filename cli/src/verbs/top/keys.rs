//! What has been pressed, and what follows for the view. Pure.

use clap::ValueEnum as _;
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

use super::table::{Line, Tone, piece};
use crate::args::{SortArg, TopArgs};

/// How the view is wanted.
#[derive(Debug)]
pub(super) struct Keys {
    sort: SortArg,
    reversed: bool,
    filter: String,
    /// The filter is being typed.
    typing: bool,
    paused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pressed {
    Quit,
    Other,
}

/// A longer text finds nothing that a shorter one would not.
const FILTER_CHARS: usize = 64;

impl Keys {
    pub(super) fn new(args: &TopArgs) -> Self {
        let filter = args.filter.clone();
        Self { sort: args.sort, reversed: false, filter, typing: false, paused: false }
    }

    pub(super) fn sort(&self) -> SortArg {
        self.sort
    }

    pub(super) fn is_reversed(&self) -> bool {
        self.reversed
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn on_event(&mut self, event: &Event) -> Pressed {
        let Event::Key(key) = event else { return Pressed::Other };
        if key.kind == KeyEventKind::Release {
            return Pressed::Other;
        }
        let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if with_control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Pressed::Quit;
        }
        if self.typing {
            self.on_typed(key.code);
            return Pressed::Other;
        }
        match key.code {
            KeyCode::Char('q') => return Pressed::Quit,
            KeyCode::Char('s') => self.sort = next(self.sort),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.filter.clear(),
            _ => {}
        }
        Pressed::Other
    }

    fn on_typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(typed) if self.filter.chars().count() < FILTER_CHARS => {
                self.filter.push(typed);
            }
            _ => {}
        }
    }

    /// The last line: what can be pressed, or what is being typed.
    pub(super) fn bottom(&self) -> Line {
        if self.typing {
            return vec![piece(format!("/{}_", self.filter), Tone::Title)];
        }
        let order = if self.reversed { "reversed" } else { "as is" };
        let mut line = vec![piece(
            format!("q quit  s sort: {}  r {order}  / filter  p pause", name(self.sort)),
            Tone::Faint,
        )];
        if !self.filter.is_empty() {
            line.push(piece(format!("  only `{}` (Esc: all)", self.filter), Tone::Warn));
        }
        if self.paused {
            line.push(piece("  paused", Tone::Warn));
        }
        line
    }
}

fn next(sort: SortArg) -> SortArg {
    let all = SortArg::value_variants();
    let at = all.iter().position(|it| *it == sort).unwrap_or(0);
    all[(at + 1) % all.len()]
}

fn name(sort: SortArg) -> String {
    sort.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::KeyEvent;

    fn keys() -> Keys {
        let (sort, filter) = (SortArg::Name, String::new());
        Keys { sort, reversed: false, filter, typing: false, paused: false }
    }

    fn press(keys: &mut Keys, code: KeyCode) -> Pressed {
        keys.on_event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn bottom(keys: &Keys) -> String {
        keys.bottom().into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn every_way_to_sort_comes_in_its_turn() {
        let mut keys = keys();
        for sort in SortArg::value_variants().iter().skip(1).chain([&SortArg::Name]) {
            press(&mut keys, KeyCode::Char('s'));
            assert_eq!(keys.sort(), *sort);
        }
        press(&mut keys, KeyCode::Char('r'));
        assert!(keys.is_reversed() && bottom(&keys).contains("reversed"));
    }

    #[test]
    fn a_filter_is_typed_and_its_letters_press_nothing() {
        let mut keys = keys();
        for code in ['/', 'q', 's', 'x'].map(KeyCode::Char) {
            assert_eq!(press(&mut keys, code), Pressed::Other);
        }
        press(&mut keys, KeyCode::Backspace);
        assert_eq!((keys.filter(), bottom(&keys).as_str()), ("qs", "/qs_"));
        press(&mut keys, KeyCode::Enter);
        assert!(bottom(&keys).contains("only `qs`"));
        press(&mut keys, KeyCode::Esc);
        assert_eq!(keys.filter(), "");
        assert_eq!(press(&mut keys, KeyCode::Char('q')), Pressed::Quit);
    }

    #[test]
    fn control_c_quits_even_while_typing() {
        let mut keys = keys();
        press(&mut keys, KeyCode::Char('/'));
        let event = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(keys.on_event(&Event::Key(event)), Pressed::Quit);
    }
}
