//! A subscription against lost, doubled and late pushes.

use super::*;
use proptest::prelude::*;

const ROOM: usize = 1000;

fn machine(options: Subscribe) -> Subscription {
    Subscription::new(ChannelId::new("room:1").unwrap(), options)
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
        let mut now = Instant::now();
        let mut machine = machine(Subscribe::earliest());
        let mut out = Vec::new();
        let answer = |machine: &mut Subscription, now, room: usize, out: &mut Vec<Event>| {
            let Some(ask) = machine.poll_ask(now, room) else { return };
            let since = ask.since.unwrap().offset;
            let upto = head.min(since + 5).min(since + u64::from(ask.page_publications));
            let mut reply = page(1, since + 1..=upto, upto == head);
            reply.position = Some(v1::Position { epoch: 1, offset: upto.max(since) });
            machine.handle_subscribed(reply, now, room, out);
        };
        for (kind, offset, room) in steps {
            now += Duration::from_millis(700);
            match kind {
                0 => machine.handle_detached(),
                1 => answer(&mut machine, now, room, &mut out),
                2 => machine.handle_head(Epoch(1), Offset(offset)),
                _ => machine.handle_publication(publication(1, offset), room, &mut out),
            }
        }
        machine.handle_head(Epoch(1), Offset(head));
        for _ in 0..40 {
            now += Duration::from_secs(11);
            answer(&mut machine, now, ROOM, &mut out);
        }
        prop_assert_eq!(offsets(&out), (1..=head).collect::<Vec<_>>());
    }
}
