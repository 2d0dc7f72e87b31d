//! What an operator may set about the upstream connections.

use std::time::Duration;

use super::Source;

/// Where to connect, as whom, and with what patience.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `wss://host[:port][/path]`, without a query: the credentials make the query.
    pub root: String,
    /// Where the API keys and their access tokens come from, one a key. The first key is used first.
    pub credentials: Vec<Source>,
    /// Most sockets of a key. Kite refuses more than 3; the further ones are opened only when those before are full.
    pub sockets: usize,
    /// Most instruments on a socket. Kite refuses more than 3,000.
    pub max_tokens: usize,
    /// A connection is dead when not a single byte came for so long. Kite sends a heartbeat every second or two.
    pub watchdog: Duration,
    /// Instruments count as lost when their connection has been closed for so long, or silent for half a second more.
    pub stale: Duration,
    /// Instruments move to other sockets, as far as these have room, when theirs has been closed for so long.
    pub spill: Duration,
    /// Least time between two changes of what a socket is subscribed to: a storm of them is gathered.
    pub pace: Duration,
    /// The waits between attempts.
    pub waits: Waits,
}

impl Settings {
    /// Kite's own address and the limits it documents.
    pub fn new(credentials: Vec<Source>) -> Self {
        Self {
            root: "wss://ws.kite.trade".to_owned(),
            credentials,
            sockets: 3,
            max_tokens: 3_000,
            watchdog: Duration::from_millis(5_000),
            stale: Duration::from_millis(1_000),
            spill: Duration::from_millis(15_000),
            pace: Duration::from_millis(100),
            waits: Waits::default(),
        }
    }

    /// How many instruments all sockets together can have.
    pub fn capacity(&self) -> usize {
        self.credentials.len() * self.sockets * self.max_tokens
    }
}

/// Timeouts and waits of the control half. The defaults are for Kite; tests shorten them.
#[derive(Clone, Debug)]
pub struct Waits {
    /// For the name look-up, and for each address to accept.
    pub connect: Duration,
    /// For TLS and the WebSocket handshake together.
    pub handshake: Duration,
    /// Upper bound of the first wait after a failure; it doubles with every further one.
    pub backoff_first: Duration,
    /// Upper bound of any wait after a failure.
    pub backoff_most: Duration,
    /// Least wait after 429: too many sockets on the key, and every attempt may count as one more.
    pub rate_limited: Duration,
    /// How often a credentials file is looked at.
    pub credentials: Duration,
    /// A connection that lasted so long was good: back-off starts afresh, and its end says nothing about the token.
    pub healthy: Duration,
    /// When a token that is only *suspected* (closed early twice, never a 403) is put to the test again.
    pub suspicion: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            backoff_first: Duration::from_secs(1),
            backoff_most: Duration::from_secs(60),
            rate_limited: Duration::from_secs(60),
            credentials: Duration::from_secs(1),
            healthy: Duration::from_secs(60),
            suspicion: Duration::from_secs(300),
        }
    }
}
