//! What an operator may set about the upstream connection.

use std::time::Duration;

use super::Source;

/// Where to connect, as whom, and with what patience.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `wss://host[:port][/path]`, without a query: the credentials make the query.
    pub root: String,
    /// Where the API key and the access token come from.
    pub credentials: Source,
    /// Most instruments on the connection. Kite refuses more than 3,000.
    pub max_tokens: usize,
    /// The connection is dead when not a single byte came for so long. Kite sends a heartbeat every second or two.
    pub watchdog: Duration,
    /// The waits between attempts.
    pub waits: Waits,
}

impl Settings {
    /// Kite's own address and the limits it documents.
    pub fn new(credentials: Source) -> Self {
        Self {
            root: "wss://ws.kite.trade".to_owned(),
            credentials,
            max_tokens: 3_000,
            watchdog: Duration::from_millis(5_000),
            waits: Waits::default(),
        }
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
    /// How often a credentials file is read while no token is accepted.
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
            credentials: Duration::from_secs(5),
            healthy: Duration::from_secs(60),
            suspicion: Duration::from_secs(300),
        }
    }
}
