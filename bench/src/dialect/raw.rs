//! The protocol of the raw servers.

use anyhow::{Result, bail};
use sterna_bench_raw::protocol::{self, Cutter, DELIVERY, PUBLISHED, SUBSCRIBED};

use super::{Dialect, Event, Message, Reader};

/// `framed`: on a stream, where lengths are needed.
#[derive(Debug, Clone, Copy)]
pub struct Raw {
    pub framed: bool,
}

impl Raw {
    fn message(self, message: &protocol::Message) -> Message {
        let bytes = message.encode();
        Message::Binary(if self.framed { protocol::framed(&bytes) } else { bytes })
    }
}

impl Dialect for Raw {
    fn alpn(&self) -> &'static [u8] {
        sterna_bench_raw::quic::ALPN
    }

    /// Every session of every server has exchanged something.
    fn hello(&self, client: &str) -> Option<Message> {
        Some(self.message(&protocol::Message::Echo(client.as_bytes().to_vec().into())))
    }

    fn subscribe(&self, channel: u32, _connection: &str) -> Message {
        self.message(&protocol::Message::Subscribe(channel))
    }

    fn publish(&self, channel: u32, payload: &[u8], _sequence: u64, _connection: &str) -> Message {
        self.message(&protocol::Message::Publish(channel, payload.to_vec().into()))
    }

    fn reader(&self, _lane: bool) -> Box<dyn Reader> {
        Box::new(RawReader { framed: self.framed, cutter: Cutter::default(), ..Default::default() })
    }
}

#[derive(Default)]
struct RawReader {
    framed: bool,
    cutter: Cutter,
    greeted: bool,
}

impl Reader for RawReader {
    fn read(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        if !self.framed {
            return self.take(bytes, on);
        }
        self.cutter.extend(bytes);
        while let Some(message) = self.cutter.cut() {
            self.take(&message, on)?;
        }
        Ok(())
    }
}

impl RawReader {
    /// The first delivery is the echo.
    fn take(&mut self, message: &[u8], on: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        match message.split_first() {
            Some((&DELIVERY, _)) if !self.greeted => {
                self.greeted = true;
                on(Event::Ready);
            }
            Some((&DELIVERY, payload)) => on(Event::Delivered(payload)),
            Some((&SUBSCRIBED, _)) => on(Event::Subscribed),
            Some((&PUBLISHED, _)) => on(Event::Acked),
            _ => bail!("the raw server sent {message:?}"),
        }
        Ok(())
    }
}
