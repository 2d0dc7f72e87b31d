//! What the exchange's history corrects.

use super::{Candle, CandleBuilder};
use crate::market::calendar::date::DAY_S;

impl CandleBuilder {
    /// Takes the exchange's history: bars of this timeframe, the oldest first, fetched not before the feed was back.
    /// `now_ns` is the time now, nanoseconds since 1970.
    ///
    /// Returns the bars to be told again, marked `revised`: those closed here that lacked something, under their number,
    /// and those that were wholly lost with the feed, under new numbers. A bar that forms takes the history's open and
    /// extremes and the larger volume; it stays partial, since what was traded around the moment of fetching is not
    /// certain, and is told again when it is closed and the history is fetched once more. Bars that are whole stay as
    /// they are, and those from before we listened are none of this builder's business.
    pub fn replace(&mut self, history: &[Candle], now_ns: u64) -> Vec<Candle> {
        let mut revised = Vec::new();
        for bar in history {
            if let Some(open) = self.open.iter_mut().find(|open| open.start == bar.start) {
                if open.partial {
                    open.open = bar.open;
                    open.high = open.high.max(bar.high);
                    open.low = open.low.min(bar.low);
                    open.volume = open.volume.max(bar.volume);
                }
                continue;
            }
            if self.deadline(bar.end) > now_ns {
                continue;
            }
            let known = self.unsettled.iter().position(|&(start, _)| start == bar.start);
            let sequence = match known.and_then(|at| self.unsettled.remove(at)) {
                Some((_, sequence)) => sequence,
                // No bar was closed here that begins within an outage or reaches into it without being unsettled.
                None if self.lost(bar) => {
                    self.sequence += 1;
                    self.closed_until = self.closed_until.max(bar.end);
                    self.sequence
                }
                None => continue,
            };
            revised.push(Candle { partial: false, closed: true, revised: true, sequence, ..*bar });
        }
        // Each outage is mended once: only what of it touches a bar that goes on, or that may still begin, is kept.
        let mended = self.open.front().map_or(self.closed_until, |bar| bar.start);
        let length = self.timeframe.seconds().unwrap_or(DAY_S);
        let now = (now_ns / 1_000_000_000) as i64;
        self.outages.retain_mut(|outage| {
            outage.from = outage.from.max(mended);
            outage.from <= outage.until && now < outage.until.saturating_add(length)
        });
        revised
    }

    fn lost(&self, bar: &Candle) -> bool {
        self.outages.iter().any(|outage| outage.touches(bar.start, bar.end))
    }
}
