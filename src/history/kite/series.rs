//! What is known of one instrument in one timeframe: bars without a gap, and where that ends.

use crate::market::Candle;

/// Bars kept of a series; older ones are asked for again.
pub(super) const MOST_BARS: usize = 10_000;

/// All bars that end from after `from` up to `until`, Unix seconds. Empty while the two are equal.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Series {
    pub from: i64,
    pub until: i64,
    /// There is nothing before `from`.
    pub begins: bool,
    /// The oldest first.
    pub bars: Vec<Candle>,
    /// Newer bars that may still change, and what was asked when they were found. Not for the disk.
    pub tail: Vec<Candle>,
    pub asked: Option<Asked>,
    /// It has been looked for on disk.
    pub loaded: bool,
    /// It has something that is not on disk.
    pub fresh: bool,
}

/// A request for the newest bars.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    /// When, Unix seconds.
    pub at: i64,
    /// Up to when.
    pub until: i64,
}

impl Series {
    pub fn is_empty(&self) -> bool {
        self.from == self.until
    }

    /// Forgets everything but that it has been looked for on disk.
    pub fn clear(&mut self) {
        *self = Self { loaded: self.loaded, fresh: true, ..Self::default() };
    }

    /// Adds what was found from `from` to `until`, which touches what is known. Where both have bars they must agree:
    /// if not, Kite has restated the past (a split, a bonus), nothing is changed, and `false` comes back.
    pub fn join(&mut self, from: i64, until: i64, found: &[Candle]) -> bool {
        if self.is_empty() {
            (self.from, self.until, self.bars) = (from, until, found.to_vec());
            self.fresh = true;
            return true;
        }
        let covered = |bar: &&Candle| from <= bar.start && bar.end <= until;
        let known = self.bars.iter().filter(covered);
        if !known.into_iter().all(|bar| found.iter().any(|same| same.same_values(bar))) {
            return false;
        }
        let (first, last) = match (self.bars.first(), self.bars.last()) {
            (Some(first), Some(last)) => (first.start, last.start),
            _ => (i64::MAX, i64::MAX),
        };
        self.bars.splice(..0, found.iter().filter(|bar| bar.start < first).copied());
        self.bars.extend(found.iter().filter(|bar| bar.start > last));
        (self.from, self.until) = (self.from.min(from), self.until.max(until));
        self.fresh = true;
        true
    }

    /// Gives up the oldest bars beyond [`MOST_BARS`].
    pub fn trim(&mut self) {
        let beyond = self.bars.len().saturating_sub(MOST_BARS);
        if beyond > 0 {
            self.bars.drain(..beyond);
            (self.from, self.begins) = (self.bars[0].start, false);
        }
    }

    /// The newest `wanted` bars that end by `until`.
    pub fn newest(&self, wanted: usize, until: i64) -> Vec<Candle> {
        let last = self.bars.last().map_or(i64::MIN, |bar| bar.start);
        let tail = self.tail.iter().filter(|bar| bar.start > last);
        let mut bars: Vec<Candle> = self.bars.iter().chain(tail).filter(|bar| bar.end <= until).copied().collect();
        bars.drain(..bars.len().saturating_sub(wanted));
        bars
    }
}
