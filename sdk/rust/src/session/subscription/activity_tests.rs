//! A subscription that goes to the background and comes forward again.

use super::*;
use crate::event::Event;

const ROOM: usize = 1000;

fn machine(activity: Activity) -> (Subscription, Instant) {
    let options = Subscribe::after(Position::new(1, 5)).with_activity(activity);
    let channel = ChannelId::new("room:1").unwrap();
    (Subscription::new(channel, options, Duration::from_secs(5)), Instant::now())
}

/// The answer to who stands at `offset` of a channel that ends at `head`.
fn stay(offset: u64, head: u64) -> v1::Subscribed {
    let position = Some(v1::Position { epoch: 1, offset });
    v1::Subscribed { position, live: true, head_offset: head, ..v1::Subscribed::default() }
}

fn page(offsets: std::ops::RangeInclusive<u64>) -> v1::Subscribed {
    let end = *offsets.end();
    let publications = offsets
        .map(|offset| v1::Publication { epoch: 1, offset, ..v1::Publication::default() })
        .collect();
    v1::Subscribed { publications, ..stay(end, end) }
}

fn head(machine: &mut Subscription, offset: u64) -> Vec<Event> {
    let mut out = Vec::new();
    machine.handle_head(Epoch(1), Offset(offset));
    machine.show_head(&mut out);
    out
}

fn delivered(events: &[Event]) -> Vec<u64> {
    let offset = |event: &Event| match event {
        Event::Publication(publication) => Some(publication.position.offset.0),
        _ => None,
    };
    events.iter().filter_map(offset).collect()
}

#[test]
fn i13_what_the_background_held_back_comes_once_and_in_order() {
    let (mut machine, now) = machine(Activity::Background);
    let ask = machine.poll_ask(now, ROOM).unwrap();
    assert_eq!(ask.activity(), v1::Activity::Background);
    let mut out = Vec::new();
    machine.handle_subscribed(stay(5, 7), now, ROOM, &mut out);
    let told = Event::Head { position: Position::new(1, 7) };
    assert_eq!(out.last(), Some(&told));
    assert!(machine.poll_ask(now, ROOM).is_none(), "it is not wanted");
    assert_eq!(head(&mut machine, 7), [], "that was known");
    assert_eq!(head(&mut machine, 9), [Event::Head { position: Position::new(1, 9) }]);
    assert_eq!(machine.position(), Some(Position::new(1, 5)));

    machine.set_activity(Activity::Active);
    assert_eq!(machine.poll_activity(now), None, "the question says it");
    let ask = machine.poll_ask(now, ROOM).unwrap();
    assert_eq!((ask.since.unwrap().offset, ask.activity()), (5, v1::Activity::Active));
    let mut out = Vec::new();
    machine.handle_subscribed(page(6..=9), now, ROOM, &mut out);
    assert_eq!(delivered(&out), [6, 7, 8, 9]);
    assert_eq!(machine.counts.gaps_recovered, 0, "nothing was lost");
    assert_eq!(head(&mut machine, 9), []);
}

#[test]
fn a_change_without_news_is_one_word_and_said_once() {
    let (mut machine, now) = machine(Activity::Active);
    machine.poll_ask(now, ROOM);
    machine.set_activity(Activity::Foreground);
    assert_eq!(machine.poll_activity(now), None, "not while a question is on its way");
    machine.handle_subscribed(stay(5, 5), now, ROOM, &mut Vec::new());
    assert_eq!(machine.poll_activity(now), Some(v1::Activity::Foreground));
    machine.set_activity(Activity::Background);
    assert_eq!(machine.poll_activity(now), None, "one at a time");
    machine.on_activity_said();
    assert_eq!(machine.poll_activity(now), Some(v1::Activity::Background));
    machine.on_activity_said();
    assert_eq!(machine.poll_activity(now), None);
    // The next connection is told with its Hello.
    machine.handle_detached();
    assert_eq!(machine.question(ROOM).activity(), v1::Activity::Background);
}

/// The node had not heard of the change yet, or knows no classes.
#[test]
fn i13_publications_in_the_background_are_taken_when_they_follow() {
    let (mut machine, now) = machine(Activity::Background);
    machine.poll_ask(now, ROOM);
    machine.handle_subscribed(stay(5, 5), now, ROOM, &mut Vec::new());
    let mut out = Vec::new();
    for offset in [6, 8] {
        let publication = v1::Publication { epoch: 1, offset, ..v1::Publication::default() };
        machine.handle_publication(publication, ROOM, &mut out);
    }
    assert_eq!(delivered(&out), [6]);
    assert_eq!(out.last(), Some(&Event::Head { position: Position::new(1, 8) }));
    let gap = v1::Gap { epoch: 1, after_offset: 6, upto_offset: 9, ..v1::Gap::default() };
    machine.handle_gap(&gap);
    assert!(machine.poll_ask(now, ROOM).is_none());
    machine.set_activity(Activity::Foreground);
    assert_eq!(machine.poll_ask(now, ROOM).unwrap().since.unwrap().offset, 6);
}

/// The question went out in the background, the answer finds somebody who looks.
#[test]
fn i5_a_gap_after_coming_forward_is_asked_for() {
    let (mut machine, now) = machine(Activity::Background);
    machine.poll_ask(now, ROOM);
    machine.set_activity(Activity::Active);
    machine.handle_subscribed(stay(5, 9), now, ROOM, &mut Vec::new());
    assert_eq!(machine.poll_activity(now), Some(v1::Activity::Active));
    let gap = v1::Gap { epoch: 1, after_offset: 5, upto_offset: 9, ..v1::Gap::default() };
    machine.handle_gap(&gap);
    let ask = machine.poll_ask(now, ROOM).unwrap();
    assert_eq!((ask.since.unwrap().offset, ask.activity()), (5, v1::Activity::Active));
}

#[test]
fn a_word_that_was_refused_for_the_moment_is_said_again_and_the_newest_wish_wins() {
    let (mut machine, now) = machine(Activity::Active);
    machine.poll_ask(now, ROOM);
    machine.handle_subscribed(stay(5, 5), now, ROOM, &mut Vec::new());
    let later = now + Duration::from_secs(2);
    machine.set_activity(Activity::Background);
    assert_eq!(machine.poll_activity(now), Some(v1::Activity::Background));
    machine.on_activity_refused(later);
    assert_eq!((machine.poll_activity(now), machine.activity_deadline()), (None, Some(later)));
    machine.set_activity(Activity::Foreground);
    assert_eq!(machine.poll_activity(now), None, "no sooner for that");
    assert_eq!(machine.poll_activity(later), Some(v1::Activity::Foreground));
    machine.on_activity_refused(later);
    // What the node was told last is wanted again: there is nothing to say.
    machine.set_activity(Activity::Active);
    assert_eq!((machine.poll_activity(later), machine.activity_deadline()), (None, None));
    machine.set_activity(Activity::Background);
    assert_eq!(machine.poll_activity(later), Some(v1::Activity::Background));
    // A question says it as well, and that is what the node knows, whatever becomes of the word.
    machine.handle_pushes_lost();
    assert!(machine.poll_ask(later, ROOM).is_none(), "in the background nothing is missed");
    machine.set_activity(Activity::Active);
    machine.handle_head(Epoch(1), Offset(9));
    assert_eq!(machine.poll_ask(later, ROOM).unwrap().activity(), v1::Activity::Active);
    machine.handle_subscribed(page(6..=9), later, ROOM, &mut Vec::new());
    machine.on_activity_refused(later);
    assert_eq!((machine.poll_activity(later), machine.activity_deadline()), (None, None));
}
