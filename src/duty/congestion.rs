//! What a patient feed asks before it goes on.

use std::sync::atomic::{AtomicU64, Ordering};

/// Whether every writer is through with what was published, so that a patient feed may go on.
///
/// A flag would not do: a writer on another thread that has not begun with a batch yet looks like one that is done.
#[derive(Debug)]
pub struct Congestion {
    /// Batches published.
    published: AtomicU64,
    /// One a writer: the last batch after which it had nothing left to send.
    through: Vec<AtomicU64>,
    /// How often a full socket had room again: tabs that are behind, but read.
    moved: AtomicU64,
}

impl Congestion {
    /// For so many writers.
    pub fn new(writers: usize) -> Self {
        Self {
            published: AtomicU64::new(0),
            through: (0..writers).map(|_| AtomicU64::new(0)).collect(),
            moved: AtomicU64::new(0),
        }
    }

    /// A batch is in the rings. **Thread**: the feed's.
    pub(super) fn publish(&self) {
        // Release: who sees the number finds the batch.
        self.published.store(self.published.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// The batch that a turn which begins now will find.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// The writer at `place` has sent everything up to a batch. **Thread**: that writer's.
    pub(super) fn pass(&self, place: usize, batch: u64) {
        if let Some(through) = self.through.get(place) {
            through.store(batch, Ordering::Relaxed);
        }
    }

    /// A full socket has room again. **Thread**: a writer's.
    pub(super) fn note_moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Whether a writer is behind. **Thread**: the feed's.
    pub(super) fn is_congested(&self) -> bool {
        let published = self.published.load(Ordering::Relaxed);
        self.through.iter().any(|through| through.load(Ordering::Relaxed) < published)
    }
}
