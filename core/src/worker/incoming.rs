//! What has come down the link and was not yet given to sessions, one by one.

use std::collections::VecDeque;

use crate::link::LinkPush;
use crate::link::ports::LinkReceiver;

#[derive(Debug)]
pub(super) struct Incoming {
    link: LinkReceiver,
    /// Taken from the link, and before what is in it: what waited behind a pass.
    first: VecDeque<LinkPush>,
}

impl Incoming {
    pub(super) fn new(link: LinkReceiver) -> Self {
        Self { link, first: VecDeque::new() }
    }

    /// Waits until there is something; false: nothing comes any more. Cancel-safe.
    pub(super) async fn ready(&mut self) -> bool {
        if self.first.is_empty() {
            self.first.extend(self.link.receive().await);
        }
        !self.first.is_empty()
    }

    /// The next one, if it is here.
    pub(super) fn next(&mut self) -> Option<LinkPush> {
        self.first.pop_front().or_else(|| self.link.try_receive())
    }

    /// These, which were taken together, come next again, in their order.
    pub(super) fn again(&mut self, pushes: Vec<LinkPush>) {
        pushes.into_iter().rev().for_each(|push| self.first.push_front(push));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.link.is_empty()
    }
}
