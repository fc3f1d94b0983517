//! Error codes and close codes: one table for all transports and SDKs. A close code is the QUIC
//! application error code and the WebSocket close code alike, and whether to reconnect can be told
//! from its number alone: 3000–3499 and 4000–4499 reconnect, 3500–3999 and 4500–4999 are terminal.
//! What breaks RFC 6455 itself, below any frame of ours, is closed with the code that RFC names for
//! it (1002, 1007, 1009), as WebSocket tools expect; these three are terminal too.

/// Why a command was refused. The connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A fault of the node, which has logged it.
    Internal,
    /// The access token is missing or not accepted.
    Unauthorized,
    /// This user may not do that in this channel.
    PermissionDenied,
    /// There is no such channel, or this user may not know of it.
    UnknownChannel,
    /// The command contradicts itself or the protocol.
    BadRequest,
    /// The session does not receive this channel.
    NotSubscribed,
    /// Larger than a limit of the Welcome.
    TooLarge,
    /// More often than this user may, for now.
    RateLimited,
    /// The channel has more to do than it can take; nothing was stored.
    Busy,
    /// What the command needs, a store or another node, does not answer.
    Unavailable,
    /// This `client_seq` was used before for another publication; count on.
    Conflict,
    /// The access token has run out; a fresh one will do.
    TokenExpired,
    /// There are as many of these as there may be: subscriptions, say, or members.
    LimitExceeded,
    /// The node is leaving and takes nothing new.
    Draining,
    /// The channel is there already, and differs from what was asked for.
    ChannelExists,
    /// The channel is on hold: nothing of it is given up before the hold ends.
    OnHold,
}

impl ErrorCode {
    /// Every code, in the order of the numbers.
    pub const ALL: [Self; 16] = [
        Self::Internal,
        Self::Unauthorized,
        Self::PermissionDenied,
        Self::UnknownChannel,
        Self::BadRequest,
        Self::NotSubscribed,
        Self::TooLarge,
        Self::RateLimited,
        Self::Busy,
        Self::Unavailable,
        Self::Conflict,
        Self::TokenExpired,
        Self::LimitExceeded,
        Self::Draining,
        Self::ChannelExists,
        Self::OnHold,
    ];

    /// Number, name, and whether the same command may succeed later.
    const fn row(self) -> (u32, &'static str, bool) {
        match self {
            Self::Internal => (100, "INTERNAL", true),
            Self::Unauthorized => (101, "UNAUTHORIZED", false),
            Self::PermissionDenied => (102, "PERMISSION_DENIED", false),
            Self::UnknownChannel => (103, "UNKNOWN_CHANNEL", false),
            Self::BadRequest => (104, "BAD_REQUEST", false),
            Self::NotSubscribed => (105, "NOT_SUBSCRIBED", false),
            Self::TooLarge => (106, "TOO_LARGE", false),
            Self::RateLimited => (107, "RATE_LIMITED", true),
            Self::Busy => (108, "BUSY", true),
            Self::Unavailable => (109, "UNAVAILABLE", true),
            Self::Conflict => (110, "CONFLICT", false),
            Self::TokenExpired => (111, "TOKEN_EXPIRED", false),
            Self::LimitExceeded => (112, "LIMIT_EXCEEDED", false),
            Self::Draining => (113, "DRAINING", true),
            Self::ChannelExists => (114, "CHANNEL_EXISTS", false),
            Self::OnHold => (115, "ON_HOLD", false),
        }
    }

    /// As it stands on the wire. A number is never used again for another meaning.
    pub const fn number(self) -> u32 {
        self.row().0
    }

    /// As it stands on the wire and in documentation.
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// Whether the same command may succeed later without a change.
    pub const fn is_retryable(self) -> bool {
        self.row().2
    }

    /// The code with this number; `None` for one from a newer peer.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }
}

/// What a close code tells the client to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The client connects again, after a pause that grows.
    Reconnect,
    /// The client stays away until the application wants it to connect again.
    Terminal,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// What RFC 6455 forbids: no WebSocket frame, or one that may not come here. WebSocket only.
    WebSocketProtocol,
    /// A text message or a close reason that is not UTF-8. WebSocket only.
    WebSocketText,
    /// A WebSocket message larger than any frame may be. WebSocket only.
    WebSocketTooBig,
    /// Either side was done.
    Normal,
    /// The node leaves; the deadline of its GoAway has passed.
    Drained,
    /// Not writable for too long. The session stays resumable.
    Slow,
    /// Nothing was heard for too long.
    IdleTimeout,
    /// The node cannot take this connection now.
    Overloaded,
    /// A fault of the server.
    Internal,
    /// The access token ran out; reconnect with a fresh one.
    TokenExpired,
    /// No Hello in time.
    HelloTimeout,
    /// The access token is not accepted.
    Unauthorized,
    /// Bytes that are no frame, or a frame that may not come here.
    ProtocolError,
    /// A frame above the limit.
    FrameTooLarge,
    /// The page's origin is not on the allow-list.
    OriginForbidden,
    /// The user's sessions were revoked.
    Revoked,
    /// The session continues on a newer connection.
    Superseded,
}

impl CloseReason {
    /// Every reason, in the order of the codes.
    pub const ALL: [Self; 17] = [
        Self::WebSocketProtocol,
        Self::WebSocketText,
        Self::WebSocketTooBig,
        Self::Normal,
        Self::Drained,
        Self::Slow,
        Self::IdleTimeout,
        Self::Overloaded,
        Self::Internal,
        Self::TokenExpired,
        Self::HelloTimeout,
        Self::Unauthorized,
        Self::ProtocolError,
        Self::FrameTooLarge,
        Self::OriginForbidden,
        Self::Revoked,
        Self::Superseded,
    ];

    const fn row(self) -> (u16, &'static str) {
        match self {
            Self::WebSocketProtocol => (1002, "websocket protocol error"),
            Self::WebSocketText => (1007, "invalid UTF-8"),
            Self::WebSocketTooBig => (1009, "message too big"),
            Self::Normal => (3000, "normal"),
            Self::Drained => (3001, "drained"),
            Self::Slow => (3002, "slow"),
            Self::IdleTimeout => (3003, "idle timeout"),
            Self::Overloaded => (3004, "overloaded"),
            Self::Internal => (3005, "internal error"),
            Self::TokenExpired => (3006, "token expired"),
            Self::HelloTimeout => (3007, "hello timeout"),
            Self::Unauthorized => (3500, "unauthorized"),
            Self::ProtocolError => (3501, "protocol error"),
            Self::FrameTooLarge => (3502, "frame too large"),
            Self::OriginForbidden => (3503, "origin forbidden"),
            Self::Revoked => (3504, "revoked"),
            Self::Superseded => (3505, "superseded"),
        }
    }

    /// The application error code on QUIC, the close code on WebSocket.
    pub const fn code(self) -> u16 {
        self.row().0
    }

    /// The text that goes with the code; also the value of the metric label `reason`.
    pub const fn text(self) -> &'static str {
        self.row().1
    }

    /// The reason with this code; `None` for one from a newer peer.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| u64::from(reason.code()) == code)
    }
}

/// What any close code tells the client, known or not. Other codes outside the table's ranges (a
/// transport's own) mean a broken connection, so: reconnect.
pub fn advice(code: u64) -> Advice {
    match code {
        // The client's fault, as 3501 and 3502 are: it would do the same again.
        1002 | 1007 | 1009 => Advice::Terminal,
        3500..=3999 | 4500..=4999 => Advice::Terminal,
        _ => Advice::Reconnect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tables_are_complete_and_without_twins() {
        let numbers: HashSet<u32> = ErrorCode::ALL.iter().map(|c| c.number()).collect();
        assert_eq!(numbers.len(), ErrorCode::ALL.len());
        let codes: HashSet<u16> = CloseReason::ALL.iter().map(|c| c.code()).collect();
        assert_eq!(codes.len(), CloseReason::ALL.len());
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
        for reason in CloseReason::ALL {
            assert_eq!(CloseReason::from_code(reason.code().into()), Some(reason));
        }
    }

    #[test]
    fn the_number_alone_tells_whether_to_reconnect() {
        assert_eq!(advice(CloseReason::Drained.code().into()), Advice::Reconnect);
        assert_eq!(advice(CloseReason::Unauthorized.code().into()), Advice::Terminal);
        for code in [1000, 1001, 1003, 1005, 1006, 1008, 1010, 1011, 1012, 1013, 1015] {
            assert_eq!(advice(code), Advice::Reconnect, "{code}");
        }
        assert_eq!(advice(4400), Advice::Reconnect);
        assert_eq!(advice(4500), Advice::Terminal);
    }

    #[test]
    fn codes_of_the_websocket_are_those_of_its_rfc_and_advise_as_their_counterparts_do() {
        for (reason, code, counterpart) in [
            (CloseReason::WebSocketProtocol, 1002, CloseReason::ProtocolError),
            (CloseReason::WebSocketText, 1007, CloseReason::ProtocolError),
            (CloseReason::WebSocketTooBig, 1009, CloseReason::FrameTooLarge),
        ] {
            assert_eq!(reason.code(), code);
            assert_eq!(advice(code.into()), advice(counterpart.code().into()));
        }
    }
}
