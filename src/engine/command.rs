//! What the control side asks of the engine.

use super::alert::Alert;
use super::track::Bars;
use super::view::{Subscriber, Wording};
use crate::fanout::series::Subscription;
use crate::market::indicator::IndicatorId;
use crate::market::{Candle, InstrumentToken, Timeframe};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a subscription is for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Topic {
    /// Candles of one instrument.
    Candles {
        /// Which instrument.
        token: InstrumentToken,
        /// Which timeframe.
        timeframe: Timeframe,
        /// Also while they form.
        live: bool,
    },
    /// Candles of every instrument there is and will be.
    AllCandles {
        /// Which timeframe.
        timeframe: Timeframe,
        /// Also while they form.
        live: bool,
    },
    /// An indicator.
    Indicator {
        /// Of which instrument.
        token: InstrumentToken,
        /// Of which timeframe.
        timeframe: Timeframe,
        /// Which indicator.
        id: IndicatorId,
    },
}

/// What a client has already that comes back.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Since {
    /// Closed bars up to the one that began then, Unix seconds.
    Bar(i64),
    /// Whatever was told by then, Unix seconds. A bar that closed at about that time is told again.
    Time(f64),
}

/// One thing a connection wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What.
    pub topic: Topic,
    /// In which words.
    pub wording: Wording,
    /// Who.
    pub subscriber: Subscriber,
    /// Closed bars are posted from there on, in order and before anything new; `None` for new ones only.
    pub since: Option<Since>,
}

/// As many computations as allowed are at work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("as many indicators are computed as this gateway allows ({0}); try again later")]
pub struct Full(pub usize);

/// What is known at the beginning of a subscription.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Known {
    /// Of an indicator, the value; `null` when there is none yet.
    pub value: Value,
    /// Closed bars since [`Wish::since`] may be missing from those that were posted.
    pub gap: bool,
}

/// What became of a wish.
pub type Granted = Result<Known, Full>;

/// See the module. They are carried out in order.
#[derive(Debug)]
pub enum Command {
    /// Begins subscriptions. What is known is posted to each before the answer is given.
    Begin(Vec<Wish>, oneshot::Sender<Vec<Granted>>),
    /// Ends subscriptions.
    End(Vec<Arc<Subscription>>),
    /// Wants bars: the newest so many closed ones and the one that forms.
    Bars {
        /// Of which instrument.
        token: InstrumentToken,
        /// Of which timeframe.
        timeframe: Timeframe,
        /// How many.
        count: usize,
        /// Answered once the history is loaded.
        reply: oneshot::Sender<Bars>,
    },
    /// Begins to watch.
    Watch(Alert, oneshot::Sender<Result<(), Full>>),
    /// Watches no longer.
    Unwatch {
        /// What it watched.
        token: InstrumentToken,
        /// Which alert.
        id: Arc<str>,
    },
    /// A history has come; `None` when it could not be had.
    Loaded {
        /// Of which instrument.
        token: InstrumentToken,
        /// Of which timeframe.
        timeframe: Timeframe,
        /// Closed bars, the oldest first.
        bars: Option<Vec<Candle>>,
    },
    /// The feed was lost.
    Interrupted {
        /// When, Unix seconds.
        at: i64,
        /// For which instruments, sorted; `None` for all.
        tokens: Option<Vec<InstrumentToken>>,
    },
}

/// A history that the engine wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WantedHistory {
    /// Of which instrument.
    pub token: InstrumentToken,
    /// Of which timeframe.
    pub timeframe: Timeframe,
    /// How many bars.
    pub bars: usize,
    /// That end at or before then, Unix seconds.
    pub until: i64,
    /// Whether it is to mend bars that have just closed: histories have those a few seconds late.
    pub mends: bool,
}
