//! Who may have how many instruments: the one place that says no.
//!
//! Upstream has so many places for different instruments and no more. An instrument that somebody has already costs no
//! further place, so what is counted is the union; and one user's part of it, so that nobody can take all of it. Asked by
//! whatever subscribes for a user, before the board is.

use crate::market::InstrumentToken;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

#[expect(clippy::disallowed_types, reason = "control side: serialises those who subscribe")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Different instruments upstream; `None` for a feed that sends what it has anyway.
    pub capacity: Option<usize>,
    /// The last so many of them are for users who have, all in all, no more instruments than this number.
    pub reserve: usize,
    /// Different instruments a user may have.
    pub per_user: usize,
}

/// Why a user does not get what it asked for; nothing of it is given then, and what it had stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Its own quota.
    #[error("{wanted} different tokens would be too many for one user; at most {most} (max_tokens_per_user)")]
    User {
        /// What it would have then.
        wanted: usize,
        /// What it may have.
        most: usize,
    },
    /// No room upstream.
    #[error("{needed} new tokens do not fit: {free} of the {capacity} places upstream are free")]
    Full {
        /// Places that it needs.
        needed: usize,
        /// Places that are free.
        free: usize,
        /// Places there are.
        capacity: usize,
    },
    /// Only places that are kept for others.
    #[error(
        "{needed} new tokens do not fit: {free} of the {capacity} places upstream are free, and the last {reserve} are \
         kept for users with at most {reserve} tokens (upstream_reserve)"
    )]
    Reserved {
        /// Places that it needs.
        needed: usize,
        /// Places that are free.
        free: usize,
        /// Places there are.
        capacity: usize,
        /// Of these, kept.
        reserve: usize,
    },
}

impl Refusal {
    /// The limit that was met, as a number of tokens.
    pub const fn limit(&self) -> usize {
        match *self {
            Self::User { most, .. } => most,
            Self::Full { capacity, .. } => capacity,
            Self::Reserved { capacity, reserve, .. } => capacity.saturating_sub(reserve),
        }
    }
}

/// See the module. Control side.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    ledger: ColdMutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    /// How many holdings have a token. With a firehose also 0: it has every token somebody ever had.
    taken: FxHashMap<InstrumentToken, u32>,
    /// The same of each user. User names may come from clients, hence the keyed hasher.
    users: HashMap<String, FxHashMap<InstrumentToken, u32>>,
    firehoses: u32,
}

impl Admission {
    /// Nobody has anything yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ledger: ColdMutex::default() }
    }

    /// What one connection of `user` has: nothing yet. Given back when it is dropped.
    pub fn holding(self: &Arc<Self>, user: &Arc<str>) -> Holding {
        Holding {
            admission: Arc::clone(self),
            user: Arc::clone(user),
            tokens: FxHashSet::default(),
            beside: FxHashMap::default(),
            all: false,
        }
    }

    /// Different instruments that somebody has.
    pub fn taken(&self) -> usize {
        self.ledger().taken.len()
    }

    /// The limits.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// A panic while the lock was held leaves counts behind that are at worst too high: better than no service.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn take(&mut self, limits: Limits, user: &str, tokens: &[InstrumentToken]) -> Result<(), Refusal> {
        let mine = self.users.get(user);
        let new = tokens.iter().filter(|token| mine.is_none_or(|mine| !mine.contains_key(token))).count();
        let wanted = mine.map_or(0, FxHashMap::len) + new;
        if new > 0 && wanted > limits.per_user {
            return Err(Refusal::User { wanted, most: limits.per_user });
        }
        let needed = tokens.iter().filter(|token| !self.taken.contains_key(token)).count();
        self.fits(limits, needed, wanted)?;
        let mine = self.users.entry(user.to_owned()).or_default();
        for token in tokens {
            *mine.entry(*token).or_default() += 1;
            *self.taken.entry(*token).or_default() += 1;
        }
        Ok(())
    }

    /// Whether upstream has `needed` more places for a user who will have `wanted` tokens.
    fn fits(&self, limits: Limits, needed: usize, wanted: usize) -> Result<(), Refusal> {
        let Some(capacity) = limits.capacity.filter(|_| needed > 0) else { return Ok(()) };
        let (free, reserve) = (capacity.saturating_sub(self.taken.len()), limits.reserve);
        if needed > free {
            return Err(Refusal::Full { needed, free, capacity });
        }
        if free - needed < reserve && wanted > reserve {
            return Err(Refusal::Reserved { needed, free, capacity, reserve });
        }
        Ok(())
    }

    fn give_back<'a>(&mut self, user: &str, tokens: impl IntoIterator<Item = &'a InstrumentToken>) {
        let mut mine = self.users.remove(user).unwrap_or_default();
        for token in tokens {
            less(&mut mine, *token, true);
            less(&mut self.taken, *token, self.firehoses == 0);
        }
        if !mine.is_empty() {
            self.users.insert(user.to_owned(), mine);
        }
    }
}

/// Counts one less; what nobody has is forgotten if `forget`.
fn less(counts: &mut FxHashMap<InstrumentToken, u32>, token: InstrumentToken, forget: bool) {
    if let Some(count) = counts.get_mut(&token) {
        *count = count.saturating_sub(1);
        if *count == 0 && forget {
            counts.remove(&token);
        }
    }
}

/// What one connection has. Control side.
#[derive(Debug)]
pub struct Holding {
    admission: Arc<Admission>,
    user: Arc<str>,
    tokens: FxHashSet<InstrumentToken>,
    /// What something beside its ticks needs, and how many such things.
    beside: FxHashMap<InstrumentToken, u32>,
    all: bool,
}

impl Holding {
    /// Has `tokens` from now on and nothing else, or what it had before.
    ///
    /// # Errors
    /// When that is too much.
    pub fn replace(&mut self, tokens: &[InstrumentToken]) -> Result<(), Refusal> {
        let wanted: FxHashSet<_> = tokens.iter().copied().collect();
        let more: Vec<_> = wanted.difference(&self.tokens).copied().collect();
        let gone: Vec<_> = self.tokens.difference(&wanted).copied().collect();
        let mut ledger = self.admission.ledger();
        ledger.give_back(&self.user, &gone);
        let taken = ledger.take(self.admission.limits, &self.user, &more);
        if taken.is_err() {
            // It had them a moment ago, and nobody could take them meanwhile.
            let _ = ledger.take(Limits { capacity: None, reserve: 0, per_user: usize::MAX }, &self.user, &gone);
            return taken;
        }
        drop(ledger);
        self.tokens = wanted;
        Ok(())
    }

    /// Has `tokens` as well.
    ///
    /// # Errors
    /// When that is too much; nothing has changed then.
    pub fn add(&mut self, tokens: &[InstrumentToken]) -> Result<(), Refusal> {
        let mut seen = FxHashSet::default();
        let more: Vec<_> =
            tokens.iter().copied().filter(|token| !self.tokens.contains(token) && seen.insert(*token)).collect();
        self.admission.ledger().take(self.admission.limits, &self.user, &more)?;
        self.tokens.extend(more);
        Ok(())
    }

    /// Gives `tokens` back; those it does not have are passed over.
    pub fn remove(&mut self, tokens: &[InstrumentToken]) {
        let gone: Vec<_> = tokens.iter().copied().filter(|token| self.tokens.remove(token)).collect();
        self.admission.ledger().give_back(&self.user, &gone);
    }

    /// Has `token` for something beside its ticks: the engine subscribes by itself to what an alert, a history or an indicator
    /// needs. Independent of the tokens above; each call is undone by one of [`Self::no_longer`].
    ///
    /// # Errors
    /// When that is too much; nothing has changed then.
    pub fn also(&mut self, token: InstrumentToken) -> Result<(), Refusal> {
        if !self.beside.contains_key(&token) {
            self.admission.ledger().take(self.admission.limits, &self.user, &[token])?;
        }
        *self.beside.entry(token).or_default() += 1;
        Ok(())
    }

    /// Undoes one [`Self::also`].
    pub fn no_longer(&mut self, token: InstrumentToken) {
        let Some(things) = self.beside.get_mut(&token) else { return };
        *things -= 1;
        if *things == 0 {
            self.beside.remove(&token);
            self.admission.ledger().give_back(&self.user, &[token]);
        }
    }

    /// Has every token there is (`known`) and will be, beside its own, until [`Self::end_everything`].
    ///
    /// # Errors
    /// When that is too much.
    pub fn everything(&mut self, known: &[InstrumentToken]) -> Result<(), Refusal> {
        if self.all {
            return Ok(());
        }
        let limits = self.admission.limits;
        let mut ledger = self.admission.ledger();
        if known.len() > limits.per_user {
            return Err(Refusal::User { wanted: known.len(), most: limits.per_user });
        }
        let needed = known.iter().filter(|token| !ledger.taken.contains_key(token)).count();
        ledger.fits(limits, needed, known.len())?;
        for token in known {
            ledger.taken.entry(*token).or_default();
        }
        ledger.firehoses += 1;
        drop(ledger);
        self.all = true;
        Ok(())
    }

    /// Ends [`Self::everything`].
    pub fn end_everything(&mut self) {
        if std::mem::take(&mut self.all) {
            let mut ledger = self.admission.ledger();
            ledger.firehoses -= 1;
            if ledger.firehoses == 0 {
                ledger.taken.retain(|_, holdings| *holdings > 0);
            }
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.end_everything();
        let tokens = std::mem::take(&mut self.tokens);
        let beside = std::mem::take(&mut self.beside);
        let mut ledger = self.admission.ledger();
        ledger.give_back(&self.user, &tokens);
        ledger.give_back(&self.user, beside.keys());
    }
}

#[cfg(test)]
mod tests;
