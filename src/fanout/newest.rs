//! The newest tick of each instrument that has come since tabs were offered anything: under overload only this one is
//! offered to them, since offering each to thousands takes the time in which they could be sent something.

use super::slot::{Numbers, Packet, Slot};
use crate::market::{Mode, Tick};
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// When a message came, nanoseconds: monotonic, and since 1970 by the wall clock and by that of the market.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) received_ns: u64,
    pub(super) received_unix_ns: u64,
    pub(super) market_ns: u64,
}

/// A tick that its slot has stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    /// The packet from which it was decoded.
    pub(super) bytes: &'a [u8],
    pub(super) tick: Tick,
    pub(super) arrival: Arrival,
    pub(super) numbers: Numbers,
    /// The lowest mode that is shown it.
    pub(super) shown_from: Mode,
}

/// See the module. **Thread**: the publisher's.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// In the order in which each instrument came first; the bytes stand beside.
    ticks: Vec<(Arc<Slot>, Packet, Stored<'static>)>,
    /// Where each slot's is, by its id.
    places: FxHashMap<u32, usize>,
}

impl Newest {
    /// Takes over a tick; true when an older one made way for it.
    pub(super) fn put(&mut self, slot: &Arc<Slot>, stored: &Stored<'_>) -> bool {
        let (packet, mut stored) = (Packet::new(stored.bytes), Stored { bytes: &[], ..*stored });
        match self.places.entry(slot.id) {
            Entry::Vacant(place) => {
                place.insert(self.ticks.len());
                self.ticks.push((Arc::clone(slot), packet, stored));
                false
            }
            Entry::Occupied(place) => {
                let (_, old_packet, old) = &mut self.ticks[*place.get()];
                // Nobody has been shown what the older one changed.
                stored.shown_from = stored.shown_from.min(old.shown_from);
                (*old_packet, *old) = (packet, stored);
                true
            }
        }
    }

    /// Calls `with` for each and forgets them.
    pub(super) fn take(&mut self, mut with: impl FnMut(&Slot, Stored<'_>)) {
        self.places.clear();
        for (slot, packet, stored) in self.ticks.drain(..) {
            with(&slot, Stored { bytes: &packet, ..stored });
        }
    }
}
