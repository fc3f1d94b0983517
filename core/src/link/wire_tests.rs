//! What is said between nodes survives the way, and nonsense does no harm.

use super::*;
use sterna_proto::codec;
use sterna_proto::limits;

fn through(frame: &wire::Frame) -> Body {
    let mut decoder = sterna_proto::LinkDecoder::new(limits::LINK_FRAME_BYTES);
    let mut bytes = bytes::BytesMut::new();
    codec::encode(frame, &mut bytes);
    decoder.extend(&bytes);
    decoder.next().unwrap().unwrap().body.unwrap()
}

fn command_of(verb: Verb) -> LinkCommand {
    let channel = ChannelId::new("room:1").unwrap();
    let identity = Identity {
        user: UserId::new("alice").unwrap(),
        permissions: vec![
            Permission::all("room:*"),
            Permission { pattern: "lobby".into(), actions: vec![Action::Presence] },
        ],
        expires_at_ms: Some(17),
        issued_at_ms: None,
        operator: false,
    };
    let (client_id, session) = (ClientId::new("phone").unwrap(), SessionId(9 << 100));
    LinkCommand {
        caller: Arc::new(Caller::new(identity.into(), client_id, session, Incarnation(7))),
        key: channel.key(),
        channel,
        hops: 1,
        verb,
    }
}

#[test]
fn every_command_survives_the_way() {
    let subscribe =
        v1::Subscribe { channel: "room:1".into(), presence: true, ..Default::default() };
    let verbs = vec![
        Verb::Publish(v1::Publish { client_seq: 3, payload: "x".into(), ..Default::default() }),
        Verb::Attach {
            subscribe,
            turn: 5,
            again: true,
            held_upto: Some(Position::new(4, 17)),
            replaces: Some(SessionId(77)),
        },
        Verb::History(v1::History { limit: 3, ..Default::default() }),
        Verb::Presence,
        Verb::MoveCursor { delivered: Offset(4), read: Offset(2) },
        Verb::Ephemeral(v1::Ephemeral { key: "typing".into(), ..Default::default() }),
        Verb::CreateChannel(v1::CreateChannel::default()),
        Verb::SetMember(v1::SetMember::default()),
        Verb::RemoveMember(v1::RemoveMember { user: "bob".into(), ..Default::default() }),
        Verb::Members(v1::MembersQuery { limit: 2, ..Default::default() }),
        Verb::Info,
        Verb::SetPresence { state: v1::PresenceState::Roaming, turn: 8, again: true },
        Verb::Sync(v1::Sync { limit: 3, live: true, ..Default::default() }),
        Verb::ChangeInbox(v1::ChangeInbox { muted: Some(false), ..Default::default() }),
        Verb::Touch(ChannelId::new("room:2").unwrap()),
        Verb::Keep(wire::Keep {
            reason: "because".into(),
            order: Some(wire::keep::Order::Redact(wire::Redact { offsets: vec![3, 5] })),
        }),
        Verb::KeepPresence(wire::KeepPresence {
            present: vec![wire::Present { user: "bob".into(), turn: 4, ..Default::default() }],
        }),
    ];
    for verb in verbs {
        let of_inbox = verb.is_of_inbox();
        let mut sent = command_of(verb);
        if of_inbox {
            sent = LinkCommand { hops: 1, ..LinkCommand::of_inbox(sent.caller, sent.verb) };
        }
        let Body::Call(received) = through(&call(11, &sent)) else { panic!("a call") };
        assert_eq!(received.id, 11);
        let received = command(received).unwrap();
        assert_eq!(format!("{received:?}"), format!("{sent:?}"));
    }
}

#[test]
fn an_unknown_command_is_answered_not_fatal() {
    let Body::Call(mut foreign) = through(&call(1, &command_of(Verb::Info))) else { panic!() };
    foreign.verb = None;
    assert_eq!(command(foreign.clone()).unwrap_err().code, ErrorCode::BadRequest.number());
    foreign.caller = None;
    assert!(command(foreign).is_err());
}

#[test]
fn answers_come_back_as_they_were_given() {
    let error = v1::Error::new(ErrorCode::Busy, "later").with_retry_after_ms(7);
    for sent in [Ok(v1::reply::Result::Done(v1::Done {})), Err(error)] {
        let Body::Answer(received) = through(&answer(3, sent.clone())) else { panic!() };
        assert_eq!(received.id, 3);
        assert_eq!(reply(received), sent);
    }
    assert!(reply(wire::Answer::default()).unwrap_err().retryable);
}

#[test]
fn a_long_delivery_is_cut_without_a_seam() {
    let channel = ChannelId::new("room:1").unwrap().key();
    let publication = |offset| {
        EncodedPush::new(v1::push::Event::Publication(v1::Publication {
            offset,
            payload: vec![7; limits::PAYLOAD_BYTES].into(),
            ..Default::default()
        }))
    };
    let pushes: Vec<SharedPush> = (5..105).map(publication).collect();
    let sent =
        LinkPush::Deliver { channel, epoch: 2, first: Offset(5), pushes: pushes.clone().into() };
    let mut frames = Vec::new();
    push(&sent, &mut frames);
    assert!(frames.len() > 1);
    let mut offset = 5;
    for frame in &frames {
        let Ok(Some(LinkPush::Deliver { epoch, first, pushes: received, .. })) =
            link_push(through(frame))
        else {
            panic!("a delivery")
        };
        assert_eq!((epoch, first), (2, Offset(offset)));
        for push in received.iter() {
            assert_eq!(push.frame(), pushes[(offset - 5) as usize].frame());
            offset += 1;
        }
    }
    assert_eq!(offset, 105);
}

#[test]
fn other_pushes_survive_the_way() {
    let channel = ChannelId::new("room:1").unwrap().key();
    let event = |audience| LinkPush::Event {
        channel,
        audience,
        push: EncodedPush::new(v1::push::Event::Receipt(v1::Receipt::default())),
    };
    let pushes = [
        event(Audience::EphemeralFrom(SessionId(5))),
        event(Audience::Presence { shift: 3_u64.wrapping_neg() }),
        event(Audience::PresenceUnlike { digest: 7 }),
        event(Audience::Receipts),
        LinkPush::Head { channel, head: Position::new(3, 9) },
        LinkPush::Evict {
            channel,
            user: UserId::new("eve").unwrap(),
            at: Position::new(3, 8),
            error: v1::Error::new(ErrorCode::PermissionDenied, "no longer"),
        },
        LinkPush::Moved { channel },
    ];
    let told = |push: &LinkPush| match push {
        LinkPush::Event { audience, push, .. } => format!("{audience:?} {:?}", push.frame()),
        other => format!("{other:?}"),
    };
    for sent in pushes {
        let mut frames = Vec::new();
        push(&sent, &mut frames);
        let received = link_push(through(&frames[0])).unwrap().unwrap();
        assert_eq!(told(&received), told(&sent));
    }
}

#[test]
fn nonsense_ends_the_link_and_nothing_else() {
    let short = Bytes::from_static(b"short");
    let nonsense = [
        Body::Moved(wire::Moved { channel: short.clone() }),
        Body::Deliver(wire::Deliver {
            channel: vec![0; 16].into(),
            frames: vec![short],
            ..Default::default()
        }),
        Body::Evict(wire::Evict { channel: vec![0; 16].into(), ..Default::default() }),
    ];
    for body in nonsense {
        assert!(link_push(body).is_err());
    }
    assert!(link_push(Body::Answer(wire::Answer::default())).unwrap().is_none());
}
