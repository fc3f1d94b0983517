//! The handle that applications hold. Its methods change the session's state or ask something of
//! it and wake the driver; none of them touches a socket. It ends with [`Client::close`], or when
//! its last clone and the last subscription are dropped.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use sterna_proto::v1::{self, command::Verb, reply};
use sterna_proto::{ChannelId, Offset, UserId, limits};

use crate::builder::ClientBuilder;
use crate::event::{ClientState, Page, Statistics};
use crate::options::{CreateChannel, History, NetworkChange, Subscribe};
use crate::send::{Publish, Restored, RestoredSend};
use crate::shared::{Desired, Shared};
use crate::subscribe::Subscription;
use crate::{Error, event::MessageId};

/// One session with a cluster. Cheap to clone; all clones are the same session.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

/// Ends the driver when nobody is left who could use it.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) restored: Mutex<Vec<Restored>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.set_desired(Desired::Closed);
    }
}

impl Client {
    /// Starts a builder. `address` is `sterna://host:port`, `host:port` or `host` (port 4443).
    pub fn builder(address: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(address.into())
    }

    /// Asks for a connection and for keeping one from now on. Returns at once.
    pub fn connect(&self) {
        self.shared().set_desired(Desired::Online);
    }

    /// Gives the connection up and ends the session on the server. Subscriptions and the outbox
    /// stay and continue with the next [`connect`](Self::connect).
    pub fn disconnect(&self) {
        self.shared().set_desired(Desired::Offline);
    }

    /// Waits until there is a session. Fails with the terminal error if there is one, and with
    /// [`Error::Timeout`] or the last attempt's error after `timeout`.
    pub async fn ready(&self, timeout: Duration) -> Result<(), Error> {
        let mut states = self.shared().state.subscribe();
        let wait = states.wait_for(|state| match state {
            ClientState::Connected(_) | ClientState::Closed => true,
            ClientState::Disconnected { error } => error.is_some(),
            ClientState::Connecting { .. } | ClientState::Background => false,
        });
        let state = match tokio::time::timeout(timeout, wait).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => ClientState::Closed,
            Err(_) => self.state(),
        };
        match state {
            ClientState::Connected(_) => Ok(()),
            ClientState::Disconnected { error: Some(error) } => Err(error),
            ClientState::Connecting { last_error: Some(error), .. } => Err(error),
            ClientState::Closed => Err(Error::Closed),
            _ => Err(Error::Timeout),
        }
    }

    /// The state now.
    pub fn state(&self) -> ClientState {
        self.shared().state.borrow().clone()
    }

    /// The state now and every change that follows; states that pass faster than they are taken
    /// are skipped. Ends after [`ClientState::Closed`].
    pub fn states(&self) -> States {
        let receiver = self.shared().state.subscribe();
        let states = stream::unfold((receiver, true), |(mut receiver, first)| async move {
            if !first {
                receiver.changed().await.ok()?;
            }
            let state = receiver.borrow_and_update().clone();
            Some((state, (receiver, false)))
        });
        States(states.boxed())
    }

    /// Receives a channel. One subscription per channel and client; dropping it unsubscribes.
    pub fn subscribe(
        &self,
        channel: &ChannelId,
        options: Subscribe,
    ) -> Result<Subscription, Error> {
        let mailbox = self.shared().change(|session| session.subscribe(channel, options))?;
        Ok(Subscription::new(self.clone(), channel.clone(), mailbox))
    }

    /// Prepares a publication. Nothing is published before it is awaited, which gives the
    /// [`Ack`](crate::Ack), or handed to the outbox with [`Publish::start`] to go on at once; a
    /// `Publish` that is dropped without either leaves no trace.
    ///
    /// ```no_run
    /// # async fn example(client: sterna_client::Client, channel: sterna_client::ChannelId)
    /// # -> Result<(), sterna_client::Error> {
    /// let ack = client.publish(&channel, "hello").await?;
    /// let send = client.publish(&channel, "and on").start();
    /// println!("{} is on its way", send.message_id());
    /// let ack = send.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&self, channel: &ChannelId, payload: impl Into<Bytes>) -> Publish {
        Publish::new(self.clone(), channel.clone(), payload.into(), MessageId::new())
    }

    /// What an earlier process has published and no server has answered for, in its order, as the
    /// outbox store had it when this client was built. It is sent without further ado; the handles
    /// tell what becomes of it. Given once.
    pub fn take_restored(&self) -> Vec<RestoredSend> {
        let mut restored = self.inner.restored.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *restored).into_iter().map(|restored| restored.of(self)).collect()
    }

    /// Sends something that is not stored: newest wins per channel, sender and key. A datagram
    /// where there are some; lost without a connection.
    pub fn ephemeral(
        &self,
        channel: &ChannelId,
        key: &str,
        payload: impl Into<Bytes>,
    ) -> Result<(), Error> {
        let payload = payload.into();
        if payload.len() > limits::EPHEMERAL_BYTES {
            let limit = limits::EPHEMERAL_BYTES;
            return Err(Error::TooLarge { len: payload.len(), limit });
        }
        let ephemeral = v1::Ephemeral {
            channel: channel.to_string(),
            key: key.to_owned(),
            payload,
            sender: String::new(),
        };
        self.shared().change(|session| session.send_ephemeral(ephemeral))
    }

    /// Reads a page of a channel.
    pub async fn history(&self, channel: &ChannelId, history: History) -> Result<Page, Error> {
        let verb = Verb::History(v1::History {
            channel: channel.to_string(),
            since: history.since.map(Into::into),
            limit: history.limit,
            backwards: history.backwards,
        });
        match self.call(verb).await? {
            reply::Result::History(page) => Ok(page.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// Who is in a channel now.
    pub async fn presence(&self, channel: &ChannelId) -> Result<v1::PresenceList, Error> {
        let verb = Verb::Presence(v1::PresenceQuery { channel: channel.to_string() });
        match self.call(verb).await? {
            reply::Result::Presence(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    /// Tells that everything up to `offset` has arrived.
    pub async fn ack(&self, channel: &ChannelId, offset: Offset) -> Result<(), Error> {
        let channel = channel.to_string();
        self.call_done(Verb::Ack(v1::Ack { channel, offset: offset.0 })).await
    }

    /// Tells that the user has read everything up to `offset`.
    pub async fn mark_read(&self, channel: &ChannelId, offset: Offset) -> Result<(), Error> {
        let channel = channel.to_string();
        self.call_done(Verb::MarkRead(v1::MarkRead { channel, offset: offset.0 })).await
    }

    /// Makes a channel, or describes it when it is there already and looks the same.
    pub async fn create_channel(
        &self,
        channel: &ChannelId,
        create: CreateChannel,
    ) -> Result<v1::ChannelInfo, Error> {
        let verb = Verb::CreateChannel(v1::CreateChannel {
            channel: channel.to_string(),
            kind: create.kind.into(),
            access: create.access.into(),
            members: create.members,
        });
        match self.call(verb).await? {
            reply::Result::Channel(info) => Ok(info),
            other => Err(unexpected(&other)),
        }
    }

    /// Adds a member or changes its role.
    pub async fn set_member(
        &self,
        channel: &ChannelId,
        user: &UserId,
        role: v1::Role,
    ) -> Result<(), Error> {
        let member = v1::Member { user: user.to_string(), role: role.into() };
        let channel = channel.to_string();
        self.call_done(Verb::SetMember(v1::SetMember { channel, member: Some(member) })).await
    }

    /// Removes a member.
    pub async fn remove_member(&self, channel: &ChannelId, user: &UserId) -> Result<(), Error> {
        let (channel, user) = (channel.to_string(), user.to_string());
        self.call_done(Verb::RemoveMember(v1::RemoveMember { channel, user })).await
    }

    /// A page of members, in order of their names, starting after `after_user`.
    pub async fn members(
        &self,
        channel: &ChannelId,
        after_user: Option<&UserId>,
        limit: u32,
    ) -> Result<v1::MemberList, Error> {
        let verb = Verb::Members(v1::MembersQuery {
            channel: channel.to_string(),
            after_user: after_user.map(ToString::to_string).unwrap_or_default(),
            limit,
        });
        match self.call(verb).await? {
            reply::Result::Members(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    /// Counts since the client was built.
    pub fn statistics(&self) -> Statistics {
        self.shared().session().statistics()
    }

    /// To be called when the operating system reports a change: a QUIC connection moves to a
    /// fresh socket at once, a WebSocket is probed, a wait for the next attempt ends.
    pub fn network_changed(&self, change: NetworkChange) {
        self.shared().set_network_change(change);
    }

    /// What the device is connected through, for the operators of the nodes, who see where a session
    /// has been. Nothing else depends on it. To be called at first and before
    /// [`network_changed`](Self::network_changed).
    pub fn set_network(&self, network: v1::Network) {
        self.shared().set_network(network);
    }

    /// To be called when the application goes into the background. The connection is kept for the
    /// builder's [`background_grace`](crate::ClientBuilder::background_grace) and is then closed,
    /// or at once when there is none that could be kept; no other is made until
    /// [`foreground`](Self::foreground). The session, the subscriptions and the outbox stay:
    /// what is published meanwhile is sent later, and what is missed is recovered.
    pub fn background(&self) {
        self.shared().set_background(true);
    }

    /// To be called when the application is back: without a connection one is made at once,
    /// whatever failed before, and continues the session.
    pub fn foreground(&self) {
        self.shared().set_background(false);
    }

    /// Ends the session and waits until every task of this client is gone. Publications that
    /// are still in the outbox fail with [`Error::Closed`]; those in an
    /// [outbox store](crate::ClientBuilder::outbox_store) are sent by the next client that has it.
    pub async fn close(&self) {
        self.shared().set_desired(Desired::Closed);
        let mut driver = self.shared().driver.lock().await;
        if let Some(task) = driver.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the driver of a client ended badly");
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    pub(crate) async fn call_done(&self, verb: Verb) -> Result<(), Error> {
        match self.call(verb).await? {
            reply::Result::Done(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) async fn call(&self, verb: Verb) -> Result<reply::Result, Error> {
        let now = tokio::time::Instant::now().into_std();
        let reply = self.shared().change(|session| session.call(verb, now))?;
        reply.await.unwrap_or(Err(Error::Closed))
    }
}

/// States of a client, newest last. See [`Client::states`].
pub struct States(BoxStream<'static, ClientState>);

impl States {
    /// The next state; `None` once the client is closed.
    pub async fn next(&mut self) -> Option<ClientState> {
        self.0.next().await
    }
}

impl Stream for States {
    type Item = ClientState;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ClientState>> {
        self.0.poll_next_unpin(cx)
    }
}

impl std::fmt::Debug for States {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("States")
    }
}

/// A reply that does not answer its command.
pub(crate) fn unexpected(result: &reply::Result) -> Error {
    let kind = match result {
        reply::Result::Error(_) => "an error",
        reply::Result::Welcome(_) => "a Welcome",
        reply::Result::Published(_) => "a Published",
        reply::Result::Subscribed(_) => "a Subscribed",
        reply::Result::Done(_) => "a Done",
        reply::Result::History(_) => "a HistoryPage",
        reply::Result::Presence(_) => "a PresenceList",
        reply::Result::Pong(_) => "a Pong",
        reply::Result::Channel(_) => "a ChannelInfo",
        reply::Result::Members(_) => "a MemberList",
        reply::Result::Inbox(_) => "an Inbox",
    };
    Error::Protocol(format!("the reply was {kind}, which does not answer this command"))
}
