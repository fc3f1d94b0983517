//! The reader's end of a subscription.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::Stream;
use sterna_proto::{ChannelId, Position};

use crate::Client;
use crate::event::Event;
use crate::mailbox::{Mailbox, Taken};
use crate::options::Activity;

/// Receives one channel. Publications arrive exactly once and in order, across connections; when
/// the reader is slow nothing is lost: they wait on the server. Dropping it unsubscribes.
#[derive(Debug)]
#[must_use = "dropping a subscription unsubscribes"]
pub struct Subscription {
    client: Client,
    channel: ChannelId,
    mailbox: Arc<Mailbox>,
}

impl Subscription {
    pub(crate) fn new(client: Client, channel: ChannelId, mailbox: Arc<Mailbox>) -> Self {
        Self { client, channel, mailbox }
    }

    /// What is being received.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// The position after the last event that was taken; `None` before the first one. To be
    /// stored by applications that want to go on there after a restart.
    pub fn position(&self) -> Option<Position> {
        self.mailbox.position()
    }

    /// Follows the channel in another class from here on: a word to the node, not a new
    /// subscription. Kept through reconnects; a node that knows no classes sends everything.
    pub fn set_activity(&self, activity: Activity) {
        self.client
            .shared()
            .change(|session| session.set_activity(&self.channel, &self.mailbox, activity));
    }

    /// The next event; `None` after [`Event::Error`] and after the client was closed.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_take(cx)).await
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Event>> {
        self.mailbox.poll_take(cx).map(|taken| {
            let (event, taken) = taken?;
            if taken == Taken::RoomAgain {
                self.client.shared().wake.notify_one();
            }
            Some(event)
        })
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_take(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.client.shared().change(|session| session.unsubscribe(&self.channel, &self.mailbox));
    }
}
