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
    /// 1009: a message larger than the limit.
    TooBig,
    /// 4408: the client never took what it could not be spared (replies, closed candles); it may come back.
    TooSlow,
}

impl Close {
    /// The code on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::TooBig => 1009,
            Self::TooSlow => 4408,
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
        }
    }

    /// The close frame.
    pub fn frame(self) -> Vec<u8> {
        let mut body = self.code().to_be_bytes().to_vec();
        body.extend_from_slice(self.reason().as_bytes());
        let mut out = Vec::with_capacity(body.len() + 2);
        frame::append(&mut out, Opcode::Close, &body);
        out
    }
}
