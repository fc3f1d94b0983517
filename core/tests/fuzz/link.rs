//! What another node says: any bytes on a lane end in commands, answers, pushes and rosters that can
//! be said again, or in an error.

use std::time::{Duration, Instant};

use sterna_core::cluster::roster::Roster;
use sterna_core::cluster::{Incarnation, NodeInfo, NodeState};
use sterna_core::link::{LinkPush, wire};
use sterna_fuzz::check;
use sterna_proto::link::v1::{Frame, frame::Body};
use sterna_proto::{LinkDecoder, NodeId};

#[test]
fn fuzz_link_frames() {
    check!("link_frames", |bytes: &[u8]| {
        let mut decoder = LinkDecoder::new(1 << 16);
        decoder.extend(bytes);
        while let Ok(Some(frame)) = decoder.next() {
            take(frame);
        }
    });
}

fn take(frame: Frame) {
    match frame.body {
        Some(Body::Call(call)) => {
            let id = call.id;
            if let Ok(command) = wire::command(call) {
                let of_channel = command.channel.key();
                let of_inbox = command.caller.identity.user.inbox_key();
                let is_of_inbox = command.verb.is_of_inbox();
                assert_eq!(command.key, if is_of_inbox { of_inbox } else { of_channel });
                // What was understood can be passed on, and means the same there.
                let Some(Body::Call(again)) = wire::call(id, &command).body else {
                    panic!("a call")
                };
                let again = wire::command(again).expect("what was understood can be passed on");
                assert_eq!(format!("{again:?}"), format!("{command:?}"));
            }
        }
        Some(Body::Answer(answer)) => drop(wire::reply(answer)),
        Some(Body::Roster(roster)) => {
            let now = Instant::now();
            let mut known = Roster::new(own(), Duration::from_secs(5));
            // The error is about this node alone.
            let _ = known.merge(roster.nodes, now);
            assert!(known.live(now).iter().any(|node| node.name == own().name));
        }
        Some(body) => {
            if let Ok(Some(push)) = wire::link_push(body) {
                pass_on(&push);
            }
        }
        None => {}
    }
}

fn pass_on(push: &LinkPush) {
    let mut frames = Vec::new();
    wire::push(push, &mut frames);
    for body in frames.into_iter().filter_map(|frame| frame.body) {
        let again = wire::link_push(body).expect("what was understood can be passed on");
        assert_eq!(again.expect("a push").channel(), push.channel());
    }
}

fn own() -> NodeInfo {
    NodeInfo {
        name: NodeId::new("own").unwrap(),
        incarnation: Incarnation(1),
        edge: true,
        core: true,
        local_store: false,
        region: String::new(),
        zone: String::new(),
        link_address: String::new(),
        client_address: String::new(),
        state: NodeState::Serving,
        sessions: 0,
        capacity: 0,
        weight: 100,
    }
}
