//! Who has which indicators: what bounds a user, and what operators chart.

use crate::market::indicator::IndicatorId;
use crate::market::{InstrumentToken, Timeframe};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};

#[expect(clippy::disallowed_types, reason = "control side, when a subscription begins or ends")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// One thing that is computed, once however many want it.
pub type Computation = (InstrumentToken, Timeframe, IndicatorId);

/// As many different indicators as a user may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserFull {
    /// What it would have.
    pub wanted: usize,
    /// What it may have.
    pub most: usize,
}

/// What operators chart.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Connections.
    pub connections: usize,
    /// Different indicators.
    pub indicators: usize,
    /// Different users with a connection.
    pub users: usize,
    /// Different indicators by instrument.
    pub by_instrument: BTreeMap<InstrumentToken, usize>,
}

/// See the module. Control side. The standard hasher is keyed: users and periods chosen to collide do not.
#[derive(Debug, Default)]
pub struct Ledger(ColdMutex<Books>);

#[derive(Debug, Default)]
struct Books {
    /// Connections by user.
    connections: HashMap<String, usize>,
    /// How many of a user's subscriptions have a computation.
    users: HashMap<String, HashMap<Computation, usize>>,
    /// How many of everybody's.
    all: HashMap<Computation, usize>,
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is.
    pub fn totals(&self) -> Totals {
        let books = self.books();
        let mut by_instrument = BTreeMap::new();
        for (token, ..) in books.all.keys() {
            *by_instrument.entry(*token).or_default() += 1;
        }
        Totals {
            connections: books.connections.values().sum(),
            indicators: books.all.len(),
            users: books.connections.len(),
            by_instrument,
        }
    }

    /// Counts a connection for as long as the seat is kept.
    pub fn seat(self: &Arc<Self>, user: &str) -> Seat {
        add(&mut self.books().connections, user.to_owned());
        Seat { ledger: Arc::clone(self), user: user.to_owned() }
    }

    /// What one set of subscriptions of a user has: nothing yet.
    pub fn share(self: &Arc<Self>, user: &str) -> Share {
        Share { ledger: Arc::clone(self), user: user.to_owned(), has: HashSet::new() }
    }
}

/// One connection in the ledger.
#[derive(Debug)]
pub struct Seat {
    ledger: Arc<Ledger>,
    user: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        take(&mut self.ledger.books().connections, self.user.clone());
    }
}

/// What one set of subscriptions has in the ledger; given back when dropped.
#[derive(Debug)]
pub struct Share {
    ledger: Arc<Ledger>,
    user: String,
    has: HashSet<Computation>,
}

impl Share {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.has.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.has.is_empty()
    }

    /// Has `more` as well, and `less` no longer, or everything as before.
    ///
    /// # Errors
    /// When the user would have more than `most` different ones over all its connections.
    pub fn change(&mut self, more: &[Computation], less: &[Computation], most: usize) -> Result<(), UserFull> {
        let more: HashSet<_> = more.iter().filter(|one| !self.has.contains(one)).copied().collect();
        let less: HashSet<_> = less.iter().filter(|one| self.has.contains(one)).copied().collect();
        let mut guard = self.ledger.books();
        let Books { users, all, .. } = &mut *guard;
        let mine = users.entry(self.user.clone()).or_default();
        let new = more.iter().filter(|one| !mine.contains_key(one)).count();
        let gone = less.iter().filter(|one| mine.get(one) == Some(&1)).count();
        let wanted = mine.len() + new - gone;
        let fits = new == 0 || wanted <= most;
        if fits {
            for one in more {
                add(mine, one);
                add(all, one);
                self.has.insert(one);
            }
            for one in less {
                take(mine, one);
                take(all, one);
                self.has.remove(&one);
            }
        }
        if mine.is_empty() {
            users.remove(&self.user);
        }
        if fits { Ok(()) } else { Err(UserFull { wanted, most }) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let all: Vec<_> = self.has.iter().copied().collect();
        // Giving back is never refused.
        let _ = self.change(&[], &all, usize::MAX);
    }
}

fn add<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    *counts.entry(key).or_default() += 1;
}

fn take<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsi(length: usize) -> Computation {
        (InstrumentToken(257), Timeframe::Min5, format!("RSI_{length}").parse().unwrap())
    }

    #[test]
    fn a_user_is_bounded_over_all_connections_and_what_is_dropped_is_given_back() {
        let ledger: Arc<Ledger> = Arc::default();
        let (_seat, _other) = (ledger.seat("ann"), ledger.seat("ann"));
        let (mut one, mut two, mut bob) = (ledger.share("ann"), ledger.share("ann"), ledger.share("bob"));
        one.change(&[rsi(2), rsi(3)], &[], 3).unwrap();
        two.change(&[rsi(3), rsi(4)], &[], 3).unwrap();
        assert_eq!(two.change(&[rsi(5)], &[], 3), Err(UserFull { wanted: 4, most: 3 }));
        assert_eq!(two.change(&[rsi(5)], &[rsi(3)], 3), Err(UserFull { wanted: 4, most: 3 }), "one has it still");
        two.change(&[rsi(5)], &[rsi(4)], 3).unwrap();
        bob.change(&[rsi(5)], &[], 3).unwrap();
        let totals = ledger.totals();
        assert_eq!((totals.connections, totals.users, totals.indicators), (2, 1, 3));
        assert_eq!(totals.by_instrument, BTreeMap::from([(InstrumentToken(257), 3)]));
        drop((one, two));
        assert_eq!((ledger.totals().indicators, bob.len()), (1, 1));
        drop(bob);
        assert_eq!(ledger.totals().indicators, 0);
        assert!(ledger.books().users.is_empty());
    }
}
