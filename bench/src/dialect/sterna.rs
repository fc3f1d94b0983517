//! The protocol of a Sterna node, with as little work for the client as possible.

use anyhow::{Result, ensure};
use bytes::BytesMut;
use sterna_proto::{FrameDecoder, codec, limits, v1, version};
use v1::{command::Verb, frame::Body, push, reply};

use super::{Dialect, Event, Message, Page, Place, Reader};

/// A client of a node; `token` has to allow everything.
#[derive(Debug, Clone)]
pub struct Sterna {
    pub token: String,
}

/// Commands are told apart by their ids.
const HELLO: u32 = 1;
const SUBSCRIBE: u32 = 2;
const PUBLISH: u32 = 3;
const HISTORY: u32 = 4;

/// Publications that somebody sees who opens a conversation.
const NEWEST: u32 = 20;

fn command(id: u32, verb: Verb) -> Message {
    let command = v1::Command { id, verb: Some(verb) };
    let mut bytes = BytesMut::new();
    codec::encode(&v1::Frame { body: Some(Body::Command(command)) }, &mut bytes);
    Message::Binary(bytes.freeze())
}

fn channel_name(channel: u32) -> String {
    format!("bench:{channel}")
}

impl Dialect for Sterna {
    fn alpn(&self) -> &'static [u8] {
        version::ALPN
    }

    fn path(&self) -> String {
        version::WEBSOCKET_PATH.to_owned()
    }

    fn subprotocol(&self) -> Option<&'static str> {
        Some(version::SUBPROTOCOL_PROTOBUF)
    }

    fn hello(&self, client: &str) -> Option<Message> {
        let hello = v1::Hello {
            access_token: self.token.clone(),
            client_id: client.to_owned(),
            user_agent: "sterna-bench".to_owned(),
            ..v1::Hello::default()
        };
        Some(command(HELLO, Verb::Hello(hello)))
    }

    fn subscribe(&self, channel: u32, _connection: &str) -> Message {
        let channel = channel_name(channel);
        let subscribe = v1::Subscribe { channel, ..v1::Subscribe::default() };
        command(SUBSCRIBE, Verb::Subscribe(subscribe))
    }

    fn follow(&self, channel: u32, (epoch, offset): Place, _connection: &str) -> Message {
        let subscribe = v1::Subscribe {
            channel: channel_name(channel),
            since: Some(v1::Position { epoch, offset }),
            ..v1::Subscribe::default()
        };
        command(SUBSCRIBE, Verb::Subscribe(subscribe))
    }

    fn publish(&self, channel: u32, payload: &[u8], sequence: u64, _connection: &str) -> Message {
        let publish = v1::Publish {
            channel: channel_name(channel),
            payload: payload.to_vec().into(),
            client_seq: sequence,
            ..v1::Publish::default()
        };
        command(PUBLISH, Verb::Publish(publish))
    }

    fn join(&self, channel: u32, _connection: &str) -> Message {
        let subscribe = v1::Subscribe {
            channel: channel_name(channel),
            since: Some(v1::Position::default()),
            order: v1::RecoveryOrder::NewestFirst.into(),
            page_publications: NEWEST,
            ..v1::Subscribe::default()
        };
        command(SUBSCRIBE, Verb::Subscribe(subscribe))
    }

    fn history(&self, channel: u32, epoch: u32, after: u64) -> Option<Message> {
        let history = v1::History {
            channel: channel_name(channel),
            since: Some(v1::Position { epoch, offset: after }),
            limit: limits::PAGE_PUBLICATIONS as u32,
            ..v1::History::default()
        };
        Some(command(HISTORY, Verb::History(history)))
    }

    fn goodbye(&self) -> Option<Message> {
        Some(command(0, Verb::Goodbye(v1::Goodbye::default())))
    }

    fn heartbeat(&self) -> Option<Message> {
        Some(command(0, Verb::Ping(v1::Ping::default())))
    }

    fn reader(&self, lane: bool) -> Box<dyn Reader> {
        Box::new(SternaReader { decoder: FrameDecoder::new(limits::FRAME_BYTES), unmarked: lane })
    }
}

struct SternaReader {
    decoder: FrameDecoder,
    /// A lane begins with a byte that says so.
    unmarked: bool,
}

impl Reader for SternaReader {
    fn read(&mut self, mut bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        if self.unmarked
            && let Some((mark, rest)) = bytes.split_first()
        {
            ensure!(*mark == version::LANE_STREAM, "a stream of the node that is no lane");
            self.unmarked = false;
            bytes = rest;
        }
        self.decoder.extend(bytes);
        while let Some(frame) = self.decoder.next()? {
            take(&frame, on);
        }
        Ok(())
    }
}

fn take(frame: &v1::Frame, on: &mut dyn FnMut(Event<'_>)) {
    match &frame.body {
        Some(Body::Push(v1::Push { event: Some(push::Event::Publication(publication)) })) => {
            on(Event::At((publication.epoch, publication.offset)));
            on(Event::Delivered(&publication.payload));
        }
        Some(Body::Push(v1::Push { event: Some(push::Event::Gap(gap)) })) => {
            on(Event::Lagged(format!("{gap:?}")));
        }
        Some(Body::Reply(v1::Reply { result: Some(result), .. })) => match result {
            reply::Result::Welcome(_) => on(Event::Ready),
            reply::Result::Subscribed(subscribed) => take_subscribed(subscribed, on),
            reply::Result::Published(_) => on(Event::Acked),
            reply::Result::History(page) => on(Event::Page(contents(page))),
            reply::Result::Error(error) => on(Event::Refused(error.message.clone())),
            _ => {}
        },
        _ => {}
    }
}

fn take_subscribed(subscribed: &v1::Subscribed, on: &mut dyn FnMut(Event<'_>)) {
    if let Some(gap) = &subscribed.gap {
        on(Event::Lagged(format!("{gap:?}")));
    }
    for publication in &subscribed.publications {
        on(Event::At((publication.epoch, publication.offset)));
    }
    if let Some(position) = &subscribed.position {
        on(Event::Stands((position.epoch, position.offset)));
    }
    match subscribed.live {
        true => on(Event::Subscribed),
        false => on(Event::Refused("there is more to read before pushes follow".to_owned())),
    }
}

fn contents(page: &v1::HistoryPage) -> Page {
    let publications = page.publications.iter().map(|it| (it.offset, it.payload.clone())).collect();
    Page { epoch: page.epoch, publications, more: page.more }
}
