//! Inboxes: which channels have something new for a user, kept so that a device that was away asks
//! one question and not one for each channel. Pointers only; publications stay in the log.
//!
//! Every user's inbox has a slot and an owner as a channel has ([`UserId::inbox_key`]). Two kinds of
//! work meet here, both inside [shards](crate::channel::shard), which spawn nothing for it:
//!
//! * **the channel's owner** puts an [`intent`] into the same commit as a publication, if the
//!   channel is a small one ([`diffusion`]). From the stored intents its [`agenda`] makes marks in
//!   the inboxes of members: merged per user and channel for some seconds, written at least once,
//!   completed when written. Whoever owns the slot after a crash finds them in the store ([`marks`],
//!   [`resolve`]).
//! * **the inbox's owner** hears of a mark before it is written (a *touch*), tells devices that look,
//!   and counts the channel in when it answers a [`sync`] meanwhile ([`watch`], [`calls`]). It hears
//!   [again](tells) of what comes while the mark waits.
//!
//! Large, open and broadcast channels are never marked: their members *pull*, which means that a sync
//! compares heads ([`enroll`] keeps the list of them). Nothing here decides about publications, and
//! all that it keeps in memory can be lost: intents and marks are in the store, a touch is a hint.
//!
//! [`UserId::inbox_key`]: sterna_proto::UserId::inbox_key

mod agenda;
mod calls;
mod diffusion;
mod enroll;
mod intent;
mod marks;
mod resolve;
mod sync;
mod telling;
mod tells;
mod watch;

pub use diffusion::{Change, Diffusion, InboxRules};
pub(crate) use enroll::before_create;
pub(crate) use intent::encode as intent;
pub(crate) use marks::{InboxDone, InboxWork};
