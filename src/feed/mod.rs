//! Stop 1 of a tick: a feed is anything that yields Kite binary messages.
//!
//! All feeds go through the same decoder and the same path, so whatever is seen with the embedded market or a recorded
//! tape holds for the live feed. A feed is polled by the duty cycle that owns it (see [`crate::duty`]) and never
//! blocks; what has to wait (name look-ups, TLS, back-off) waits on the control side.

pub mod kite;
pub mod market;
pub mod tape;

use crate::clock::MarketTime;
use crate::market::InstrumentToken;
use std::time::Duration;

pub use crate::market::Demand;

/// What a feed with an upstream says about instruments whose values grow old.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outage {
    /// Their connection is lost, or silent.
    Begun {
        /// The instruments.
        tokens: Vec<InstrumentToken>,
        /// When their connection was heard last, monotonic.
        since_ns: u64,
    },
    /// They are served again, each with the time, monotonic, since when it was not.
    Over(Vec<(InstrumentToken, u64)>),
}

/// A source of Kite binary messages, owned and polled by one thread.
pub trait Feed: Send {
    /// The name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Every instrument this feed can yield, when it knows: those get their slots before the first message, and the
    /// feed sends them whether anybody wants them or not. Empty for a feed that obeys [`Feed::demand`].
    fn universe(&self) -> Vec<InstrumentToken> {
        Vec::new()
    }

    /// Hands every message that is due at `now_ns` (the program's monotonic clock) to `sink`, in order, but stops
    /// after about `budget` packets so that writers get their turn. Returns the number of messages; 0 means idle.
    ///
    /// Never blocks. The bytes are lent for the call only.
    fn poll(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize;

    /// When the feed wants to be polled next although nothing arrives; `None` for "only when something arrives",
    /// a time in the past for "at once".
    fn due_ns(&self) -> Option<u64>;

    /// How long the feed waits for tabs that are behind and do not read; `None` when it cannot wait at all. A tape that
    /// is replayed as fast as possible can, and is polled only while no reading tab is behind.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Where the feed says what time its messages are from, if that is not now.
    fn market_time(&self) -> MarketTime {
        MarketTime::default()
    }

    /// Tells what the subscribers want. Feeds that have a [`Feed::universe`] may ignore it.
    fn demand(&mut self, changes: &[Demand]) {
        let _ = changes;
    }

    /// Registers the feed's sockets, so that the duty cycle can sleep until something arrives: the first under `first`, the
    /// others under the tokens after it.
    ///
    /// # Errors
    /// What the operating system says.
    fn register(&mut self, registry: &mio::Registry, first: mio::Token) -> std::io::Result<()> {
        let _ = (registry, first);
        Ok(())
    }

    /// An event of the poll in which it is [registered](Self::register). The feed may leave a socket alone until one comes,
    /// and must pass over those of others.
    fn edge(&mut self, event: &mio::event::Event) {
        let _ = event;
    }
}
