//! Candles, indicators and alerts: computed once, on a core of their own.
//!
//! The engine is one more subscriber of the board: its inbox is a large ring, and a tick reaches it as it reaches a tab,
//! by an offer that never waits. When the ring is full the engine falls back on the newest value of each of its
//! instruments, as a tab does, and counts it. So it can never stall the feed.
//!
//! One thread, the [`Core`](core::Core), owns everything: instruments, bars, indicators, alerts and who listens. It
//! takes requests from a bounded queue ([`Engine`]), polls, and sleeps a little when there was nothing to do; it is
//! never woken by a tick. What it finds goes into [series](crate::fanout::series), from which writers deliver it.
//!
//! * An [`instrument`] has the bars of one token in all timeframes that somebody wants.
//! * A [`track`] is one timeframe of it: closed bars, computations, listeners.
//! * A [`computation`] is one indicator of a track, from its first subscriber to its last, however many there are.
//! * A [`view`] is what one wording of a value needs: its series and its listeners. Two clients that write `5m` and
//!   `5min` share the computation and not the text.
//!
//! Time is that of the market ([`MarketTime`](crate::clock::MarketTime)): the wall clock, or a tape's. Bars depend on
//! the ticks and their times alone, so the same tape gives the same bars and values at any speed.

pub mod alert;
pub mod command;
pub mod computation;
pub mod core;
pub mod counters;
pub mod forming;
pub mod handle;
pub mod instrument;
pub mod message;
pub mod shelf;
#[cfg(test)]
mod tests;
pub mod track;
pub mod view;

pub use handle::Engine;

use crate::market::Calendar;
use crate::market::candle::{DEFAULT_GRACE_NS, TradesOptions};

/// What can be set.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// The hours of trading.
    pub calendar: Calendar,
    /// How long a bar waits behind its end, nanoseconds.
    pub grace_ns: u64,
    /// How trades are told from ticks.
    pub trades: TradesOptions,
    /// Least time between two values of a forming bar, nanoseconds.
    pub forming_ns: u64,
    /// How long what nobody wants any more goes on, nanoseconds: a page that reloads finds it warm.
    pub linger_ns: u64,
    /// Closed bars kept of each track; more where an indicator wants more.
    pub kept_bars: usize,
    /// Most computations at a time.
    pub max_computations: usize,
    /// Whether there is a history to ask for bars.
    pub history: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            calendar: Calendar::around_the_clock(),
            grace_ns: DEFAULT_GRACE_NS,
            trades: TradesOptions::default(),
            forming_ns: 250_000_000,
            linger_ns: 30_000_000_000,
            kept_bars: 600,
            max_computations: 100_000,
            history: false,
        }
    }
}
