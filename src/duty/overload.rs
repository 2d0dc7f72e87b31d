//! Whether a thread has more to do than it can.
//!
//! A pause (other work on the core, a stalled machine) leaves something behind that is soon made up for. Overload is what
//! lasts, or what is made up for only in cycles so long that values grow old meanwhile. They do so in three places: in the
//! kernel's queue from upstream, in a ring, and while a tab waits for its turn behind all others. So the feed takes in
//! everything that has come, a writer's turns are short, going on where the last one ended, and what is old in a ring makes
//! way for what is newer. What is more than can be sent costs every tab values, and not their age, as long as taking it in
//! leaves time to send.

/// A cycle that takes longer leaves what comes meanwhile waiting for too long.
const LONG_NS: u64 = 10_000_000;
/// How long it must look so, in one cycle after the other, until it is believed; likewise that it is over: a single turn may
/// be through by chance, when few tabs had something.
const SUSTAINED_NS: u64 = 100_000_000;
/// Most that a single cycle counts for: it may have been a pause.
const COUNTS_NS: u64 = 20_000_000;

/// See the module. **Thread**: that of the duty cycle.
#[derive(Debug, Default)]
pub struct Overload {
    on: bool,
    /// For how long cycles have said the opposite without a break, nanoseconds.
    opposite_ns: u64,
}

impl Overload {
    /// Takes note of a cycle that had something to do: how long it took, nanoseconds, and whether it left undone something
    /// that could have been done. True when there is a change.
    pub fn note(&mut self, took_ns: u64, unfinished: bool) -> bool {
        let looks_so = unfinished || !self.on && took_ns >= LONG_NS;
        self.opposite_ns = if looks_so == self.on { 0 } else { self.opposite_ns + took_ns.min(COUNTS_NS) };
        let changes = self.opposite_ns >= SUSTAINED_NS;
        if changes {
            (self.on, self.opposite_ns) = (!self.on, 0);
        }
        changes
    }

    /// Takes note of a cycle that had nothing to do: then it is over. True when there is a change.
    pub fn note_idle(&mut self) -> bool {
        self.opposite_ns = 0;
        std::mem::take(&mut self.on)
    }

    /// Whether it is so.
    pub const fn is_on(&self) -> bool {
        self.on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cycles one after the other, of so many milliseconds, and whether each left something undone.
    struct Cycles(Overload);

    impl Cycles {
        fn run(&mut self, count: u64, ms: u64, unfinished: bool) -> bool {
            for _ in 0..count {
                self.0.note(ms * 1_000_000, unfinished);
            }
            self.0.is_on()
        }
    }

    #[test]
    fn a_pause_is_none_and_what_lasts_is_one_until_it_has_been_over_for_as_long() {
        let mut cycles = Cycles(Overload::default());
        for _ in 0..20 {
            assert!(!cycles.run(1, 500, true) && !cycles.run(5, 15, true));
            assert!(!cycles.run(1, 9, false));
        }
        assert!(!cycles.run(6, 16, false));
        assert!(cycles.run(1, 16, false));
        // Turns are short now, and some are through by chance.
        assert!(cycles.run(30, 5, true) && cycles.run(19, 5, false) && cycles.run(1, 5, true));
        // A long one that left nothing undone is none of it: other work on the core.
        assert!(cycles.run(4, 30, false));
        assert!(!cycles.run(1, 30, false));
        // Short cycles that leave something undone are one too: more comes than is taken in.
        assert!(!cycles.run(99, 1, true));
        assert!(cycles.run(1, 1, true));
        assert!(cycles.0.note_idle() && !cycles.0.is_on());
        assert!(!cycles.run(99, 1, true) && !cycles.0.note_idle());
        assert!(!cycles.run(99, 1, true));
    }
}
