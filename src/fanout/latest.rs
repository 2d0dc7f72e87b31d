//! The newest value of a slot: one writer that never waits, any number of readers that retry, no torn reads.
//!
//! A sequence lock over plain atomic words, so there is nothing unsafe in it. `arc-swap` is not used here: its store
//! costs more than everything else that is done to a tick.

use super::sync::{AtomicU64, Ordering, fence, spin_loop};

/// `WORDS` words that are read as they were written together.
#[derive(Debug)]
pub struct Latest<const WORDS: usize> {
    /// Twice the number of values stored; odd while one is being stored.
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Default for Latest<WORDS> {
    fn default() -> Self {
        Self { version: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl<const WORDS: usize> Latest<WORDS> {
    /// Stores a value and returns its sequence number, from 1. **Thread**: the slot's one owner.
    #[inline]
    pub fn store(&self, value: &[u64; WORDS]) -> u64 {
        // Relaxed: only this thread writes `version`.
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // Release fence: whoever sees one of the words below also sees the odd version above.
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(value) {
            word.store(*value, Ordering::Relaxed);
        }
        // Release: whoever sees the even version sees every word.
        self.version.store(version + 2, Ordering::Release);
        version / 2 + 1
    }

    /// The newest value and its sequence number; `None` before the first. Any thread; retries while one is stored.
    pub fn load(&self) -> Option<(u64, [u64; WORDS])> {
        loop {
            // Acquire: pairs with the release of the even version.
            let before = self.version.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            if before.is_multiple_of(2) {
                let value = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
                // Acquire fence: if a word above came from a later store, the load below sees at least its odd version.
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    return Some((before / 2, value));
                }
            }
            spin_loop();
        }
    }

    /// One word of the newest value. **Thread**: the owner alone, for whom nothing can change meanwhile.
    #[inline]
    pub fn own_word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }
}
