//! What has come down the link and was not yet given to sessions, one by one.

use crate::link::LinkPush;
use crate::link::ports::LinkReceiver;

#[derive(Debug)]
pub(super) struct Incoming {
    link: LinkReceiver,
    /// Taken from the link, the next one.
    first: Option<LinkPush>,
}

impl Incoming {
    pub(super) fn new(link: LinkReceiver) -> Self {
        Self { link, first: None }
    }

    /// Waits until there is something; false: nothing comes any more. Cancel-safe.
    pub(super) async fn ready(&mut self) -> bool {
        if self.first.is_none() {
            self.first = self.link.receive().await;
        }
        self.first.is_some()
    }

    /// The next one, if it is here.
    pub(super) fn next(&mut self) -> Option<LinkPush> {
        self.first.take().or_else(|| self.link.try_receive())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.link.is_empty()
    }
}
