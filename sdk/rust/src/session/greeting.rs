//! The first flight of a connection: the Hello that names everything the client wants, and what
//! the Welcome changes.

use std::time::Instant;

use sterna_proto::v1::{self, command::Verb};
use sterna_proto::{ChannelId, limits};

use super::{Leaving, Named, Session};
use crate::event::{Connected, Event};
use crate::options::Transport;

/// A Hello that was sent and has not been answered.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) id: u32,
    named: Named,
}

impl Session {
    /// The first frame of a connection. The present connection, if there is one, goes on.
    pub(crate) fn hello(&mut self, access_token: String) -> (Greeting, v1::Command) {
        let mut named = Named::new();
        let mut subscriptions = Vec::new();
        let mut size = access_token.len() + self.resume_ticket.len() + self.user_agent.len();
        for (channel, entry) in &mut self.subscriptions {
            size += channel.as_str().len() + SUBSCRIBE_BYTES;
            if size > HELLO_BYTES {
                break;
            }
            subscriptions.push(entry.machine.question(entry.mailbox.room()));
            named.insert(channel.clone(), entry.serial);
        }
        let hello = v1::Hello {
            access_token,
            client_id: self.client_id.clone(),
            resume_ticket: self.resume_ticket.clone(),
            subscriptions,
            user_agent: self.user_agent.clone(),
            network: self.network.into(),
        };
        self.stats.hellos += 1;
        let id = self.in_flight.take_id();
        (Greeting { id, named }, v1::Command { id, verb: Some(Verb::Hello(hello)) })
    }

    /// The session lives on the new connection from here on. Publications that were not answered
    /// are the first to be sent there.
    pub(crate) fn handle_welcome(
        &mut self,
        greeting: Greeting,
        welcome: v1::Welcome,
        transport: Transport,
        now: Instant,
    ) -> Connected {
        self.forget_connection();
        for (channel, entry) in &mut self.subscriptions {
            if greeting.named.get(channel) == Some(&entry.serial) {
                entry.machine.on_asked(now);
            }
        }
        // What the Hello named and nobody wants by now, or wants in another way.
        for (channel, serial) in greeting.named {
            if self.subscriptions.get(&channel).is_none_or(|entry| entry.serial != serial) {
                self.leaving.insert(channel, Leaving::new());
            }
        }
        if !welcome.resumed && self.stats.connects > 0 {
            // Of a session that goes on, the node knows what it has missed.
            let following = self.subscriptions.values().filter(|it| it.machine.follows_presence());
            following.for_each(|entry| entry.mailbox.put([Event::PresenceGap]));
        }
        self.resume_ticket = welcome.resume_ticket.clone();
        self.stats.transport = Some(transport);
        self.stats.connects += 1;
        self.stats.reconnects += u64::from(self.stats.connects > 1);
        self.stats.resumed += u64::from(welcome.resumed);
        self.stats.observed_address.clone_from(&welcome.observed_address);
        let connected = Connected {
            session_id: welcome.session_id.clone(),
            transport,
            node: welcome.node.clone(),
            user: welcome.user.clone(),
            resumed: welcome.resumed,
            durability: welcome.durability(),
            observed_address: welcome.observed_address.clone(),
        };
        self.welcome = Some(welcome);
        // What was touched without a connection is not known.
        self.on_inbox_touched();
        connected
    }
}

/// An upper bound of one Subscribe without its channel's name.
const SUBSCRIBE_BYTES: usize = 48;
/// Subscriptions that do not fit follow after the Welcome.
const HELLO_BYTES: usize = limits::HELLO_FRAME_BYTES - 4 * 1024;

/// Used by tests and by [`Session`] alike.
pub(super) fn channel_of(name: &str) -> Option<ChannelId> {
    ChannelId::new(name).ok()
}
