//! Which instrument has which slot, and who subscribes to it.
//!
//! Publishing only reads: the table and the lists are replaced whole. Subscribing is cold: one lock serialises those who
//! change them, and the publisher never meets it.

use super::slot::{Inbox, Slot, Subscribers};
use crate::market::{Demand, InstrumentToken, Mode};
use crate::wire::Encoding;
use arc_swap::ArcSwap;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, MutexGuard, PoisonError};

/// Token to slot. Tokens are Kite's, not a client's text, so the fast hasher cannot be flooded: a client can only choose
/// among them, and [`Board`] bounds their number.
pub type Table = FxHashMap<InstrumentToken, Arc<Slot>>;

/// Control side only; the publisher never takes it.
#[expect(clippy::disallowed_types, reason = "cold: serialises those who subscribe, never met by the publisher")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// See the module.
pub struct Board {
    table: Arc<ArcSwap<Table>>,
    cold: ColdMutex<Cold>,
    /// Rung when demand may have changed.
    on_demand: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Cold {
    /// Subscribers per slot and mode; a token without any is not in it.
    wanted: FxHashMap<InstrumentToken, [u32; Mode::ALL.len()]>,
    /// Tokens whose demand may have changed since [`Board::take_demand`].
    changed: FxHashSet<InstrumentToken>,
    /// Connections that want every token, also those still to come.
    firehoses: Vec<(Arc<Inbox>, Encoding)>,
    /// Lists taken out of slots, kept until no publisher can hold them, so that they are freed here.
    retired: Vec<Arc<Subscribers>>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("slots", &self.table.load().len()).finish_non_exhaustive()
    }
}

impl Board {
    /// An empty board. `on_demand` is called, by whoever subscribes, whenever [`Self::take_demand`] may have news.
    pub fn new(on_demand: impl Fn() + Send + Sync + 'static) -> Self {
        Self { table: Arc::default(), cold: ColdMutex::default(), on_demand: Box::new(on_demand) }
    }

    /// The published table, for an `arc_swap::Cache`.
    pub fn table(&self) -> &Arc<ArcSwap<Table>> {
        &self.table
    }

    /// A panic while the lock was held leaves counts behind that are at worst too high: better than no service.
    fn cold(&self) -> MutexGuard<'_, Cold> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes slots for instruments a feed will send anyway.
    pub fn reserve(&self, tokens: &[InstrumentToken]) {
        self.slots(&mut self.cold(), tokens);
    }

    /// The slots of `tokens`, made where they are missing. The table is replaced at most once.
    fn slots(&self, cold: &mut Cold, tokens: &[InstrumentToken]) -> Vec<Arc<Slot>> {
        let mut table = self.table.load_full();
        let missing: FxHashSet<_> = tokens.iter().copied().filter(|token| !table.contains_key(token)).collect();
        if !missing.is_empty() {
            let mut larger = Table::clone(&table);
            for token in missing {
                let slot = Arc::new(Slot::new(larger.len() as u32, token));
                for (inbox, encoding) in &cold.firehoses {
                    cold.retired.push(slot.publish(slot.subscribers().changed(inbox, Some(*encoding))));
                    *count(&mut cold.wanted, token, encoding.mode) += 1;
                }
                larger.insert(token, slot);
            }
            table = Arc::new(larger);
            self.table.store(Arc::clone(&table));
        }
        tokens.iter().filter_map(|token| table.get(token).cloned()).collect()
    }

    /// Subscribes `inbox` to `tokens`, replacing what it wanted of them before. From the return on every tick of these
    /// tokens is offered to it. Control side.
    pub fn subscribe(&self, inbox: &Arc<Inbox>, tokens: &[InstrumentToken], encoding: Encoding) -> Vec<Arc<Slot>> {
        let mut cold = self.cold();
        let slots = self.slots(&mut cold, tokens);
        for slot in &slots {
            cold.change(slot, inbox, Some(encoding));
        }
        self.after_change(cold);
        slots
    }

    /// Takes `inbox` out of the lists of `slots`. A publisher that is just walking an old list may offer one more
    /// update, which the writer passes over. Control side.
    pub fn unsubscribe(&self, inbox: &Arc<Inbox>, slots: &[Arc<Slot>]) {
        let mut cold = self.cold();
        for slot in slots {
            cold.change(slot, inbox, None);
        }
        self.after_change(cold);
    }

    /// Subscribes `inbox` to every token there is and will be; returns the slots of now. Control side.
    pub fn subscribe_all(&self, inbox: &Arc<Inbox>, encoding: Encoding) -> Vec<Arc<Slot>> {
        let mut cold = self.cold();
        cold.firehoses.retain(|(other, _)| !Arc::ptr_eq(other, inbox));
        cold.firehoses.push((Arc::clone(inbox), encoding));
        let slots: Vec<_> = self.table.load().values().cloned().collect();
        for slot in &slots {
            cold.change(slot, inbox, Some(encoding));
        }
        self.after_change(cold);
        slots
    }

    /// Ends [`Self::subscribe_all`]; returns every slot that `inbox` may have been given.
    pub fn unsubscribe_all(&self, inbox: &Arc<Inbox>) {
        let mut cold = self.cold();
        cold.firehoses.retain(|(other, _)| !Arc::ptr_eq(other, inbox));
        let slots: Vec<_> = self.table.load().values().cloned().collect();
        for slot in &slots {
            cold.change(slot, inbox, None);
        }
        self.after_change(cold);
    }

    fn after_change(&self, mut cold: MutexGuard<'_, Cold>) {
        cold.retired.retain(|list| Arc::strong_count(list) > 1);
        let news = !cold.changed.is_empty();
        drop(cold);
        if news {
            (self.on_demand)();
        }
    }

    /// What is wanted now of each token whose demand may have changed since the last call. Control side.
    pub fn take_demand(&self) -> Vec<Demand> {
        let mut cold = self.cold();
        let changed = std::mem::take(&mut cold.changed);
        changed.into_iter().map(|token| Demand { token, mode: cold.mode(token) }).collect()
    }

    /// All that is wanted now: the union over all subscribers. Control side.
    pub fn demand(&self) -> Vec<Demand> {
        let cold = self.cold();
        cold.wanted.keys().map(|token| Demand { token: *token, mode: cold.mode(*token) }).collect()
    }

    /// How many subscribers each wanted token has.
    pub fn subscriber_counts(&self) -> Vec<(InstrumentToken, u32)> {
        self.cold().wanted.iter().map(|(token, counts)| (*token, counts.iter().sum())).collect()
    }

    /// Says that a token is no longer subscribed upstream: its value is not shown to new subscribers until the next.
    pub fn cool(&self, token: InstrumentToken) {
        if let Some(slot) = self.table.load().get(&token) {
            slot.cool();
        }
    }
}

fn count(
    wanted: &mut FxHashMap<InstrumentToken, [u32; Mode::ALL.len()]>,
    token: InstrumentToken,
    mode: Mode,
) -> &mut u32 {
    &mut wanted.entry(token).or_default()[mode as usize]
}

impl Cold {
    /// Puts `inbox` into a slot's list or takes it out, and keeps count.
    fn change(&mut self, slot: &Slot, inbox: &Arc<Inbox>, added: Option<Encoding>) {
        let old = slot.subscribers();
        let before = old.encoding_of(inbox);
        if before == added {
            return;
        }
        let new = old.changed(inbox, added);
        drop(old);
        self.retired.push(slot.publish(new));
        if let Some(encoding) = before {
            *count(&mut self.wanted, slot.token, encoding.mode) -= 1;
        }
        if let Some(encoding) = added {
            *count(&mut self.wanted, slot.token, encoding.mode) += 1;
        }
        if self.mode(slot.token).is_none() {
            self.wanted.remove(&slot.token);
        }
        self.changed.insert(slot.token);
    }

    /// The highest mode anybody wants.
    fn mode(&self, token: InstrumentToken) -> Option<Mode> {
        let counts = self.wanted.get(&token)?;
        Mode::ALL.into_iter().rev().find(|mode| counts[*mode as usize] > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::port::Port;
    use super::super::ring::Ring;
    use super::*;
    use crate::wire::Format;

    fn inbox(key: u32) -> Arc<Inbox> {
        Arc::new(Inbox::new(Ring::new(4), key, Arc::new(Port::new(4))))
    }

    const fn encoding(mode: Mode) -> Encoding {
        Encoding { format: Format::Json, mode }
    }

    const A: InstrumentToken = InstrumentToken(257);
    const B: InstrumentToken = InstrumentToken(513);

    #[test]
    fn demand_is_the_highest_mode_of_all_subscribers() {
        let board = Board::new(|| {});
        let (one, two) = (inbox(0), inbox(1));
        let slots = board.subscribe(&one, &[A, B], encoding(Mode::Ltp));
        board.subscribe(&two, &[A], encoding(Mode::Full));
        let mut demand = board.take_demand();
        demand.sort_by_key(|demand| demand.token);
        assert_eq!(demand, [Demand { token: A, mode: Some(Mode::Full) }, Demand { token: B, mode: Some(Mode::Ltp) }]);
        assert!(board.take_demand().is_empty());
        board.unsubscribe(&two, &slots[..1]);
        assert_eq!(board.take_demand(), [Demand { token: A, mode: Some(Mode::Ltp) }]);
        board.unsubscribe(&one, &slots);
        assert!(board.take_demand().iter().all(|demand| demand.mode.is_none()));
        assert!(board.demand().is_empty());
    }

    #[test]
    fn subscribing_again_replaces_and_unsubscribing_twice_does_nothing() {
        let board = Board::new(|| {});
        let one = inbox(0);
        let slots = board.subscribe(&one, &[A], encoding(Mode::Quote));
        board.subscribe(&one, &[A], encoding(Mode::Full));
        assert_eq!(slots[0].subscribers().list.len(), 1);
        assert_eq!(board.subscriber_counts(), [(A, 1)]);
        board.unsubscribe(&one, &slots);
        board.unsubscribe(&one, &slots);
        assert!(slots[0].subscribers().list.is_empty());
    }

    #[test]
    fn a_firehose_gets_slots_that_come_later() {
        let board = Board::new(|| {});
        let one = inbox(0);
        assert!(board.subscribe_all(&one, encoding(Mode::Quote)).is_empty());
        board.reserve(&[A]);
        let slot = board.table().load().get(&A).cloned().unwrap();
        assert_eq!(slot.subscribers().list.len(), 1);
        board.unsubscribe_all(&one);
        assert!(slot.subscribers().list.is_empty() && board.demand().is_empty());
        board.reserve(&[B]);
        assert!(board.demand().is_empty());
    }
}
