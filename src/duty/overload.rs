//! Whether a thread has more to do than it can.
//!
//! A pause (other work on the core, a stalled machine) leaves something behind that is soon made up for. Overload is what
//! lasts, or what is made up for only in cycles so long that values grow old meanwhile. They do so in three places: in the
//! kernel's queue from upstream, in a ring, and while a tab waits for its turn behind all others. So the feed takes in
//! everything that has come, a writer's turns are short, going on where the last one ended, and what is old in a ring makes
//! way for what is newer. Where even to offer tabs everything would take most of the time, they are offered only the newest of
//! each instrument. What is more than can be sent costs every tab values, and not their age, as long as taking it in
//! leaves time to send.

/// A cycle that takes longer leaves what comes meanwhile waiting for too long.
const LONG_NS: u64 = 10_000_000;
/// In a shorter cycle it does not matter what had most of it.
const NOTABLE_NS: u64 = 5_000_000;
/// How long it must look so, in one cycle after the other, until it is believed; and how long nothing may look so until it
/// is over, since now and then all is done just because values made way.
const SUSTAINED_NS: u64 = 100_000_000;
/// Most that a single cycle counts for: it may have been a pause.
const COUNTS_NS: u64 = 20_000_000;

/// What there was in a cycle of the data plane.
#[derive(Clone, Copy, Default, Debug)]
pub struct Load {
    /// When it ended, monotonic.
    pub now_ns: u64,
    /// How long it took, nanoseconds; 0 when there was nothing to do.
    pub took_ns: u64,
    /// How long the feed in it.
    pub fed_ns: u64,
    /// It left undone something that could have been done.
    pub unfinished: bool,
    /// A value made way for a newer one at a tab whose socket had room.
    pub shed: bool,
}

/// See the module. **Thread**: that of the duty cycle.
#[derive(Debug, Default)]
pub struct Overload {
    on: bool,
    /// While it is not on: for how long it has looked so without a break, nanoseconds.
    lasts_ns: u64,
    /// While it is on: when it looked so last, monotonic.
    seen_ns: u64,
    /// The feed had more than half of the last cycle.
    feed_took_most: bool,
}

impl Overload {
    /// Takes note of a cycle. True when there is a change.
    pub fn note(&mut self, load: Load) -> bool {
        let Load { now_ns, took_ns, fed_ns, unfinished, shed } = load;
        if self.on {
            let looks_so = unfinished || shed || self.conflates();
            self.feed_took_most = took_ns >= NOTABLE_NS && fed_ns > took_ns / 2;
            self.seen_ns = if looks_so { now_ns } else { self.seen_ns };
            self.on = now_ns < self.seen_ns + SUSTAINED_NS;
            return !self.on;
        }
        let looks_so = unfinished || took_ns >= LONG_NS;
        self.lasts_ns = if looks_so { self.lasts_ns + took_ns.min(COUNTS_NS) } else { 0 };
        if self.lasts_ns >= SUSTAINED_NS {
            *self = Self { on: true, seen_ns: now_ns, ..Self::default() };
        }
        self.on
    }

    /// Whether so much comes that to offer all of it would leave no time to send: tabs are offered only the newest in the
    /// next cycle.
    pub const fn conflates(&self) -> bool {
        self.on && self.feed_took_most
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
    #[derive(Default)]
    struct Cycles {
        overload: Overload,
        now_ns: u64,
    }

    impl Cycles {
        fn note(&mut self, load: Load) -> bool {
            self.now_ns += load.took_ns;
            let before = self.overload.is_on();
            let changes = self.overload.note(Load { now_ns: self.now_ns, ..load });
            assert_eq!(changes, before != self.overload.is_on());
            self.overload.is_on()
        }

        fn run(&mut self, count: u64, ms: u64, unfinished: bool) -> bool {
            for _ in 0..count {
                self.note(Load { took_ns: ms * 1_000_000, unfinished, ..Load::default() });
            }
            self.overload.is_on()
        }

        /// So many milliseconds in which there was nothing to do.
        fn rest(&mut self, ms: u64) -> bool {
            self.now_ns += ms * 1_000_000;
            self.note(Load::default())
        }
    }

    #[test]
    fn a_pause_is_none_and_what_lasts_is_one_until_it_has_been_over_for_as_long() {
        let mut cycles = Cycles::default();
        for _ in 0..20 {
            assert!(!cycles.run(1, 500, true) && !cycles.run(5, 15, true));
            assert!(!cycles.run(1, 9, false));
        }
        assert!(!cycles.run(6, 16, false));
        assert!(cycles.run(1, 16, false));
        // Turns are short now, and some are through by chance, or because values made way.
        assert!(cycles.run(30, 5, true) && cycles.run(19, 5, false) && cycles.run(1, 5, true) && cycles.rest(95));
        assert!(cycles.note(Load { took_ns: 1, shed: true, ..Load::default() }) && cycles.rest(99));
        // A long one that left nothing undone is none of it: other work on the core.
        assert!(!cycles.run(1, 30, false));
        // Short cycles that leave something undone are one too: more comes than is taken in.
        assert!(!cycles.run(99, 1, true));
        assert!(cycles.run(1, 1, true));
        assert!(cycles.rest(50) && !cycles.rest(50));
        assert!(!cycles.run(99, 1, true) && !cycles.rest(0));
        assert!(!cycles.run(99, 1, true));
    }

    #[test]
    fn tabs_are_offered_everything_unless_that_takes_most_of_the_time() {
        let mut cycles = Cycles::default();
        let mut fed = |fed_ms: u64, unfinished| {
            let load = Load { took_ns: 10_000_000, fed_ns: fed_ms * 1_000_000, unfinished, ..Load::default() };
            cycles.note(load) && cycles.overload.conflates()
        };
        assert!((0..10).all(|_| !fed(9, true)), "there must be overload first");
        assert!(fed(6, true) && !fed(4, true) && fed(6, true));
        // What is through just because of that is none the less overload.
        assert!((0..30).all(|_| fed(6, false)));
        assert!(!fed(1, false));
        // Nor is a cycle in which the feed had next to nothing to do, alone on its thread.
        for _ in 0..2_000 {
            cycles.note(Load { took_ns: 100_000, fed_ns: 90_000, ..Load::default() });
        }
        assert!(!cycles.overload.is_on());
    }
}
