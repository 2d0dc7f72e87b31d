//! All timeframes of one instrument.

use super::{Candle, CandleBuilder, Outcome, Trades};
use crate::market::{Calendar, Tick, Timeframe};
use serde::{Deserialize, Serialize};

/// One [`Trades`] and a [`CandleBuilder`] for each timeframe that somebody wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bars {
    trades: Trades,
    builders: Vec<CandleBuilder>,
}

impl Bars {
    /// No timeframe yet.
    pub const fn new(trades: Trades) -> Self {
        Self { trades, builders: Vec::new() }
    }

    /// What is known of the trading day.
    pub const fn trades(&self) -> &Trades {
        &self.trades
    }

    /// The builders, in the order in which they were added.
    pub fn builders(&self) -> &[CandleBuilder] {
        &self.builders
    }

    /// The builder of a timeframe, for a backfill.
    pub fn builder_mut(&mut self, timeframe: Timeframe) -> Option<&mut CandleBuilder> {
        self.builders.iter_mut().find(|builder| builder.timeframe() == timeframe)
    }

    /// Forms bars of one more timeframe; does nothing if it is formed already. When packets were seen before, the
    /// first bar begins in the middle: who knows the time marks the builder by [`CandleBuilder::interrupt`].
    pub fn add(&mut self, builder: CandleBuilder) {
        if self.builder_mut(builder.timeframe()).is_none() {
            self.builders.push(builder);
        }
    }

    /// Forms a timeframe no longer.
    pub fn remove(&mut self, timeframe: Timeframe) {
        self.builders.retain(|builder| builder.timeframe() != timeframe);
    }

    /// Takes a packet that came at `received_ns`; `told` learns of every builder that it concerned, with the builder
    /// behind it. Bars that are due by then should have been closed before, or they are told late, but the same.
    pub fn on_tick(
        &mut self,
        tick: &Tick,
        received_ns: u64,
        calendar: &Calendar,
        mut told: impl FnMut(&CandleBuilder, Outcome),
    ) {
        let Some(print) = self.trades.observe(tick, received_ns, calendar) else { return };
        let Some(session) = self.trades.session() else { return };
        for builder in &mut self.builders {
            match builder.add(&print, session) {
                Outcome::Idle => {}
                outcome => told(builder, outcome),
            }
        }
    }

    /// When the next bar is due, nanoseconds since 1970.
    pub fn due(&self) -> Option<u64> {
        self.builders.iter().filter_map(CandleBuilder::due).min()
    }

    /// Closes what is due at `now_ns`; of each timeframe the oldest first.
    pub fn close_due(&mut self, now_ns: u64, mut closed: impl FnMut(Timeframe, Candle)) {
        for builder in &mut self.builders {
            let timeframe = builder.timeframe();
            builder.close_due(now_ns, |bar| closed(timeframe, bar));
        }
    }

    /// The feed was lost at `at` (Unix seconds), or this state was stored then and comes back after a restart.
    pub fn interrupt(&mut self, at: i64) {
        self.trades.interrupt(at);
        for builder in &mut self.builders {
            builder.interrupt(at);
        }
    }
}
