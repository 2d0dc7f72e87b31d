//! Candles: how ticks become bars.
//!
//! A tick is first looked at by the [`Trades`] of its instrument, which say what was traded since the tick before
//! ([`Print`]). Each [`CandleBuilder`] of the instrument, one per timeframe, then puts the print into its bar. [`Bars`]
//! holds one of the former and several of the latter.
//!
//! Nothing here reads a clock: the time of receipt comes with every tick, and whoever drives the builders asks
//! [`CandleBuilder::due`] when to call [`CandleBuilder::close_due`]. The bars depend on the ticks and their times of
//! receipt alone, never on how often or in what portions the builders are called, so that a replayed tape gives the
//! bars of the live day.
//!
//! Prices stay the integers of the wire. All states can be stored with serde and go on after a restart.

mod bars;
mod builder;
mod extremes;
mod print;
mod revision;
#[cfg(test)]
mod tests;
mod trades;
mod volume;

pub use bars::Bars;
pub use builder::{CandleBuilder, Outcome, Tally};
pub use print::{DayView, Missed, Print};
pub use trades::{Trades, TradesOptions, TradesTally};

use serde::{Deserialize, Serialize};

/// How long after its end a bar waits for packets that are still under way, by default: the exchange's stamps are whole
/// seconds, so what is stamped within the bar may well come a second after its end.
pub const DEFAULT_GRACE_NS: u64 = 1_000_000_000;

/// One bar. Times are Unix seconds, prices raw (see [`crate::market::Segment::decimals`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candle {
    /// Its first second.
    pub start: i64,
    /// The first second behind it.
    pub end: i64,
    /// First price.
    pub open: i32,
    /// Highest price.
    pub high: i32,
    /// Lowest price.
    pub low: i32,
    /// Last price.
    pub close: i32,
    /// Quantity traded; 0 for an index.
    pub volume: u64,
    /// Open interest with the last trade.
    pub oi: u32,
    /// How many packets with a trade (of an index: packets) are in it. Kite sends snapshots, so this counts no trades.
    pub packets: u32,
    /// Something of it was missed: it began before we listened, or the feed was gone for a while.
    pub partial: bool,
    /// It is over.
    pub closed: bool,
    /// It has been closed before and now has other values.
    pub revised: bool,
    /// A packet without a time of the exchange was put into it by its time of receipt.
    pub by_receipt: bool,
    /// Counts the closed bars of a builder from 1; a revision keeps the number of its bar. 0 for a bar that forms.
    pub sequence: u64,
}

impl Candle {
    /// A bar from the exchange's history, with volume and open interest still to be set.
    pub const fn historical(start: i64, end: i64, open: i32, high: i32, low: i32, close: i32) -> Self {
        Self {
            start,
            end,
            open,
            high,
            low,
            close,
            volume: 0,
            oi: 0,
            packets: 0,
            partial: false,
            closed: true,
            revised: false,
            by_receipt: false,
            sequence: 0,
        }
    }

    /// Whether the values that a chart shows are the same.
    pub fn same_values(&self, other: &Self) -> bool {
        let values = |bar: &Self| (bar.start, bar.end, bar.open, bar.high, bar.low, bar.close, bar.volume);
        values(self) == values(other)
    }
}
