//! The terminal while `sterna top` draws on it: as it was before when this is dropped.

use std::io::{self, Stdout, Write as _};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::table::{Line, rendered};

/// See the module.
pub(super) struct Screen {
    out: Stdout,
    colour: bool,
}

impl Screen {
    pub(super) fn open(colour: bool) -> io::Result<Self> {
        enable_raw_mode()?;
        let mut screen = Self { out: io::stdout(), colour };
        execute!(screen.out, EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(screen)
    }

    /// Columns.
    pub(super) fn width() -> usize {
        size().map_or(80, |(columns, _)| usize::from(columns))
    }

    /// Draws as many lines as there is room for, and one at the bottom.
    pub(super) fn draw(&mut self, lines: &[Line], bottom: &Line) -> io::Result<()> {
        let (columns, rows) = size()?;
        let room = usize::from(rows).saturating_sub(1);
        for (row, line) in (0..).zip(lines.iter().take(room)) {
            queue!(self.out, MoveTo(0, row))?;
            self.out.write_all(rendered(line, columns.into(), self.colour).as_bytes())?;
            queue!(self.out, Clear(ClearType::UntilNewLine))?;
        }
        if lines.len() < room {
            queue!(self.out, MoveTo(0, lines.len() as u16), Clear(ClearType::FromCursorDown))?;
        }
        queue!(self.out, MoveTo(0, rows.saturating_sub(1)))?;
        self.out.write_all(rendered(bottom, columns.into(), self.colour).as_bytes())?;
        queue!(self.out, Clear(ClearType::UntilNewLine))?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whoever reads the terminal is gone when this fails.
        let _ = execute!(self.out, EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
