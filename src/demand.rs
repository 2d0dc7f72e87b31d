//! What the subscribers want together, told to the feed: first wishes soon, last farewells late.
//!
//! A tab that reloads unsubscribes everything and subscribes it again a second later; upstream must not flap with it.
//! So a token is subscribed after a short pause (which gathers a burst of requests into one), and unsubscribed, or
//! lowered to a smaller mode, only after it was unwanted for the whole linger.

use crate::fanout::board::Board;
use crate::market::{Demand, InstrumentToken, Mode};
use rustc_hash::FxHashMap;
use std::time::Duration;

/// How long wishes wait.
#[derive(Clone, Copy, Debug)]
pub struct DemandSettings {
    /// Pause before what is new or more is told.
    pub debounce: Duration,
    /// Pause before what is less or gone is told.
    pub linger: Duration,
}

/// What upstream was told, and what waits. Pure: time is handed in, so that tests move it.
#[derive(Debug, Default)]
pub struct Ledger {
    told: FxHashMap<InstrumentToken, Mode>,
    /// Wanted mode, and since when (monotonic) it has been below what upstream was told.
    lower_since_ns: FxHashMap<InstrumentToken, (Option<Mode>, u64)>,
}

impl Ledger {
    /// Takes note of `changes` at `now_ns`; returns what to tell at once.
    pub fn note(&mut self, changes: &[Demand], now_ns: u64) -> Vec<Demand> {
        let mut tell = Vec::new();
        for change in changes {
            let told = self.told.get(&change.token).copied();
            if change.mode > told {
                self.lower_since_ns.remove(&change.token);
                self.told.extend(change.mode.map(|mode| (change.token, mode)));
                tell.push(*change);
            } else if change.mode == told {
                self.lower_since_ns.remove(&change.token);
            } else {
                self.lower_since_ns.entry(change.token).or_insert((None, now_ns)).0 = change.mode;
            }
        }
        tell
    }

    /// What has been less for the whole linger.
    pub fn settle(&mut self, now_ns: u64, linger_ns: u64) -> Vec<Demand> {
        let due = |since_ns: u64| now_ns.saturating_sub(since_ns) >= linger_ns;
        let settled: Vec<_> = self
            .lower_since_ns
            .extract_if(|_, (_, since_ns)| due(*since_ns))
            .map(|(token, (mode, _))| Demand { token, mode })
            .collect();
        for demand in &settled {
            match demand.mode {
                Some(mode) => self.told.insert(demand.token, mode),
                None => self.told.remove(&demand.token),
            };
        }
        settled
    }

    /// When [`Self::settle`] has something next.
    pub fn due_ns(&self, linger_ns: u64) -> Option<u64> {
        self.lower_since_ns.values().map(|(_, since_ns)| since_ns + linger_ns).min()
    }

    /// What upstream was told.
    pub fn told(&self) -> &FxHashMap<InstrumentToken, Mode> {
        &self.told
    }
}

/// Tells slots whose upstream subscription ended that their value grows old.
pub fn cool(board: &Board, told: &[Demand]) {
    for demand in told.iter().filter(|demand| demand.mode.is_none()) {
        board.cool(demand.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InstrumentToken = InstrumentToken(257);

    const fn wants(mode: Option<Mode>) -> Demand {
        Demand { token: A, mode }
    }

    #[test]
    fn more_is_told_at_once_and_less_only_after_the_linger() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.note(&[wants(Some(Mode::Ltp))], 0), [wants(Some(Mode::Ltp))]);
        assert_eq!(ledger.note(&[wants(Some(Mode::Full))], 1), [wants(Some(Mode::Full))]);
        assert!(ledger.note(&[wants(Some(Mode::Quote))], 2).is_empty());
        assert!(ledger.settle(11, 10).is_empty());
        assert_eq!(ledger.settle(12, 10), [wants(Some(Mode::Quote))]);
        assert!(ledger.note(&[wants(None)], 20).is_empty());
        assert_eq!(ledger.due_ns(10), Some(30));
        assert_eq!(ledger.settle(30, 10), [wants(None)]);
        assert!(ledger.told().is_empty());
    }

    #[test]
    fn a_reload_tells_upstream_nothing() {
        let mut ledger = Ledger::default();
        ledger.note(&[wants(Some(Mode::Quote))], 0);
        assert!(ledger.note(&[wants(None)], 5).is_empty());
        assert!(ledger.note(&[wants(Some(Mode::Quote))], 8).is_empty());
        assert!(ledger.settle(100, 10).is_empty());
        assert_eq!(ledger.told().get(&A), Some(&Mode::Quote));
    }
}
