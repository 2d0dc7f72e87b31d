//! What a tab has of one slot.

use crate::fanout::slot::Slot;
use crate::market::{Mode, Tick, When};
use std::sync::Arc;

/// See the module. **Thread**: the writer's.
#[derive(Debug)]
pub struct Lane {
    /// The slot.
    pub slot: Arc<Slot>,
    /// How much of its ticks the tab wants.
    pub mode: Mode,
    /// The number, in `mode`, of the value the tab has; values never go back.
    pub sent: u64,
    /// Nothing was sent since the subscription: the first message will be marked as the snapshot.
    pub fresh: bool,
    /// It stands in the tab's list of lanes whose newest value is owed.
    pub owed: bool,
    /// A value was held back by the throttle; it is owed from `due_ns` on.
    pub held: bool,
    /// When the throttle lets the next message through, monotonic.
    pub due_ns: u64,
    /// Which ticks are worth sending, if not all are.
    pub when: Option<Arc<When>>,
    /// The raw price sent last, with a condition.
    pub price: Option<i32>,
}

impl Lane {
    /// A lane of which the tab has nothing yet.
    pub const fn new(slot: Arc<Slot>, mode: Mode) -> Self {
        Self { slot, mode, sent: 0, fresh: true, owed: false, held: false, due_ns: 0, when: None, price: None }
    }

    /// The same for a subscription that is on the board already: what the ring holds up to the slot's newest value is of an
    /// earlier subscription, or in the snapshot, which is sent all the same. Taken for the first value, it could be the last
    /// one, since the ring holds nothing of the time between two subscriptions.
    pub fn from_now(mut self) -> Self {
        self.sent = self.slot.numbers().of(self.mode);
        self
    }

    /// The same, with a condition.
    pub fn with_condition(mut self, when: Option<&Arc<When>>) -> Self {
        self.when = when.map(Arc::clone);
        self
    }

    /// How many values lie between the one the tab has and a newer one, of that number; none before the snapshot.
    #[inline]
    pub const fn gap(&self, number: u64) -> u64 {
        if self.fresh { 0 } else { number - self.sent - 1 }
    }

    /// Whether a tick is worth sending; if so, it is taken as sent.
    #[inline]
    pub fn admits(&mut self, tick: &Tick) -> bool {
        let Some(when) = &self.when else { return true };
        let admitted = when.allows(tick, self.price);
        if admitted {
            self.price = Some(tick.last_price);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::slot::PacketWords;
    use crate::market::InstrumentToken;

    #[test]
    fn a_subscription_begins_with_the_newest_value_and_not_with_what_the_ring_still_has() {
        let slot = Arc::new(Slot::new(0, InstrumentToken(1)));
        for price in 1..=3 {
            slot.store(&mut PacketWords::new(&[0, 0, 0, 1, 0, 0, 0, price], 1), Mode::Ltp);
        }
        let lane = Lane::new(Arc::clone(&slot), Mode::Ltp).from_now();
        assert_eq!((lane.sent, lane.fresh), (3, true));
        // Of a slot whose upstream subscription has ended too.
        slot.cool();
        assert_eq!(Lane::new(slot, Mode::Ltp).from_now().sent, 3);
    }
}
