//! One trading day of one kind of instrument.

use super::{Date, date::DAY_S};

/// What a market does at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing.
    Closed,
    /// The opening auction and the pause behind it.
    PreOpen,
    /// Continuous trading: the only state whose trades make bars within the day.
    Open,
    /// The closing auction.
    ClosingAuction,
    /// Between the last trade and the trades at the closing price, which is worked out meanwhile.
    Closing,
    /// Trades at the closing price.
    PostClose,
}

impl State {
    /// The name in files and replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::PreOpen => "pre-open",
            Self::Open => "open",
            Self::ClosingAuction => "closing-auction",
            Self::Closing => "closing",
            Self::PostClose => "post-close",
        }
    }
}

/// A part of a session, half-open: `start <= t < end`, Unix seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Phase {
    /// What the market does.
    pub state: State,
    /// Its first second.
    pub start: i64,
    /// The first second behind it.
    pub end: i64,
}

/// One trading day of one kind of instrument; times are Unix seconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// The trading date.
    pub date: Date,
    /// Begin of continuous trading, to which bars are aligned.
    pub open: i64,
    /// End of continuous trading, at which the last bar of the day is cut.
    pub close: i64,
    /// All phases in order; exactly one of them is [`State::Open`].
    pub phases: Vec<Phase>,
}

impl Session {
    /// When the last phase ends: until then packets may still change the bar of the day.
    pub fn end(&self) -> i64 {
        self.phases.last().map_or(self.close, |phase| phase.end)
    }

    /// Whether the time lies on the session's date, in trading hours or not.
    pub const fn on_date(&self, unix_s: i64) -> bool {
        let since = unix_s - self.date.midnight();
        0 <= since && since < DAY_S
    }

    /// Whether trading is continuous at that time.
    pub const fn is_open(&self, unix_s: i64) -> bool {
        self.open <= unix_s && unix_s < self.close
    }
}
