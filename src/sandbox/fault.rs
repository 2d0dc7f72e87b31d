//! What can go wrong, and for whom.

use std::time::Duration;

/// One thing that goes wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The connection is hung up without a word.
    Drop,
    /// Handshakes are answered with this HTTP status, 403 or 429. Open connections stay. Lasts.
    Refuse {
        /// The status.
        status: u16,
    },
    /// The connection stays open and nothing is sent. Lasts.
    Silence,
    /// Heartbeats stop, ticks go on. Lasts.
    NoHeartbeat,
    /// One message that is not as it should be.
    Malformed(Malformed),
    /// The connection passes so many bytes per second and no more, at least 1. Lasts.
    Trickle {
        /// The rate.
        bytes_per_second: u32,
    },
    /// Every packet is sent twice. Lasts.
    Duplicate,
    /// Behind each frame come the values it replaced, once more: old after new. Lasts.
    Late,
    /// A new day begins: volume and day prices start afresh, dates are a day further.
    DayRollover,
    /// A text about an order, to every connection of the account.
    Order {
        /// The whole text.
        text: String,
    },
}

impl Fault {
    /// Its name in a scenario, in log lines and in [`super::Observation::injected`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Refuse { .. } => "refuse",
            Self::Silence => "silence",
            Self::NoHeartbeat => "no-heartbeat",
            Self::Malformed(_) => "malformed",
            Self::Trickle { .. } => "trickle",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::DayRollover => "day-rollover",
            Self::Order { .. } => "order",
        }
    }

    /// Every name.
    pub const NAMES: [&str; 10] = [
        "drop",
        "refuse",
        "silence",
        "no-heartbeat",
        "malformed",
        "trickle",
        "duplicate",
        "late",
        "day-rollover",
        "order",
    ];

    /// Whether it goes on until its time is over, or happens once.
    pub fn lasts(&self) -> bool {
        matches!(
            self,
            Self::Refuse { .. }
                | Self::Silence
                | Self::NoHeartbeat
                | Self::Trickle { .. }
                | Self::Duplicate
                | Self::Late
        )
    }

    /// Whether it can be for one connection alone.
    pub fn is_of_a_connection(&self) -> bool {
        !matches!(self, Self::Refuse { .. } | Self::DayRollover | Self::Order { .. })
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// It announces more packets than it has.
    WrongCount,
    /// It ends within its last packet.
    CutPacket,
    /// Its packet has a length that the protocol does not know.
    OddLength,
    /// A binary message without a byte.
    Empty,
    /// A text that is no JSON.
    NotJson,
}

impl Malformed {
    /// All, by their names in a scenario.
    pub const ALL: [(&str, Self); 5] = [
        ("wrong-count", Self::WrongCount),
        ("cut-packet", Self::CutPacket),
        ("odd-length", Self::OddLength),
        ("empty", Self::Empty),
        ("not-json", Self::NotJson),
    ];
}

/// Whom a fault hits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Reach {
    /// Every open connection, and, if the fault lasts, those opened meanwhile.
    #[default]
    All,
    /// One open connection, by chance as the seed has it.
    One,
}

/// A fault with its reach and its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Injection {
    /// What goes wrong.
    pub fault: Fault,
    /// For whom; of no meaning unless [`Fault::is_of_a_connection`].
    pub reach: Reach,
    /// How long, for one that [lasts](Fault::lasts); without it until [`super::SandboxHandle::heal`].
    pub length: Option<Duration>,
}

impl Injection {
    /// For all connections, without an end.
    pub fn new(fault: Fault) -> Self {
        Self { fault, reach: Reach::All, length: None }
    }
}
