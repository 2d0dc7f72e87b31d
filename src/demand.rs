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

    /// What lingers although upstream has no room for it beside what is wanted: the longest unwanted first.
    pub fn evict(&mut self, capacity: usize) -> Vec<Demand> {
        let excess = self.told.len().saturating_sub(capacity);
        if excess == 0 {
            return Vec::new();
        }
        let gone = self.lower_since_ns.iter().filter(|(_, (mode, _))| mode.is_none());
        let mut gone: Vec<_> = gone.map(|(token, (_, since_ns))| (*since_ns, *token)).collect();
        gone.sort_unstable();
        gone.truncate(excess);
        let evict = |(_, token)| {
            self.lower_since_ns.remove(&token);
            self.told.remove(&token);
            Demand { token, mode: None }
        };
        gone.into_iter().map(evict).collect()
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
    fn what_lingers_makes_room_when_there_is_none() {
        let mut ledger = Ledger::default();
        let want = |token, mode| Demand { token: InstrumentToken(token), mode };
        let full = Some(Mode::Full);
        ledger.note(&[1, 2, 3].map(|token| want(token, full)), 0);
        ledger.note(&[want(2, None)], 1);
        ledger.note(&[want(1, None)], 2);
        assert!(ledger.evict(3).is_empty());
        ledger.note(&[want(4, full)], 3);
        assert_eq!(ledger.evict(3), [want(2, None)]);
        assert_eq!(ledger.told().len(), 3);
        assert!(ledger.evict(3).is_empty());
        assert_eq!(ledger.settle(100, 10), [want(1, None)]);
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
