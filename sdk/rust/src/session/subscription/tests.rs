//! A subscription against lost, doubled and late pushes.

use super::*;
use proptest::prelude::*;

use crate::event::{Event, SubscriptionState};

const ROOM: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(5);

fn machine(options: Subscribe) -> Subscription {
    Subscription::new(ChannelId::new("room:1").unwrap(), options, PATIENCE)
}

fn publication(epoch: u32, offset: u64) -> v1::Publication {
    v1::Publication { epoch, offset, ..v1::Publication::default() }
}

fn page(epoch: u32, offsets: std::ops::RangeInclusive<u64>, live: bool) -> v1::Subscribed {
    let end = *offsets.end();
    v1::Subscribed {
        position: Some(v1::Position { epoch, offset: end }),
        publications: offsets.map(|offset| publication(epoch, offset)).collect(),
        live,
        head_offset: end,
        ..v1::Subscribed::default()
    }
}

fn at(epoch: u32, offset: u64) -> v1::Subscribed {
    let position = Some(v1::Position { epoch, offset });
    v1::Subscribed { position, live: true, head_offset: offset, ..v1::Subscribed::default() }
}

fn offsets(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Publication(publication) => Some(publication.position.offset.0),
            _ => None,
        })
        .collect()
}

fn live_at(epoch: u32, offset: u64) -> (Subscription, Instant) {
    let now = Instant::now();
    let mut machine = machine(Subscribe::latest());
    assert!(machine.poll_ask(now, ROOM).unwrap().since.is_none());
    machine.handle_subscribed(at(epoch, offset), now, ROOM, &mut Vec::new());
    (machine, now)
}

#[test]
fn pushes_that_overtake_the_answer_wait_for_it() {
    let now = Instant::now();
    let mut machine = machine(Subscribe::latest());
    machine.poll_ask(now, ROOM);
    let mut out = Vec::new();
    machine.handle_publication(publication(1, 6), ROOM, &mut out);
    assert!(out.is_empty());
    machine.handle_subscribed(at(1, 5), now, ROOM, &mut out);
    assert_eq!(offsets(&out), [6]);
    assert!(matches!(
        out[0],
        Event::State(SubscriptionState::Subscribed { was_recovering: false, .. })
    ));
}

#[test]
fn duplicates_are_dropped_and_a_hole_is_fetched() {
    let (mut machine, now) = live_at(1, 5);
    let mut out = Vec::new();
    for offset in [6, 6, 5, 9] {
        machine.handle_publication(publication(1, offset), ROOM, &mut out);
    }
    assert_eq!(offsets(&out), [6]);
    assert_eq!(machine.counts.duplicates, 2);
    let ask = machine.poll_ask(now, ROOM).unwrap();
    assert_eq!(ask.since, Some(v1::Position { epoch: 1, offset: 6 }));
    machine.handle_subscribed(page(1, 7..=8, true), now, ROOM, &mut out);
    assert_eq!(offsets(&out), [6, 7, 8, 9]);
    assert!(out.contains(&Event::Recovered { publications: 2 }));
    assert_eq!(machine.counts.gaps_recovered, 1);
}

#[test]
fn not_live_means_asking_again_and_a_beacon_above_starts_recovery() {
    let now = Instant::now();
    let mut machine = machine(Subscribe::earliest());
    machine.poll_ask(now, ROOM);
    let mut out = Vec::new();
    machine.handle_subscribed(page(1, 1..=3, false), now, ROOM, &mut out);
    let ask = machine.poll_ask(now, ROOM).unwrap();
    assert_eq!(ask.since, Some(v1::Position { epoch: 1, offset: 3 }));
    machine.handle_subscribed(page(1, 4..=4, true), now, ROOM, &mut out);
    assert_eq!(offsets(&out), [1, 2, 3, 4]);
    machine.handle_head(Epoch(1), Offset(4));
    assert!(machine.poll_ask(now, ROOM).is_none());
    machine.handle_head(Epoch(1), Offset(5));
    assert!(machine.poll_ask(now, ROOM).is_some());
}

#[test]
fn a_new_epoch_is_followed_and_named() {
    let (mut machine, now) = live_at(1, 9);
    let mut out = Vec::new();
    machine.handle_publication(publication(2, 8), ROOM, &mut out);
    machine.poll_ask(now, ROOM).unwrap();
    let mut reply = page(2, 8..=8, true);
    reply.epoch_change = Some(v1::EpochChange { old_epoch: 1, new_epoch: 2, keep_upto: 7 });
    machine.handle_subscribed(reply, now, ROOM, &mut out);
    let changed = Event::EpochChanged { old: Epoch(1), new: Epoch(2), keep_upto: Offset(7) };
    assert_eq!(out[0], changed);
    assert_eq!(offsets(&out), [8]);
    assert_eq!(machine.position(), Some(Position::new(2, 8)));
}

#[test]
fn an_epoch_that_began_after_us_forgets_nothing_and_a_page_may_span_epochs() {
    // Epoch 1 ended with 9; the server leaves epoch_change out, since (1, 7) stays valid.
    let (mut machine, now) = live_at(1, 7);
    machine.handle_detached();
    machine.poll_ask(now, ROOM).unwrap();
    let mut reply = page(1, 8..=9, false);
    reply
        .publications
        .push(v1::Publication { kind: v1::PublicationKind::Epoch.into(), ..publication(2, 10) });
    reply.publications.push(publication(2, 11));
    reply.position = Some(v1::Position { epoch: 2, offset: 11 });
    reply.live = true;
    let mut out = Vec::new();
    machine.handle_subscribed(reply, now, ROOM, &mut out);
    assert_eq!(offsets(&out), [8, 9, 11]);
    assert!(!out.iter().any(|event| matches!(event, Event::EpochChanged { .. })), "{out:?}");
    let state = SubscriptionState::Subscribed {
        position: Position::new(2, 11),
        was_recovering: true,
        recovered: true,
    };
    assert_eq!(out.last(), Some(&Event::State(state)));
    assert_eq!(machine.counts.duplicates, 0);
    // A late answer from before the change takes nothing back.
    machine.handle_subscribed(page(1, 12..=12, true), now, ROOM, &mut out);
    machine.handle_publication(publication(2, 12), ROOM, &mut out);
    assert_eq!(offsets(&out), [8, 9, 11, 12]);
    assert!(machine.poll_ask(now, ROOM).is_none());
}

#[test]
fn a_position_from_the_future_is_taken_back() {
    let now = Instant::now();
    let mut machine = machine(Subscribe::after(Position::new(1, 9)));
    machine.poll_ask(now, ROOM);
    let mut reply = at(1, 5);
    reply.epoch_change = Some(v1::EpochChange { old_epoch: 1, new_epoch: 1, keep_upto: 5 });
    let mut out = Vec::new();
    machine.handle_subscribed(reply, now, ROOM, &mut out);
    machine.handle_publication(publication(1, 6), ROOM, &mut out);
    assert_eq!(offsets(&out), [6]);
}

#[test]
fn the_first_publication_of_a_channel_may_overtake_the_answer() {
    let now = Instant::now();
    for overtaking in [1, 2] {
        let mut machine = machine(Subscribe::earliest());
        machine.poll_ask(now, ROOM);
        let mut out = Vec::new();
        machine.handle_publication(publication(7, overtaking), ROOM, &mut out);
        machine.handle_subscribed(at(0, 0), now, ROOM, &mut out);
        if overtaking > 1 {
            assert!(machine.poll_ask(now, ROOM).is_none(), "no hot loop");
            let later = machine.wanted_since().unwrap();
            let ask = machine.poll_ask(later, ROOM).unwrap();
            assert_eq!(ask.since, Some(Position::EARLIEST.into()));
            machine.handle_subscribed(page(7, 1..=2, true), later, ROOM, &mut out);
        }
        assert_eq!(offsets(&out), (1..=overtaking).collect::<Vec<_>>());
        assert_eq!(machine.position(), Some(Position::new(7, overtaking)));
        assert!(machine.poll_ask(now, ROOM).is_none());
    }
}

#[test]
fn a_newer_epoch_heard_of_while_asking_is_asked_for() {
    let (mut machine, now) = live_at(1, 5);
    machine.handle_detached();
    machine.poll_ask(now, ROOM);
    let mut out = Vec::new();
    machine.handle_publication(publication(2, 4), ROOM, &mut out);
    machine.handle_subscribed(at(1, 5), now, ROOM, &mut out);
    let later = machine.wanted_since().expect("the answer was of the old epoch");
    machine.poll_ask(later, ROOM).unwrap();
    let mut reply = at(2, 3);
    reply.epoch_change = Some(v1::EpochChange { old_epoch: 1, new_epoch: 2, keep_upto: 3 });
    machine.handle_subscribed(reply, later, ROOM, &mut out);
    assert_eq!(offsets(&out), [4], "the push was kept");
    assert!(machine.poll_ask(later, ROOM).is_none());
}

#[test]
fn an_unanswered_question_is_asked_ever_more_seldom_until_something_is_answered() {
    let start = Instant::now();
    let mut machine = machine(Subscribe::earliest());
    let mut now = start;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        assert!(machine.poll_ask(now, ROOM).is_some());
        let overdue = machine.answer_deadline().unwrap();
        machine.handle_timeout(overdue - Duration::from_millis(1), 1.0);
        assert!(machine.is_asking());
        machine.handle_timeout(overdue, 1.0);
        now = machine.wanted_since().unwrap();
        assert!(machine.poll_ask(now - Duration::from_millis(1), ROOM).is_none());
        pauses.push((now - overdue).as_millis());
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
    let mut out = Vec::new();
    machine.handle_subscribed(page(1, 1..=3, false), now, ROOM, &mut out);
    assert_eq!(offsets(&out), [1, 2, 3], "an answer that comes late is an answer");
    machine.poll_ask(now, ROOM).unwrap();
    now = machine.answer_deadline().unwrap();
    machine.handle_timeout(now, 1.0);
    assert_eq!(machine.wanted_since().unwrap() - now, Duration::from_millis(500));
}

#[test]
fn lost_pushes_are_asked_for() {
    let (mut machine, now) = live_at(1, 5);
    machine.handle_pushes_lost();
    assert!(machine.poll_ask(now, ROOM).is_some());
    assert!(machine.poll_ask(now, ROOM).is_none());
    machine.handle_pushes_lost();
    assert!(machine.poll_ask(now, ROOM).is_some());
}

#[test]
fn what_the_server_no_longer_has_is_a_named_gap() {
    let now = Instant::now();
    let mut machine = machine(Subscribe::after(Position::new(1, 2)));
    machine.poll_ask(now, ROOM);
    let mut reply = page(1, 6..=7, true);
    reply.gap = Some(v1::Gap { epoch: 1, after_offset: 2, upto_offset: 5, ..v1::Gap::default() });
    let mut out = Vec::new();
    machine.handle_subscribed(reply, now, ROOM, &mut out);
    assert_eq!(out[0], Event::Gap { epoch: Epoch(1), after: Offset(2), upto: Offset(5) });
    assert_eq!(offsets(&out), [6, 7]);
    let recovered = out.iter().any(|event| {
        matches!(event, Event::State(SubscriptionState::Subscribed { recovered: true, .. }))
    });
    assert!(!recovered);
}

#[test]
fn without_room_nothing_is_taken_until_there_is_some() {
    let (mut machine, now) = live_at(1, 0);
    let mut out = Vec::new();
    machine.handle_publication(publication(1, 1), 1, &mut out);
    machine.handle_publication(publication(1, 2), 0, &mut out);
    machine.handle_publication(publication(1, 3), 0, &mut out);
    assert_eq!(offsets(&out), [1]);
    assert!(machine.poll_ask(now, ROOM_TO_GO_ON - 1).is_none());
    let ask = machine.poll_ask(now, ROOM_TO_GO_ON).unwrap();
    assert_eq!(ask.since, Some(v1::Position { epoch: 1, offset: 1 }));
    machine.handle_subscribed(page(1, 2..=3, true), now, ROOM_TO_GO_ON, &mut out);
    assert_eq!(offsets(&out), [1, 2, 3]);
}

proptest! {
    /// Pushes lost, repeated and out of order, connections cut, rooms of all sizes: with a log
    /// that answers, the application sees every offset once and in order.
    #[test]
    fn every_offset_once_and_in_order(
        steps in proptest::collection::vec((0u8..5, 1u64..40, 0usize..6), 1..150),
    ) {
        let head = 40;
        // The log went into another epoch on its way, and lost nothing.
        let epoch_of = |offset: u64| if offset <= 20 { 1 } else { 2 };
        let mut now = Instant::now();
        let mut machine = machine(Subscribe::earliest());
        let mut out = Vec::new();
        let answer = |machine: &mut Subscription, now, room: usize, out: &mut Vec<Event>| {
            machine.handle_timeout(now, 0.0);
            let Some(ask) = machine.poll_ask(now, room) else { return };
            let since = ask.since.unwrap().offset;
            let upto = head.min(since + 5).min(since + u64::from(ask.page_publications));
            let mut reply = page(2, since + 1..=upto, upto == head);
            reply.publications.iter_mut().for_each(|p| p.epoch = epoch_of(p.offset));
            reply.position = Some(v1::Position { epoch: 2, offset: upto.max(since) });
            machine.handle_subscribed(reply, now, room, out);
        };
        for (kind, offset, room) in steps {
            now += Duration::from_millis(700);
            match kind {
                0 => machine.handle_detached(),
                1 => answer(&mut machine, now, room, &mut out),
                2 => machine.handle_head(Epoch(epoch_of(offset)), Offset(offset)),
                _ => {
                    let pushed = publication(epoch_of(offset), offset);
                    machine.handle_publication(pushed, room, &mut out);
                }
            }
        }
        machine.handle_head(Epoch(2), Offset(head));
        for _ in 0..40 {
            now += Duration::from_secs(11);
            answer(&mut machine, now, ROOM, &mut out);
        }
        prop_assert_eq!(offsets(&out), (1..=head).collect::<Vec<_>>());
    }
}
