//! Client for Sterna, the real-time messaging gateway.
//!
//! A [`Client`] keeps one session with a cluster over whichever transport works (QUIC first,
//! WebSocket beside it) and moves that session between connections without the application
//! noticing: publications arrive exactly once and in order per channel, and what is published is
//! kept and sent again until the server has answered for it.
//!
//! ```no_run
//! use std::time::Duration;
//! use sterna_client::{ChannelId, Client, Event, Subscribe};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("sterna://edge.example.com")
//!     .token("an access token")
//!     .build()?;
//! client.connect();
//! client.ready(Duration::from_secs(5)).await?;
//!
//! let channel = ChannelId::new("room:42")?;
//! let mut subscription = client.subscribe(&channel, Subscribe::latest())?;
//! let ack = client.publish(&channel, "hello").await?;
//! println!("stored at {}", ack.position);
//!
//! while let Some(event) = subscription.next().await {
//!     if let Event::Publication(publication) = event {
//!         println!("{}: {:?}", publication.sender, publication.payload);
//!         break;
//!     }
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! A list of chats needs no subscriptions: [`Client::sync`] tells which channels have something new,
//! with what is unread.
//!
//! On a phone, tell it what the system tells the application: [`Client::network_changed`]
//! (and [`Client::set_network`]), [`Client::background`], [`Client::foreground`]; where no system tells,
//! [`ClientBuilder::watch_route`] looks. With a store
//! ([`ClientBuilder::outbox_store`]) what was published also outlives the process.
//!
//! Decisions live in plain state machines that know neither sockets nor clocks (the private module
//! `session`); one driver task per client moves bytes and time for them and is awaited by
//! [`Client::close`].

#![warn(missing_docs)]

mod builder;
mod client;
mod driver;
mod error;
mod event;
mod inbox;
mod mailbox;
mod options;
mod outbox_store;
mod route;
mod send;
mod session;
mod shared;
mod subscribe;
mod transport;

pub use builder::ClientBuilder;
pub use client::{Client, States};
pub use error::Error;
pub use event::{
    Ack, ClientState, Connected, Event, MemberChange, MessageId, Page, Publication, SendState,
    Statistics, SubscriptionEvent, SubscriptionState,
};
pub use inbox::{Inbox, InboxChange, InboxEntry, InboxPosition, InboxTouches};
pub use options::{
    Activity, CreateChannel, History, NetworkChange, Order, OutboxLimits, OutboxPolicy, StartFrom,
    Subscribe, TokenError, TokenReason, TokenRequest, Transport,
};
pub use outbox_store::{
    FileOutbox, OutboxChange, OutboxStore, OutboxStoreError, StoredOutbox, StoredPublication,
};
pub use send::{Publish, RestoredSend, Send, SendStates};
pub use sterna_proto::{ChannelId, ClientId, Epoch, InvalidId, Offset, Position, UserId, v1};
pub use subscribe::Subscription;
