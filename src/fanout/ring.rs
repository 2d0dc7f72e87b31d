//! Stop 6 of a tick: a session's bounded inbox.
//!
//! A queue of shared updates plus one bit, *behind*. While the queue has room every update is kept; when it is full the
//! offer is refused and the bit set. The writer answers the bit by reading the newest value of each of its
//! slots, so a slow tab skips values but always ends with the last one.
//!
//! Any thread offers, one writer takes. Nothing here waits.

use super::sync::{ArrayQueue, AtomicBool, Ordering};

/// What became of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Offer {
    /// It is in the queue.
    Queued,
    /// There was no room: the writer will send the slot's newest value instead.
    Conflated,
}

/// The inbox of one session.
#[derive(Debug)]
pub struct Ring<T> {
    /// Boxed, since its padding would spread what an inbox has beside it over several cache lines.
    queue: Box<ArrayQueue<T>>,
    /// An offer was refused since the writer last looked.
    behind: AtomicBool,
    /// The session stands in its writer's list of ready ones, or its writer has decided to come back by itself.
    announced: AtomicBool,
}

impl<T> Ring<T> {
    /// A ring for `capacity` updates, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self {
            queue: Box::new(ArrayQueue::new(capacity.max(1))),
            behind: AtomicBool::new(false),
            announced: AtomicBool::new(false),
        }
    }

    /// Offers an update whose value is already its slot's newest. Never blocks, never fails. Any thread.
    ///
    /// Afterwards the caller must [`announce`](Self::announce).
    #[inline]
    pub fn offer(&self, update: T) -> Offer {
        // Relaxed: a stale answer only means that one more or one less update is queued.
        let behind = self.behind.load(Ordering::Relaxed);
        if !behind && self.queue.push(update).is_ok() {
            return Offer::Queued;
        }
        // Stored even if it is set already. Release: the writer that takes the bit sees the newest value. If the writer
        // took it just before, this sets it again, and the announcement that follows brings the writer back.
        self.behind.store(true, Ordering::Release);
        Offer::Conflated
    }

    /// Says that there is something to take. True when the caller must put the session into its writer's list.
    ///
    /// A read-modify-write on both sides: whichever of this and [`begin`](Self::begin) comes second sees the first, so
    /// an offer is either seen by the drain that begins or announced anew.
    #[inline]
    pub fn announce(&self) -> bool {
        !self.announced.swap(true, Ordering::AcqRel)
    }

    /// Begins a drain: offers from now on are announced again. **Thread**: the writer.
    #[inline]
    pub fn begin(&self) {
        self.announced.swap(false, Ordering::AcqRel);
    }

    /// The oldest update in the queue. **Thread**: the writer.
    #[inline]
    pub fn take(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Whether offers were refused. **Thread**: the writer.
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Takes the *behind* bit. When it was set, the writer must afterwards read the newest value of each of its slots;
    /// what is in the queue it may throw away first. **Thread**: the writer.
    pub fn take_behind(&self) -> bool {
        // Acquire: pairs with the release in `offer`. The plain look first spares the usual case a locked instruction.
        self.is_behind() && self.behind.swap(false, Ordering::AcqRel)
    }

    /// While a session's socket is full its ring fills up and runs over. Then what it holds will never be sent, and is let go,
    /// so that a frozen tab pins no updates; and the ring stays announced, so that it costs nothing more per tick.
    /// **Thread**: the writer.
    pub fn release(&self) {
        self.begin();
        if self.is_behind() {
            while self.take().is_some() {}
            let _ = self.announce();
        }
    }

    /// Updates waiting. Any thread; may change at once.
    pub fn depth(&self) -> usize {
        self.queue.len()
    }
}
