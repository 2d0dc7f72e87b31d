//! The door of a writer thread: the list of sessions that have something, and the bell that wakes a sleeping writer.
//!
//! The wake is the one step between threads that costs more than a send (33 to 70 us), so it happens only if the writer
//! sleeps, once, and only after a whole batch was offered.

use super::sync::{ArrayQueue, AtomicBool, Ordering, fence};

/// See the module.
#[derive(Debug)]
pub struct Port {
    ready: ArrayQueue<u32>,
    asleep: AtomicBool,
}

impl Port {
    /// A door for at most `sessions` sessions.
    pub fn new(sessions: usize) -> Self {
        // Twice: a session may end while it stands in the list and another may get its key.
        Self { ready: ArrayQueue::new(sessions.max(1) * 2), asleep: AtomicBool::new(false) }
    }

    /// Puts a session into the list, after [`Ring::announce`](super::ring::Ring::announce) said so. False if the list
    /// is full, which its size rules out. Any thread.
    #[inline]
    pub fn push(&self, session: u32) -> bool {
        self.ready.push(session).is_ok()
    }

    /// The next session with something to send. **Thread**: the writer.
    #[inline]
    pub fn pop(&self) -> Option<u32> {
        self.ready.pop()
    }

    /// Sessions in the list. Any thread; may change at once.
    pub fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// True when the writer sleeps and nobody has undertaken to wake it yet: the caller must ring. Any thread, after
    /// everything was pushed.
    #[inline]
    pub fn must_wake(&self) -> bool {
        // The fence orders our pushes before the look at the flag; the one in `fall_asleep` orders the flag before the
        // look at the list. So either we see the flag, or the writer sees the push.
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }

    /// Says that the writer is about to sleep. False when something has come meanwhile and it must not; `idle` looks at
    /// whatever else others may have pushed for it before they asked [`must_wake`](Self::must_wake).
    /// **Thread**: the writer, followed by [`wake_up`](Self::wake_up) in any case.
    pub fn fall_asleep(&self, idle: impl FnOnce() -> bool) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.ready.is_empty() && idle()
    }

    /// Says that the writer is awake. **Thread**: the writer.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}
