//! Fewer wake-ups of the control side where there are very many.
//!
//! To wake a thread costs whoever does it an interrupt of another core, which on a virtual machine is tens of microseconds: with
//! hundreds of tabs that answer pings all the time this took a third of the core they share. So a thread that is woken again
//! and again as soon as it sleeps first rests for a while without listening, as network cards do with their interrupts: what
//! comes meanwhile wakes nobody, and waits for that long at most.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Woken sooner than this after it fell asleep, a thread has not slept.
const SOON: Duration = Duration::from_millis(1);
/// How often in a row that must have been.
const OFTEN: u32 = 64;
/// How long it rests then.
const REST: Duration = Duration::from_micros(500);

/// One thread's wake-ups.
#[derive(Clone, Copy, Debug)]
struct Wakeups {
    asleep_since: Instant,
    /// How often in a row it was woken soon.
    soon: u32,
}

thread_local! {
    static WAKEUPS: Cell<Option<Wakeups>> = const { Cell::new(None) };
}

impl Wakeups {
    /// Whether it should rest first.
    const fn are_many(self) -> bool {
        self.soon >= OFTEN
    }

    fn woken(mut self, now: Instant) -> Self {
        let soon = now.duration_since(self.asleep_since) < SOON;
        self.soon = if soon { (self.soon + 1).min(OFTEN) } else { 0 };
        self
    }
}

/// A thread of the runtime is about to wait for what comes next.
pub fn before_sleep() {
    let before = WAKEUPS.get();
    if before.is_some_and(Wakeups::are_many) {
        std::thread::sleep(REST);
    }
    let soon = before.map_or(0, |wakeups| wakeups.soon);
    WAKEUPS.set(Some(Wakeups { asleep_since: Instant::now(), soon }));
}

/// It has been woken.
pub fn after_sleep() {
    WAKEUPS.set(WAKEUPS.get().map(|wakeups| wakeups.woken(Instant::now())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_that_is_woken_at_once_again_and_again_rests() {
        let begin = Instant::now();
        let mut wakeups = Wakeups { asleep_since: begin, soon: 0 };
        for _ in 0..OFTEN {
            assert!(!wakeups.are_many());
            wakeups = wakeups.woken(begin + SOON / 2);
        }
        assert!(wakeups.are_many() && wakeups.woken(begin + SOON / 2).are_many());
        assert!(!wakeups.woken(begin + SOON).are_many());
    }
}
