//! Which runs of a channel count.

use std::collections::{BTreeMap, BTreeSet};

use sterna_proto::{ChannelKey, Offset, Position};
use sterna_storage::{PageLimit, RunAt, SegmentKey, Segments, StorageError};

use super::Piece;
use crate::corrupt;

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Each run linked from the one behind it, the oldest first. Never empty.
    pub(super) chain: Vec<Piece>,
    pub(super) spare: Vec<Piece>,
    /// What the oldest of the chain is linked to, and is not there.
    pub(super) missing: Option<RunAt>,
}

/// Chooses among the runs of a channel, of which there is one at least.
pub(super) async fn choose(
    segments: &dyn Segments,
    channel: ChannelKey,
    pieces: Vec<Piece>,
) -> Result<Choice, StorageError> {
    let ends = ends(&pieces);
    let mut candidates = Vec::with_capacity(ends.len());
    for end in ends {
        // A single one needs no comparison.
        candidates.push((last_of(segments, channel, &end).await?, end));
    }
    candidates.sort_by_key(|(last, end)| (last.epoch, last.offset, end.at));
    Ok(decide(&pieces, &candidates))
}

/// The runs that no other one is linked to.
fn ends(pieces: &[Piece]) -> Vec<Piece> {
    let linked: BTreeSet<RunAt> = pieces.iter().filter_map(|piece| piece.run.links.back).collect();
    pieces.iter().filter(|piece| !linked.contains(&piece.at)).copied().collect()
}

/// Of the candidates with the newest record one whose chain is whole, or else the last. `candidates`
/// are in order and not empty.
fn decide(pieces: &[Piece], candidates: &[(Position, Piece)]) -> Choice {
    let by_segment: BTreeMap<SegmentKey, Piece> =
        pieces.iter().map(|piece| (piece.at.segment, *piece)).collect();
    let newest = candidates.last().map(|(last, _)| *last);
    let equal = candidates.iter().rev().filter(|(last, _)| Some(*last) == newest);
    let mut chains = equal.map(|(_, end)| follow(&by_segment, *end)).collect::<Vec<_>>();
    let whole = chains.iter().position(|(_, missing)| missing.is_none()).unwrap_or(0);
    let (chain, missing) = chains.swap_remove(whole);
    let counted: BTreeSet<RunAt> = chain.iter().map(|piece| piece.at).collect();
    let spare = pieces.iter().filter(|piece| !counted.contains(&piece.at)).copied().collect();
    Choice { chain, spare, missing }
}

/// From a run back to the oldest one; and what is missing there.
fn follow(pieces: &BTreeMap<SegmentKey, Piece>, end: Piece) -> (Vec<Piece>, Option<RunAt>) {
    let mut chain = vec![end];
    let mut missing = None;
    let mut at = end;
    while let Some(back) = at.run.links.back {
        let found = pieces.get(&back.segment).filter(|piece| piece.at == back);
        let found = found.or_else(|| pieces.values().find(|piece| holds(piece, &back)));
        // Links lead back and to the neighbour, so that no damage leads round.
        let follows = back.last.next() == at.at.first && back.depth < at.at.depth;
        let Some(piece) = found.filter(|_| follows) else {
            missing = Some(back);
            break;
        };
        at = *piece;
        chain.push(at);
    }
    chain.reverse();
    (chain, missing)
}

/// Whether a run that is gone was put together with those before it into this one. That both are of
/// one life of the store is seen when the records are read.
fn holds(piece: &Piece, gone: &RunAt) -> bool {
    piece.at.segment != gone.segment
        && piece.at.first <= gone.first
        && piece.at.last == gone.last
        && piece.at.depth <= gone.depth
}

/// Where the newest record of a run is.
async fn last_of(
    segments: &dyn Segments,
    channel: ChannelKey,
    piece: &Piece,
) -> Result<Position, StorageError> {
    let before = Offset(piece.at.last.0.saturating_sub(1));
    let one = PageLimit { records: 1, payload_bytes: usize::MAX };
    let page = segments.read(piece.at.segment, channel, before, one).await?;
    let last = page.last().map(|record| record.position);
    last.filter(|last| last.offset == piece.at.last)
        .ok_or_else(|| corrupt(format!("{:?} does not hold its last record", piece.at)))
}

#[cfg(test)]
mod tests {
    use sterna_proto::{ChannelId, Epoch};
    use sterna_storage::{Links, Run};

    use super::*;

    /// A run in a segment of this number.
    fn piece(segment: u64, first: u64, last: u64, back: Option<&Piece>) -> Piece {
        let key = SegmentKey { shard: 0, first_ts_ms: 0, segment };
        let back = back.map(|piece| piece.at);
        let depth = back.map_or(0, |back| back.depth + 1);
        let channel = ChannelId::new("room").unwrap().key();
        let links = Links { depth, back, jump: back };
        Piece::of(key, Run { channel, first: Offset(first), last: Offset(last), links })
    }

    fn decided(pieces: &[&Piece], epochs: &[(u64, u32)]) -> Choice {
        let pieces: Vec<Piece> = pieces.iter().map(|piece| **piece).collect();
        let epoch_of = |segment| epochs.iter().find(|(of, _)| *of == segment).map_or(1, |of| of.1);
        let last = |end: &Piece| Position {
            epoch: Epoch(epoch_of(end.at.segment.segment)),
            offset: end.at.last,
        };
        let mut candidates: Vec<_> =
            ends(&pieces).into_iter().map(|end| (last(&end), end)).collect();
        candidates.sort_by_key(|(last, end)| (last.epoch, last.offset, end.at));
        decide(&pieces, &candidates)
    }

    fn segments(pieces: &[Piece]) -> Vec<u64> {
        pieces.iter().map(|piece| piece.at.segment.segment).collect()
    }

    #[test]
    fn of_two_archivers_the_one_that_others_follow_counts() {
        let (won, lost) = (piece(1, 1, 90, None), piece(2, 1, 100, None));
        let next = piece(3, 91, 200, Some(&won));
        let choice = decided(&[&won, &lost, &next], &[]);
        assert_eq!((segments(&choice.chain), segments(&choice.spare)), (vec![1, 3], vec![2]));
        assert_eq!(choice.missing, None);
    }

    #[test]
    fn i5_the_latest_epoch_counts_and_not_the_longest_chain() {
        let begin = piece(1, 1, 100, None);
        let ended = piece(2, 101, 500, Some(&begin));
        let goes_on = piece(3, 101, 160, Some(&begin));
        let choice = decided(&[&begin, &ended, &goes_on], &[(3, 2)]);
        assert_eq!((segments(&choice.chain), segments(&choice.spare)), (vec![1, 3], vec![2]));
    }

    #[test]
    fn of_two_equal_ends_the_one_whose_chain_is_whole_counts() {
        let begin = piece(1, 2, 10, None);
        let lost = piece(9, 1, 10, None);
        let cut = piece(3, 11, 20, Some(&lost));
        let whole = piece(2, 11, 20, Some(&begin));
        let choice = decided(&[&begin, &cut, &whole], &[]);
        assert_eq!((segments(&choice.chain), choice.missing), (vec![1, 2], None));
        let choice = decided(&[&begin, &cut], &[]);
        assert_eq!((segments(&choice.chain), choice.missing), (vec![3], Some(lost.at)));
        // What was lost was put together with something before it.
        let merged = piece(4, 1, 10, None);
        let choice = decided(&[&begin, &cut, &merged], &[]);
        assert_eq!((segments(&choice.chain), choice.missing), (vec![4, 3], None));
    }

    #[test]
    fn links_that_lead_round_or_nowhere_end_the_chain() {
        let begin = piece(1, 1, 10, None);
        let mut late = piece(2, 12, 20, Some(&begin));
        let choice = decided(&[&begin, &late], &[]);
        assert_eq!((segments(&choice.chain), choice.missing), (vec![2], Some(begin.at)), "a hole");
        late.run.links.back = Some(late.at);
        assert_eq!(follow(&BTreeMap::from([(late.at.segment, late)]), late).1, Some(late.at));
    }
}
