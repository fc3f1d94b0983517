//! Fuzz targets of the core: sequences of typed operations on what decides, each against a model
//! that says what has to hold. Any bytes are a script of operations.

#![allow(clippy::unwrap_used)]

mod client;
mod link;
mod log;
mod queues;
mod session;

use sterna_core::session::ResumeTicket;
use sterna_core::{EncodedPush, SharedPush};
use sterna_fuzz::check;
use sterna_proto::v1;

#[test]
fn fuzz_resume_ticket() {
    check!("resume_ticket", |bytes: &[u8]| {
        let Some(ticket) = ResumeTicket::from_bytes(bytes) else { return };
        assert_eq!(ticket.to_bytes(), bytes, "one ticket has one form");
        assert!(ticket.proves(&ticket));
        assert!(!ticket.proves(&ResumeTicket::random()));
        assert!(!format!("{ticket:?}").contains("secret"), "secrets stay out of logs");
    });
}

/// A publication as it goes to subscribers.
fn publication(channel: &str, epoch: u32, offset: u64, len: usize) -> SharedPush {
    EncodedPush::new(v1::push::Event::Publication(v1::Publication {
        channel: channel.to_owned(),
        epoch,
        offset,
        payload: vec![b'x'; len].into(),
        ..Default::default()
    }))
}
