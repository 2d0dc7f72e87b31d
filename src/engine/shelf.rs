//! What is kept of instruments that nobody wants now: from before a restart, or since the last subscriber left.

use crate::market::candle::Bars;
use crate::market::{Candle, InstrumentToken, Timeframe};
use crate::store::Kept;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Most candles on the shelf, 64 bytes each.
const MOST: usize = 1_000_000;

/// See the module. **Thread**: the engine's.
#[derive(Debug, Default)]
pub struct Shelf {
    states: FxHashMap<InstrumentToken, Bars>,
    bars: FxHashMap<(InstrumentToken, Timeframe), Vec<Candle>>,
    /// The series in the order in which they came: the oldest makes room.
    order: VecDeque<(InstrumentToken, Timeframe)>,
    count: usize,
}

impl Shelf {
    /// What a restart found. The feed was not heard since the snapshot was taken.
    pub fn new(kept: Kept) -> Self {
        let mut shelf = Self::default();
        if let Some(snapshot) = kept.snapshot {
            for (token, mut bars) in snapshot.states {
                bars.interrupt(snapshot.at);
                shelf.states.insert(token, bars);
            }
        }
        for ((token, timeframe), bars) in kept.bars {
            shelf.put_bars(token, timeframe, bars);
        }
        shelf
    }

    /// Keeps the state of an instrument, which has been told that the feed is no longer heard.
    pub fn put_state(&mut self, token: InstrumentToken, bars: Bars) {
        self.states.insert(token, bars);
    }

    /// Keeps closed bars, the oldest first.
    pub fn put_bars(&mut self, token: InstrumentToken, timeframe: Timeframe, bars: Vec<Candle>) {
        self.take_bars(token, timeframe);
        self.count += bars.len();
        self.bars.insert((token, timeframe), bars);
        self.order.push_back((token, timeframe));
        while self.count > MOST
            && let Some((token, timeframe)) = self.order.pop_front()
        {
            self.count -= self.bars.remove(&(token, timeframe)).map_or(0, |bars| bars.len());
        }
    }

    /// Adds a bar that was closed since; false for one that was closed before, which a builder from before a restart may
    /// close again.
    pub fn add_bar(&mut self, token: InstrumentToken, timeframe: Timeframe, bar: Candle) -> bool {
        let mut bars = self.take_bars(token, timeframe);
        let new = bars.last().is_none_or(|last| last.start < bar.start);
        if new {
            bars.push(bar);
        }
        self.put_bars(token, timeframe, bars);
        new
    }

    /// Takes the state of an instrument back.
    pub fn take_state(&mut self, token: InstrumentToken) -> Option<Bars> {
        self.states.remove(&token)
    }

    /// Takes closed bars back; empty when there are none.
    pub fn take_bars(&mut self, token: InstrumentToken, timeframe: Timeframe) -> Vec<Candle> {
        let bars = self.bars.remove(&(token, timeframe)).unwrap_or_default();
        if !bars.is_empty() {
            self.count -= bars.len();
            self.order.retain(|key| *key != (token, timeframe));
        }
        bars
    }

    /// The states on it.
    pub fn states(&self) -> impl Iterator<Item = (InstrumentToken, &Bars)> {
        self.states.iter().map(|(token, bars)| (*token, bars))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_series_makes_room() {
        let mut shelf = Shelf::default();
        let bars = |count| vec![Candle::historical(0, 60, 1, 1, 1, 1); count];
        let token = InstrumentToken;
        shelf.put_bars(token(1), Timeframe::Min1, bars(MOST / 2));
        shelf.put_bars(token(2), Timeframe::Min1, bars(MOST / 2));
        shelf.put_bars(token(1), Timeframe::Min1, bars(10));
        shelf.put_bars(token(3), Timeframe::Min1, bars(MOST / 2));
        assert!(shelf.take_bars(token(2), Timeframe::Min1).is_empty());
        assert_eq!(shelf.take_bars(token(1), Timeframe::Min1).len(), 10);
        assert_eq!((shelf.take_bars(token(3), Timeframe::Min1).len(), shelf.count), (MOST / 2, 0));
    }
}
