//! What an edge keeps of others' channels, and what it makes of answers that leave it out.

use super::*;
use crate::push::EncodedPush;
use std::time::Duration;
use sterna_proto::ChannelId;

fn key() -> ChannelKey {
    ChannelId::new("room:1").unwrap().key()
}

fn published_at(epoch: u32, offset: u64, len: usize) -> v1::Publication {
    let payload = vec![7; len].into();
    v1::Publication { channel: "room:1".into(), epoch, offset, payload, ..Default::default() }
}

fn deliver(publications: Vec<v1::Publication>) -> LinkPush {
    let first = &publications[0];
    let (epoch, first) = (first.epoch, Offset(first.offset));
    let push = |publication| EncodedPush::new(v1::push::Event::Publication(publication));
    LinkPush::Deliver {
        channel: key(),
        epoch,
        first,
        pushes: publications.into_iter().map(push).collect(),
    }
}

struct Place {
    rings: EdgeRings,
    now: Instant,
}

impl Place {
    fn new() -> Self {
        Self { rings: EdgeRings::new(&QueueLimits::default(), 1), now: Instant::now() }
    }

    fn with(epoch: u32, offsets: std::ops::RangeInclusive<u64>) -> Self {
        let mut place = Self::new();
        place.take(epoch, offsets);
        place
    }

    fn take(&mut self, epoch: u32, offsets: std::ops::RangeInclusive<u64>) {
        let publications = offsets.map(|offset| published_at(epoch, offset, 10)).collect();
        self.rings.take(&deliver(publications), self.now);
    }

    fn held(&self, after: u64) -> Option<Held> {
        self.rings.held(&key(), Offset(after), 500)
    }

    /// Which offsets are held, and their epoch.
    fn offsets(&self, after: u64) -> Option<(u32, Vec<u64>)> {
        let held = self.held(after)?;
        let offsets: Vec<u64> =
            held.pushes.iter().filter_map(published).map(|it| it.offset).collect();
        assert_eq!(offsets.last().copied(), Some(held.upto.offset.0));
        Some((held.upto.epoch.0, offsets))
    }
}

fn answer(position: (u32, u64), publications: Vec<v1::Publication>) -> v1::Subscribed {
    v1::Subscribed {
        channel: "room:1".into(),
        position: Some(Position::new(position.0, position.1).into()),
        publications,
        head_offset: position.1,
        live: true,
        ..Default::default()
    }
}

fn offsets(reply: LinkReply) -> Result<Vec<u64>, v1::Error> {
    match reply? {
        Reply::Subscribed(page) => Ok(page.publications.iter().map(|it| it.offset).collect()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn i5_what_is_held_is_all_that_follows_and_never_has_a_hole() {
    let mut place = Place::with(1, 5..=9);
    assert_eq!(place.offsets(3), None, "4 is not there");
    assert_eq!(place.offsets(4), Some((1, vec![5, 6, 7, 8, 9])));
    assert_eq!(place.offsets(9), None, "nothing follows");
    assert_eq!(place.offsets(12), None, "from the future");
    // What comes twice, or late, changes nothing.
    place.take(1, 7..=9);
    place.take(1, 2..=3);
    assert_eq!(place.offsets(4), Some((1, vec![5, 6, 7, 8, 9])));
    place.take(1, 8..=11);
    assert_eq!(place.offsets(7), Some((1, vec![8, 9, 10, 11])));
    // Something was lost on the way.
    place.take(1, 14..=15);
    assert_eq!(place.offsets(7), None);
    assert_eq!(place.offsets(13), Some((1, vec![14, 15])));
    // A history that was replaced.
    place.take(2, 10..=11);
    assert_eq!(place.offsets(9), Some((2, vec![10, 11])));
}

#[test]
fn a_page_that_would_not_hold_all_of_it_is_left_to_the_owner() {
    let place = Place::with(1, 1..=9);
    assert!(place.rings.held(&key(), Offset(4), 5).is_some());
    assert!(place.rings.held(&key(), Offset(4), 4).is_none());
    let mut place = Place::new();
    let large = |offset| published_at(1, offset, HELD_BYTES / 2);
    place.rings.take(&deliver(vec![large(1), large(2), large(3)]), place.now);
    assert_eq!(place.offsets(0), None);
    assert_eq!(place.offsets(1), Some((1, vec![2, 3])));
    place.rings.take(&deliver(vec![published_at(1, 4, HELD_BYTES + 1)]), place.now);
    assert_eq!(place.offsets(3), None, "too large even alone");
}

#[test]
fn i12_what_is_old_is_forgotten_and_so_is_its_channel() {
    let mut place = Place::with(1, 1..=3);
    place.now += Duration::from_secs(40);
    place.take(1, 4..=4);
    place.rings.on_tick(place.now + Duration::from_secs(19));
    assert!(place.held(0).is_some());
    place.rings.on_tick(place.now + Duration::from_secs(20));
    assert_eq!((place.offsets(0), place.offsets(3)), (None, Some((1, vec![4]))));
    place.rings.on_tick(place.now + Duration::from_secs(60));
    assert!(place.rings.channels.is_empty());
    place.rings.max_bytes = 0;
    place.take(1, 5..=5);
    assert!(place.rings.channels.is_empty(), "none are wanted");
}

#[test]
fn what_a_later_publication_takes_back_is_held_no_more() {
    let mut place = Place::with(1, 1..=5);
    let later = v1::Publication { kind: 1000, target_offset: 3, ..published_at(1, 6, 0) };
    place.rings.take(&deliver(vec![later]), place.now);
    assert_eq!(place.offsets(2), None);
    assert_eq!(place.offsets(3), Some((1, vec![4, 5, 6])));
}

#[test]
fn i13_an_answer_that_relies_on_what_is_held_is_completed_without_a_seam() {
    let held = Place::with(1, 5..=9).held(6).unwrap();
    let rest = |from| (from..=11).map(|offset| published_at(1, offset, 1)).collect();
    let complete = |page| offsets(held.complete(Ok(Reply::Subscribed(page)), &Tally::default()));
    assert_eq!(complete(answer((1, 9), vec![])).unwrap(), [7, 8, 9]);
    assert_eq!(complete(answer((1, 11), rest(10))).unwrap(), [7, 8, 9, 10, 11]);
    // The owner did not rely on it: its word is all there is.
    assert_eq!(complete(answer((1, 11), rest(7))).unwrap(), [7, 8, 9, 10, 11]);
    assert!(complete(answer((1, 6), vec![])).unwrap().is_empty());
    let gap = Some(v1::Gap { after_offset: 6, upto_offset: 9, ..Default::default() });
    assert_eq!(complete(v1::Subscribed { gap, ..answer((1, 11), rest(10)) }).unwrap(), [10, 11]);
    let epoch_change = Some(v1::EpochChange { keep_upto: 3, ..Default::default() });
    let changed = v1::Subscribed { epoch_change, ..answer((2, 11), rest(10)) };
    assert_eq!(complete(changed).unwrap(), [10, 11]);
}

#[test]
fn i5_an_answer_that_relies_on_something_else_is_no_answer() {
    let held = Place::with(1, 5..=9).held(6).unwrap();
    let other = |position, publications| {
        offsets(
            held.complete(Ok(Reply::Subscribed(answer(position, publications))), &Tally::default()),
        )
    };
    for refused in [
        other((1, 8), vec![]),
        other((1, 10), vec![published_at(1, 9, 1), published_at(1, 10, 1)]),
        other((1, 11), vec![published_at(1, 11, 1)]),
        other((2, 9), vec![]),
    ] {
        assert!(refused.unwrap_err().retryable);
    }
}

#[test]
fn i11_a_refusal_stays_one() {
    let held = Place::with(1, 5..=9).held(6).unwrap();
    for retryable in [false, true] {
        let error = v1::Error { retryable, ..v1::Error::new(ErrorCode::PermissionDenied, "no") };
        assert_eq!(offsets(held.complete(Err(error.clone()), &Tally::default())), Err(error));
    }
}
