//! Short ways to build frames.

use crate::{reason::ErrorCode, v1};

impl v1::Frame {
    /// A command; `id` 0 wants no reply.
    pub fn command(id: u32, verb: v1::command::Verb) -> Self {
        Self { body: Some(v1::frame::Body::Command(v1::Command { id, verb: Some(verb) })) }
    }

    /// The answer to command `id`.
    pub fn reply(id: u32, result: v1::reply::Result) -> Self {
        Self { body: Some(v1::frame::Body::Reply(v1::Reply { id, result: Some(result) })) }
    }

    /// Something the server says unasked.
    pub fn push(event: v1::push::Event) -> Self {
        Self { body: Some(v1::frame::Body::Push(v1::Push { event: Some(event) })) }
    }
}

impl v1::Error {
    /// An error as the client hears it; name and advice come from the code's row in the table.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code: code.number(),
            name: code.name().to_owned(),
            message: message.into(),
            retryable: code.is_retryable(),
            retry_after_ms: 0,
        }
    }

    /// The same, telling the client how long to wait before it tries again.
    pub fn with_retry_after_ms(mut self, retry_after_ms: u32) -> Self {
        self.retry_after_ms = retry_after_ms;
        self
    }
}
