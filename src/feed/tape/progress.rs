//! How far a replay is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counters that the feed's thread writes and any other may read; each is right for itself, together they are a
/// snapshot good enough to show.
#[derive(Debug)]
pub struct TapeProgress {
    total: u64,
    played: AtomicU64,
    rounds: AtomicU64,
    started: AtomicBool,
    finished: AtomicBool,
}

impl TapeProgress {
    pub(super) fn new(total: u64) -> Self {
        Self {
            total,
            played: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            started: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        }
    }

    /// Records on the tape.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Records played in this round.
    pub fn records(&self) -> u64 {
        self.played.load(Ordering::Relaxed)
    }

    /// Rounds played to their end and begun again; always 0 when the tape is not looped.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Whether the replay has begun.
    pub fn started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Whether the tape is over and will not begin again.
    pub fn finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    pub(super) fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// One writer only, so a load and a store do what an atomic addition would, for less.
    pub(super) fn played(&self) {
        self.played.store(self.records() + 1, Ordering::Relaxed);
    }

    pub(super) fn next_round(&self) {
        self.played.store(0, Ordering::Relaxed);
        self.rounds.store(self.rounds() + 1, Ordering::Relaxed);
    }

    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }
}
