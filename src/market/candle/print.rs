//! What one packet says about trading.

use crate::market::calendar::Date;

/// What happened between a packet and the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Print {
    /// The bar's clock, Unix seconds: the time of the last trade; for an index the exchange's time; for a packet without
    /// times that of receipt.
    pub time: i64,
    /// When the packet came, nanoseconds since 1970.
    pub received_ns: u64,
    /// Last price.
    pub price: i32,
    /// Highest price since the packet before, as far as can be told; never below `price`.
    pub high: i32,
    /// Lowest price since the packet before; never above `price`.
    pub low: i32,
    /// Quantity traded since the packet before, as far as it counts in bars within the day.
    pub volume: u64,
    /// Open interest.
    pub oi: u32,
    /// Whether `time` is that of receipt.
    pub by_receipt: bool,
    /// Whether bars within the day take it. If not, only the bar of the day looks at it.
    pub counts: bool,
    /// What was not seen before this packet.
    pub missed: Option<Missed>,
    /// The state of the day.
    pub day: DayView,
}

/// A time in which the feed was not heard, until the first packet behind it; both Unix seconds.
/// For the first packet of all, both are its time: what was before does not concern any bar but the one it lies in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Missed {
    /// When it was lost.
    pub from: i64,
    /// The first moment that was seen again.
    pub until: i64,
}

impl Missed {
    /// Whether a bar from `start` to before `end` lacks something.
    pub const fn touches(self, start: i64, end: i64) -> bool {
        start <= self.until && self.from < end
    }
}

/// The trading date as a packet tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DayView {
    /// Its open, high and low; `None` when the packet has none, or nothing was traded yet.
    pub range: Option<(i32, i32, i32)>,
    /// Quantity traded on that day, auctions and all.
    pub volume: u64,
    /// Whether there is a bar of the day at all: something was traded, or the index is being computed.
    pub traded: bool,
    /// The trading date before and the official close of it, once continuous trading has begun; before that, exchanges
    /// may still send yesterday's state.
    pub previous: Option<(Date, i32)>,
}
