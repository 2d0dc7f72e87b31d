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

    /// The same, with a condition.
    pub fn with_condition(mut self, when: Option<&Arc<When>>) -> Self {
        self.when = when.map(Arc::clone);
        self
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
