//! Publishing as the application sees it: a [`Publish`] is being prepared, a [`Send`] is in the
//! outbox and reports what becomes of it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use sterna_proto::{ChannelId, Offset, v1};
use tokio::sync::watch;

use crate::event::{Ack, MessageId, SendState};
use crate::{Client, Error};

/// A publication that has not been handed to the outbox yet: [`start`](Self::start) does that, and
/// so does awaiting it.
#[must_use = "nothing is published before `start` or `await`"]
#[derive(Debug)]
pub struct Publish {
    client: Client,
    channel: ChannelId,
    publish: v1::Publish,
    message_id: MessageId,
}

impl Publish {
    pub(crate) fn new(
        client: Client,
        channel: ChannelId,
        payload: Bytes,
        message_id: MessageId,
    ) -> Self {
        let publish =
            v1::Publish { channel: channel.to_string(), payload, ..v1::Publish::default() };
        Self { client, channel, publish, message_id }
    }

    /// Uses an id that the application has made (16 bytes, best a UUIDv7).
    pub fn id(self, message_id: MessageId) -> Self {
        Self { message_id, ..self }
    }

    /// Marks an edit, a recall or a reaction, about the publication at `target`.
    pub fn kind(mut self, kind: v1::PublicationKind, target: Offset) -> Self {
        self.publish.set_kind(kind);
        self.publish.target_offset = target.0;
        self
    }

    /// The id that the publication will carry.
    pub fn message_id(&self) -> MessageId {
        self.message_id
    }

    /// Puts the publication into the outbox. Never waits; when it cannot be taken, the handle has
    /// failed already.
    pub fn start(mut self) -> Send {
        self.publish.client_msg_id = Bytes::copy_from_slice(&self.message_id.0);
        self.publish.client_ts_ms = crate::driver::unix_ms();
        let states = self.client.shared().change(|session| {
            let (tag, states) = watch::channel(SendState::Queued);
            session.publish(self.channel, self.publish, tag);
            states
        });
        Send { message_id: self.message_id, states, client: self.client }
    }
}

impl IntoFuture for Publish {
    type Output = Result<Ack, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.start().into_future()
    }
}

/// A publication in the outbox. Awaiting it gives the final outcome, however many connections that
/// takes. Dropping it changes nothing for the publication.
#[derive(Debug, Clone)]
pub struct Send {
    message_id: MessageId,
    states: watch::Receiver<SendState>,
    /// The outbox lives as long as somebody waits for it.
    client: Client,
}

impl Send {
    /// Names the publication from the start; the receivers see it in
    /// [`Publication::message_id`](crate::Publication::message_id).
    pub fn message_id(&self) -> MessageId {
        self.message_id
    }

    /// The state now.
    pub fn state(&self) -> SendState {
        self.states.borrow().clone()
    }

    /// The state now and every change that follows, ending after a final one.
    pub fn states(&self) -> SendStates {
        let states =
            stream::unfold(Some((self.clone(), true)), |at: Option<(Self, bool)>| async move {
                let (mut send, first) = at?;
                if !first && send.states.changed().await.is_err() {
                    return None;
                }
                let state = send.states.borrow_and_update().clone();
                let next = (!state.is_final()).then_some((send, false));
                Some((state, next))
            });
        SendStates(states.boxed())
    }

    async fn outcome(mut self) -> Result<Ack, Error> {
        let outcome = self.states.wait_for(SendState::is_final).await.map(|state| state.clone());
        drop(self.client);
        match outcome {
            Ok(SendState::Acked(ack)) => Ok(ack),
            Ok(SendState::Failed(error)) => Err(error),
            _ => Err(Error::Closed),
        }
    }
}

/// A publication that an earlier process has left in the outbox store. See
/// [`Client::take_restored`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestoredSend {
    /// Where it was published.
    pub channel: ChannelId,
    /// What was published.
    pub payload: Bytes,
    /// Reports what becomes of it. Dropping it changes nothing for the publication.
    pub send: Send,
}

/// The same before there is a client that it could hold on to.
#[derive(Debug)]
pub(crate) struct Restored {
    channel: ChannelId,
    payload: Bytes,
    message_id: MessageId,
    states: watch::Receiver<SendState>,
}

impl Restored {
    pub(crate) fn new(
        channel: ChannelId,
        publish: &v1::Publish,
        states: watch::Receiver<SendState>,
    ) -> Self {
        let message_id = MessageId::from_bytes(&publish.client_msg_id);
        let message_id = message_id.unwrap_or_else(MessageId::new);
        Self { channel, payload: publish.payload.clone(), message_id, states }
    }

    pub(crate) fn of(self, client: &Client) -> RestoredSend {
        let Self { channel, payload, message_id, states } = self;
        RestoredSend { channel, payload, send: Send { message_id, states, client: client.clone() } }
    }
}

impl IntoFuture for Send {
    type Output = Result<Ack, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.outcome()) as Pin<Box<dyn Future<Output = _> + std::marker::Send>>
    }
}

/// States of one publication. See [`Send::states`].
pub struct SendStates(BoxStream<'static, SendState>);

impl SendStates {
    /// The next state; `None` after a final one.
    pub async fn next(&mut self) -> Option<SendState> {
        self.0.next().await
    }
}

impl Stream for SendStates {
    type Item = SendState;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SendState>> {
        self.0.poll_next_unpin(cx)
    }
}

impl std::fmt::Debug for SendStates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SendStates")
    }
}
