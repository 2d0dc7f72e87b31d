//! What tells a writer how far a client has read: the answer to a ping that went behind what it was sent.

use crate::stats::Counter;
use std::sync::atomic::{AtomicU64, Ordering};

/// While nobody listens.
const DEAF: u64 = u64::MAX;

/// The last ping and its answer, as both halves of a connection see them.
#[derive(Debug, Default)]
pub struct Pong {
    /// When the last ping was put together, monotonic, which is what it says as well; 0 for none. Written by the writer.
    asked_ns: Counter,
    /// The ping that was answered last. Written by the reading half.
    answered_ns: AtomicU64,
    /// How long that took, nanoseconds; 0 if it was not listened to all the time: it may have waited to be read. Written
    /// before.
    took_ns: AtomicU64,
    /// Since when the reading half listens, monotonic; [`DEAF`] while it carries out a request. Written by it.
    listens_ns: AtomicU64,
}

impl Pong {
    /// A ping is put together. **Thread**: the writer's.
    pub fn ask(&self, asked_ns: u64) {
        self.asked_ns.set(asked_ns);
    }

    /// The last ping; 0 for none. Any thread.
    pub fn asked_ns(&self) -> u64 {
        self.asked_ns.get()
    }

    /// Answers are listened to from that time on if they were not, or not at all until the next call. **Thread**: the reading
    /// half's.
    pub fn listen(&self, from_ns: Option<u64>) {
        // Relaxed: it is as if it had happened a little later.
        if from_ns.is_none() || self.listens_ns.load(Ordering::Relaxed) == DEAF {
            self.listens_ns.store(from_ns.unwrap_or(DEAF), Ordering::Relaxed);
        }
    }

    /// How long the answer to the last ping has been listened for, nanoseconds; `None` while nobody listens. **Thread**: the
    /// writer's.
    pub fn waits_ns(&self, now_ns: u64) -> Option<u64> {
        let listens_ns = self.listens_ns.load(Ordering::Relaxed);
        (listens_ns != DEAF).then(|| now_ns.saturating_sub(listens_ns.max(self.asked_ns())))
    }

    /// How long the answer to a ping took, nanoseconds, if it has come; 0 if that is not known. **Thread**: the writer's.
    #[inline]
    pub fn answer_to(&self, asked_ns: u64) -> Option<u64> {
        // Acquire: pairs with the release in `hear`.
        let answered = self.answered_ns.load(Ordering::Acquire) == asked_ns;
        answered.then(|| self.took_ns.load(Ordering::Relaxed))
    }

    /// Takes note of a pong. False when it does not answer the last ping, or does so once more. Afterwards the tab must be
    /// announced to its writer. **Thread**: the reading half's.
    pub fn hear(&self, body: &[u8], now_ns: u64) -> bool {
        let asked_ns = self.asked_ns.get();
        let answers =
            asked_ns != 0 && body == asked_ns.to_be_bytes() && self.answered_ns.load(Ordering::Relaxed) != asked_ns;
        if answers {
            let listens_ns = self.listens_ns.load(Ordering::Relaxed);
            let took_ns = if listens_ns <= asked_ns { now_ns.saturating_sub(asked_ns).max(1) } else { 0 };
            self.took_ns.store(took_ns, Ordering::Relaxed);
            // Release: who sees the answer sees how long it took.
            self.answered_ns.store(asked_ns, Ordering::Release);
        }
        answers
    }

    /// How long the client took to answer the ping that it answered last, nanoseconds; `None` before the first, or if that is
    /// not known. Any thread.
    pub fn took_ns(&self) -> Option<u64> {
        // Acquire: pairs with the release in `hear`.
        let answered = self.answered_ns.load(Ordering::Acquire) != 0;
        answered.then(|| self.took_ns.load(Ordering::Relaxed)).filter(|took_ns| *took_ns > 0)
    }
}
