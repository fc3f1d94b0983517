//! What a worker pays for every subscriber of a publication.

use std::hint::black_box;
use std::sync::Arc;

use sterna_core::fanout::hub::Hub;
use sterna_core::session::subscription::Subscription;
use sterna_core::session::{Effect, ResumeTicket, Session};
use sterna_core::{ConnectionInfo, CoreConfig, EncodedPush, Encoding, Identity, TransportKind};
use sterna_proto::v1::{command::Verb, reply::Result as Reply};
use sterna_proto::{ChannelId, ClientId, NodeId, Offset, SessionId, UserId, v1};
use tokio::time::Instant;

use crate::measured;
use crate::wire::publication;

const SESSIONS: u32 = 1000;

pub(crate) fn handle_delivery(repeats: u32) {
    let channel = channel();
    let key = channel.key();
    let mut subscription = Subscription::new(channel, key, 256);
    subscription.on_attach_started(1);
    let mut page = page();
    subscription.handle_page(1, &mut page);
    let push = EncodedPush::new(publication(1));
    let mut offset = Offset::ZERO;
    measured(repeats, &mut || {
        offset = offset.next();
        black_box(subscription.handle_delivery(7, offset, &push));
    });
}

/// One publication to every session of the hub, and out of their outboxes.
pub(crate) fn hub_delivery(repeats: u32) {
    let key = channel().key();
    let mut hub = Hub::default();
    let mut sessions: Vec<Session> = (0..SESSIONS).map(session).collect();
    for slot in 0..SESSIONS {
        hub.join(key, slot as _, v1::Activity::Active);
    }
    let mut offset = Offset::ZERO;
    let mut frames = Vec::new();
    measured(repeats, &mut || {
        offset = offset.next();
        let pushes = [EncodedPush::new(publication(offset.0))];
        for slot in hub.sessions(&key, v1::Activity::Active) {
            let session = &mut sessions[*slot as usize];
            session.handle_delivery(key, 7, offset, &pushes);
            session.take_frames(&mut frames, 64 * 1024);
        }
        assert!(frames.len() == SESSIONS as usize);
        frames.clear();
    });
}

/// Subscribed and live.
fn session(number: u32) -> Session {
    let now = Instant::now();
    let connection = ConnectionInfo {
        transport: TransportKind::WebSocket,
        remote: ([127, 0, 0, 1], 9).into(),
        encoding: Encoding::Protobuf,
        datagrams: false,
    };
    let node = NodeId::new("node-1").unwrap_or_else(|_| unreachable!("a good name"));
    let config = Arc::new(CoreConfig::embedded(node, v1::Durability::Memory));
    let identity = Identity {
        user: UserId::new("bob").unwrap_or_else(|_| unreachable!("a good name")),
        permissions: Vec::new(),
        expires_at_ms: None,
        issued_at_ms: None,
        operator: false,
    };
    let ticket = ResumeTicket { session: SessionId(number.into()), secret: [5; 16] };
    let client_id = ClientId::new("phone").unwrap_or_else(|_| unreachable!("a good name"));
    let mut session = Session::new(ticket, identity, client_id, connection, config, now);
    let subscribe = v1::Subscribe { channel: channel().to_string(), ..Default::default() };
    let command = v1::Command { id: 1, verb: Some(Verb::Subscribe(subscribe)) };
    let _ = session.handle_command(command, now, 0);
    while let Some(effect) = session.poll_effect() {
        if let Effect::Call { token, .. } = effect {
            session.handle_reply(token, Ok(Reply::Subscribed(page())));
        }
    }
    session.take_frames(&mut Vec::new(), usize::MAX);
    session
}

fn channel() -> ChannelId {
    ChannelId::new("room:42").unwrap_or_else(|_| unreachable!("a good name"))
}

fn page() -> v1::Subscribed {
    let position = Some(v1::Position { epoch: 7, offset: 0 });
    v1::Subscribed { position, ..Default::default() }
}
