//! Which publications a position is missing. Pure.

use sterna_proto::{Offset, Position, limits, v1};
use sterna_storage::Head;

/// Where reading has to begin for a client that stands at some position.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    pub after: Offset,
    /// Set when the position's history was replaced (I5): the client has to forget.
    pub epoch_change: Option<v1::EpochChange>,
}

/// Places a client's position in a log. Any position is answered, forged and future ones too.
pub fn place(since: Position, head: Option<&Head>) -> Start {
    let keep = |offset: Offset| Start { after: offset, epoch_change: None };
    let change =
        |keep_upto: Offset, new_epoch: u32| match sterna_storage::planted!(EpochChangeUntold) {
            true => keep(keep_upto),
            false => changed(since, keep_upto, new_epoch),
        };
    let Some(head) = head else {
        let nothing_seen = since.offset == Offset::ZERO;
        return if nothing_seen { keep(Offset::ZERO) } else { change(Offset::ZERO, 0) };
    };
    let current = head.position;
    if since.offset == Offset::ZERO {
        return keep(Offset::ZERO);
    }
    let index = head.epochs.iter().position(|start| start.epoch == since.epoch);
    let Some(index) = index else { return change(Offset::ZERO, current.epoch.0) };
    // The last offset that the client's epoch reached.
    let end = match head.epochs.get(index + 1) {
        Some(next) => Offset(next.first.0.saturating_sub(1)),
        None => current.offset,
    };
    if since.offset > end { change(end, current.epoch.0) } else { keep(since.offset) }
}

fn changed(since: Position, keep_upto: Offset, new_epoch: u32) -> Start {
    let change = v1::EpochChange { old_epoch: since.epoch.0, new_epoch, keep_upto: keep_upto.0 };
    Start { after: keep_upto, epoch_change: Some(change) }
}

/// How many publications a page of an answer has at most.
pub fn page_max(subscribe: &v1::Subscribe) -> usize {
    match subscribe.page_publications as usize {
        0 => limits::PAGE_PUBLICATIONS,
        wanted => wanted.min(limits::PAGE_PUBLICATIONS),
    }
}

/// The last offset that can no longer be read; 0 while all can.
pub fn trimmed_upto(head: Option<&Head>) -> Offset {
    head.map_or(Offset::ZERO, |head| {
        Offset(head.first.0.saturating_sub(1)).min(head.position.offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::Epoch;
    use sterna_storage::EpochStart;

    fn head() -> Head {
        Head {
            position: Position::new(9, 20),
            first: Offset(1),
            last_ts_ms: 0,
            epochs: vec![
                EpochStart { epoch: Epoch(5), first: Offset(1) },
                EpochStart { epoch: Epoch(9), first: Offset(11) },
            ],
        }
    }

    #[test]
    fn i5_every_position_finds_its_place() {
        let head = head();
        for (since, after, keep_upto) in [
            (Position::EARLIEST, 0, None),
            (Position::new(9, 20), 20, None),
            (Position::new(9, 15), 15, None),
            // From the epoch before: valid up to where it ended.
            (Position::new(5, 10), 10, None),
            (Position::new(5, 3), 3, None),
            (Position::new(5, 14), 10, Some(10)),
            // Forged or from the future.
            (Position::new(9, 21), 20, Some(20)),
            (Position::new(9, u64::MAX), 20, Some(20)),
            // A store that was wiped.
            (Position::new(4, 7), 0, Some(0)),
            (Position::new(4, 0), 0, None),
        ] {
            let start = place(since, Some(&head));
            assert_eq!(start.after, Offset(after), "{since}");
            assert_eq!(start.epoch_change.map(|change| change.keep_upto), keep_upto, "{since}");
        }
        assert_eq!(place(Position::new(4, 7), None).epoch_change.unwrap().keep_upto, 0);
        assert_eq!(place(Position::EARLIEST, None).epoch_change, None);
    }
}
