//! Close codes and their reasons: one table for all.

use super::frame::{self, Opcode};

/// Why the server ends a connection. The code tells the client what to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// 1000: the client asked for it.
    Normal,
    /// 1001: the server stops or restarts; reconnect after a short, random while.
    GoingAway,
    /// 1002: the client broke the WebSocket protocol.
    Protocol,
    /// 1008: ended for this reason; the same would end the same way again.
    Policy(&'static str),
    /// 1009: a message larger than the limit.
    TooBig,
    /// 4401: no token came in time.
    Unauthenticated,
    /// 4402: the token has expired; get a new one and come back.
    Expired,
    /// 4403: the token or its user was revoked; do not come back with it.
    Revoked,
    /// 4408: the client never took what it could not be spared (replies, closed candles); it may come back.
    TooSlow,
    /// 4409: another connection has resumed this session; do not come back with its token.
    Superseded,
    /// 4429: too many connections or messages, as the reason says; come back after a while.
    TooMany(&'static str),
    /// 4503: this cannot be served now; come back after a while.
    Unavailable,
}

impl Close {
    /// The code on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Policy(_) => 1008,
            Self::TooBig => 1009,
            Self::Unauthenticated => 4401,
            Self::Expired => 4402,
            Self::Revoked => 4403,
            Self::TooSlow => 4408,
            Self::Superseded => 4409,
            Self::TooMany(_) => 4429,
            Self::Unavailable => 4503,
        }
    }

    /// The reason on the wire.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::GoingAway => "server is going away",
            Self::Protocol => "protocol error",
            Self::TooBig => "message too big",
            Self::TooSlow => "too slow",
            Self::Policy(reason) | Self::TooMany(reason) => reason,
            Self::Unauthenticated => "Authentication required",
            Self::Expired => "Token expired",
            Self::Revoked => "Token revoked",
            Self::Superseded => "Session resumed elsewhere",
            Self::Unavailable => "Try again later",
        }
    }

    /// The close frame.
    pub fn frame(self) -> Vec<u8> {
        self.frame_with(self.reason())
    }

    /// The close frame with another reason, of at most 123 bytes.
    pub fn frame_with(self, reason: &str) -> Vec<u8> {
        let mut body = self.code().to_be_bytes().to_vec();
        body.extend_from_slice(reason.as_bytes());
        let mut out = Vec::with_capacity(body.len() + 2);
        frame::append(&mut out, Opcode::Close, &body);
        out
    }
}
