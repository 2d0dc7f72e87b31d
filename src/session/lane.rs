//! What a tab has of one slot.

use crate::fanout::slot::Slot;
use crate::market::Mode;
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
}

impl Lane {
    /// A lane of which the tab has nothing yet.
    pub const fn new(slot: Arc<Slot>, mode: Mode) -> Self {
        Self { slot, mode, sent: 0, fresh: true, owed: false, held: false, due_ns: 0 }
    }
}
