//! The outbox: what goes when room is short, and what is kept.

use super::*;
use crate::push::EncodedPush;

fn push(len: usize) -> Outgoing {
    Outgoing {
        lane: Lane::Channel(0),
        body: OutgoingBody::Shared(EncodedPush::new(Event::Publication(v1::Publication {
            payload: vec![0; len].into(),
            ..Default::default()
        }))),
    }
}

fn key(name: &str) -> ChannelKey {
    ChannelId::new(name).unwrap().key()
}

fn publication(name: &str, offset: u64) -> Class {
    Class::Publication { channel: key(name), offset: Offset(offset) }
}

fn ephemeral(name: &str, of: u64) -> Class {
    Class::Ephemeral { channel: key(name), key: of }
}

const PROTOBUF: Encoding = Encoding::Protobuf;

#[test]
fn i12_ephemerals_go_first_then_publications_are_refused_and_control_fits() {
    let mut outbox = Outbox::new(4, 10_000);
    outbox.push(push(10), ephemeral("a", 1), PROTOBUF).unwrap();
    for offset in 1..=3 {
        outbox.push(push(10), publication("a", offset), PROTOBUF).unwrap();
    }
    outbox.push(push(10), publication("b", 9), PROTOBUF).unwrap();
    assert_eq!(outbox.push(push(10), publication("a", 4), PROTOBUF), Err(Full));
    outbox.push(push(10), Class::Control, PROTOBUF).unwrap();
    outbox.push(push(10), ephemeral("a", 2), PROTOBUF).unwrap();
    let first = outbox.drop_publications();
    assert_eq!(first[&key("a")], Offset(1));
    assert_eq!(first[&key("b")], Offset(9));
    let mut out = Vec::new();
    outbox.take(&mut out, usize::MAX);
    assert_eq!(out.len(), 1, "only control is left");
    assert_eq!(outbox.bytes, 0);
}

#[test]
fn newest_wins_per_key_and_bytes_are_counted() {
    let mut outbox = Outbox::new(100, 250);
    outbox.push(push(100), ephemeral("a", 1), PROTOBUF).unwrap();
    outbox.push(push(50), ephemeral("a", 1), PROTOBUF).unwrap();
    assert_eq!(outbox.frames.len(), 1);
    outbox.push(push(150), publication("a", 1), PROTOBUF).unwrap();
    assert_eq!(outbox.push(push(150), publication("a", 2), PROTOBUF), Err(Full));
    let mut out = Vec::new();
    outbox.take(&mut out, 1);
    assert_eq!(out.len(), 1);
}

#[test]
fn room_for_what_is_expected_is_made_once_and_kept_by_nobody() {
    let mut outbox = Outbox::new(50, 10_000);
    outbox.expect(16);
    outbox.push(push(10), publication("a", 1), PROTOBUF).unwrap();
    let room = outbox.frames.capacity();
    for offset in 2..=16 {
        outbox.push(push(10), publication("a", offset), PROTOBUF).unwrap();
    }
    assert_eq!(outbox.frames.capacity(), room, "it has not grown");
    let mut out = Vec::new();
    outbox.take(&mut out, usize::MAX);
    assert_eq!((out.len(), outbox.frames.capacity()), (16, 0));
    // Nothing came of what was expected then.
    outbox.push(push(10), Class::Control, PROTOBUF).unwrap();
    assert!(outbox.frames.capacity() < 16);
    outbox.expect(usize::MAX);
    outbox.take(&mut out, usize::MAX);
    outbox.expect(usize::MAX);
    outbox.push(push(10), Class::Control, PROTOBUF).unwrap();
    assert!(outbox.frames.capacity() < 200, "never more than there may be");
}

#[test]
fn i5_a_gap_that_waits_begins_with_what_is_dropped_before_it() {
    let mut outbox = Outbox::new(10, 10_000);
    let gap = |name: &str, after_offset| {
        let gap = v1::Gap { channel: name.into(), after_offset, ..Default::default() };
        let frame = Box::new(v1::Frame::push(Event::Gap(gap)));
        Outgoing { lane: Lane::Control, body: OutgoingBody::Own(frame) }
    };
    outbox.push(push(10), publication("a", 4), PROTOBUF).unwrap();
    outbox.push(push(10), publication("a", 5), PROTOBUF).unwrap();
    for (name, after) in [("a", 5), ("b", 7)] {
        let class = Class::Gap { channel: key(name) };
        outbox.push(gap(name, after), class, PROTOBUF).unwrap();
    }
    outbox.push(push(10), publication("b", 3), PROTOBUF).unwrap();
    outbox.drop_publications();
    let left: Vec<String> =
        outbox.frames.iter().map(|entry| format!("{:?}", entry.outgoing)).collect();
    let wanted = [("a", 3), ("b", 7)].map(|(name, after)| format!("{:?}", gap(name, after)));
    assert_eq!(left, wanted);
}

#[test]
fn i11_a_subscription_that_ended_leaves_nothing_behind() {
    let mut outbox = Outbox::new(100, 10_000);
    outbox.push(push(10), publication("a", 1), PROTOBUF).unwrap();
    outbox.push(push(10), publication("b", 1), PROTOBUF).unwrap();
    outbox.push(push(10), Class::Head { channel: key("a") }, PROTOBUF).unwrap();
    outbox.push(push(10), ephemeral("a", 1), PROTOBUF).unwrap();
    outbox.drop_channel(key("a"));
    assert_eq!(outbox.frames.len(), 1);
}

#[test]
fn i11_a_page_of_a_subscription_that_was_given_up_is_refused_and_an_answer_is_not() {
    let mut outbox = Outbox::new(100, 10_000);
    let reply = |id, result| Outgoing {
        lane: Lane::Control,
        body: OutgoingBody::Own(Box::new(v1::Frame::reply(id, result))),
    };
    let page = v1::Subscribed { channel: "a".into(), ..Default::default() };
    let list = v1::PresenceList { channel: "a".into(), ..Default::default() };
    let replies = [reply(1, Reply::Subscribed(page)), reply(2, Reply::Presence(list))];
    for (number, reply) in (1..).zip(replies) {
        outbox.push(reply, Class::Answer { number }, PROTOBUF).unwrap();
    }
    let refused = |outbox: &Outbox| {
        let texts = outbox.frames.iter().map(|entry| format!("{:?}", entry.outgoing.body));
        texts.map(|text| text.contains("Error")).collect::<Vec<_>>()
    };
    let error = v1::Error::default();
    outbox.refuse_subscribed(key("b"), &error, PROTOBUF);
    assert_eq!(refused(&outbox), [false, false]);
    outbox.refuse_subscribed(key("a"), &error, PROTOBUF);
    assert_eq!(refused(&outbox), [true, false]);
    outbox.refuse_pages(key("a"), &error, PROTOBUF);
    assert_eq!(refused(&outbox), [true, true]);
    let mut out = Vec::new();
    assert_eq!(outbox.take_while(&mut out, 10_000, |number| number < 2), Some(2));
    outbox.replace_answer(2, push(500), PROTOBUF);
    assert_eq!(outbox.take_while(&mut out, 10_000, |_| true), None);
    assert_eq!((out.len(), outbox.bytes), (2, 0));
}
