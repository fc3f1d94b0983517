//! Places in a channel.

use std::fmt;
use std::str::FromStr;

/// The life of one log: it changes when history is lost, restored or rebuilt, and only grows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// Counts publications of a channel from 1, without holes inside an epoch (I2). 0 is the place
/// before the first.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The place before the first publication.
    pub const ZERO: Self = Self(0);

    /// The offset that follows. Saturates: no log reaches 2^64 publications.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// How many publications lie after `self` up to and including `upto`.
    pub fn distance_to(self, upto: Self) -> u64 {
        upto.0.saturating_sub(self.0)
    }
}

/// Epoch with offset: all that a client must remember of a channel to find every gap (I5).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// In which life of the log.
    pub epoch: Epoch,
    /// The last publication that lies before this place.
    pub offset: Offset,
}

impl Position {
    /// Before everything, in whatever epoch the log begins.
    pub const EARLIEST: Self = Self { epoch: Epoch(0), offset: Offset(0) };

    /// From the numbers of the wire.
    pub fn new(epoch: u32, offset: u64) -> Self {
        Self { epoch: Epoch(epoch), offset: Offset(offset) }
    }

    /// Whether this is [`Position::EARLIEST`].
    pub fn is_earliest(self) -> bool {
        self == Self::EARLIEST
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch.0, self.offset.0)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPosition(text.chars().take(40).collect());
        let (epoch, offset) = text.split_once(':').ok_or_else(invalid)?;
        Ok(Self::new(epoch.parse().map_err(|_| invalid())?, offset.parse().map_err(|_| invalid())?))
    }
}

impl From<Position> for crate::v1::Position {
    fn from(position: Position) -> Self {
        Self { epoch: position.epoch.0, offset: position.offset.0 }
    }
}

impl From<crate::v1::Position> for Position {
    fn from(position: crate::v1::Position) -> Self {
        Self::new(position.epoch, position.offset)
    }
}

/// A text that is not `EPOCH:OFFSET`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a position; write EPOCH:OFFSET, two whole numbers, as in 1:42")]
pub struct InvalidPosition(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_refuses_the_rest() {
        let position = Position::new(7, 42);
        assert_eq!(position.to_string().parse(), Ok(position));
        for bad in ["", "1", "1:", ":1", "a:1", "1:b", "-1:1", "1:2:3", "4294967296:1"] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }

    #[test]
    fn positions_order_by_epoch_first() {
        assert!(Position::new(1, 900) < Position::new(2, 1));
        assert!(Position::EARLIEST < Position::new(1, 0));
    }
}
