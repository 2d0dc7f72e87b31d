//! What came of it all, for operators.

use super::principal::Proof;
use super::refusal::Refusal;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module. Written and read by any thread of the control side.
#[derive(Debug)]
pub struct Counters {
    /// Connections let in, by proof.
    pub accepted: [AtomicU64; Proof::ALL.len()],
    /// Refusals, by reason, in the order of [`Refusal::ALL`].
    pub refused: [AtomicU64; Refusal::ALL.len()],
    /// Open connections ended because their token had.
    pub expired: AtomicU64,
    /// Open connections ended because they were revoked.
    pub revoked: AtomicU64,
    /// Tokens replaced on open connections.
    pub refreshed: AtomicU64,
    /// Times keys were read.
    pub key_refreshes: AtomicU64,
    /// Times they could not be.
    pub key_failures: AtomicU64,
    /// Open connections ended because they asked too much too fast.
    pub rate_limited: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            accepted: std::array::from_fn(|_| zero()),
            refused: std::array::from_fn(|_| zero()),
            expired: zero(),
            revoked: zero(),
            refreshed: zero(),
            key_refreshes: zero(),
            key_failures: zero(),
            rate_limited: zero(),
        }
    }
}

impl Counters {
    /// One more.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal and hands it on.
    pub fn refuse(&self, refusal: Refusal) -> Refusal {
        Self::count(&self.refused[refusal.index()]);
        refusal
    }
}
