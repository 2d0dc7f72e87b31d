//! Whether a tab reads what it is sent: a ping goes behind it, which a client answers when it has come so far (RFC 6455,
//! 5.5.2 and 5.5.3).
//!
//! The system takes megabytes for a tab that is behind, and there they grow old. So a tab that goes on answering later than
//! its way explains is sent no more values until it has read what it has: what comes meanwhile stays in its ring, where newer
//! values take the place of older ones. After that it may have only so much unread as it reads in time, until it needs no
//! such limit any more. One that never answers is never waited for. What an answer takes contains the gateway's own delays,
//! so on a starved machine everybody looks late.

use super::pace::{Pace, TARGET_NS};
use super::turn::Turn;
use crate::fanout::pong::Pong;
use crate::fanout::ring::Ring;
use crate::wire::frame::{self, Opcode};

/// Bytes after which a tab is asked again. In a quiet market that is once in seconds.
const EVERY_BYTES: u32 = 64 * 1_024;
/// Least and longest time between two pings to a tab that has answered in time: the longer, the more often it has.
const EVERY_MS: std::ops::RangeInclusive<u32> = 10..=100;
/// A tab for which no more than it may have has waited for so long is late no more, nor one that may have the most.
const RELEASE_NS: u64 = 1_000_000_000;
/// For how long a tab must have been late to be taken for slow and not for disturbed: only then is it waited for.
const SLOW_NS: u64 = 100_000_000;
/// But one that was slow not so long ago is at once: else tabs that share a core that is too small for all of them would be
/// free by turns, and each time have megabytes of it.
const DISTRUST_NS: u64 = 10_000_000_000;
/// Where one of so many tabs is slow, most likely they share what makes them so: the others are then late as soon as those aim
/// not to be, else they would have what those leave.
const MANY_OF: u64 = 8;
/// After so long its way is measured anew: it may have become longer.
const RENEWAL_NS: u64 = 10_000_000_000;
/// Longest time a tab is waited for. Then its socket has to show whether it reads.
const LONGEST_WAIT_NS: u64 = 1_000_000_000;

/// See the module. **Thread**: the writer's.
#[derive(Clone, Copy, Default, Debug)]
pub struct Probe {
    /// The last ping: when it was put together, monotonic; 0 for none.
    asked_ns: u64,
    /// From when on it is slow if it is late until then, monotonic; 0 while it is not late.
    slow_from_ns: u64,
    /// Until when it is not trusted, monotonic.
    distrusted_until_ns: u64,
    /// When more waited for it than it may have, for the last time, monotonic.
    crowded_ns: u64,
    /// Since when answers are counted for [`Self::way_ns`], monotonic.
    measured_ns: u64,
    /// The least time an answer took, nanoseconds; 0 before the first.
    way_ns: u32,
    /// Bytes put together since the last ping.
    bytes: u32,
    /// What it may have unread while it is slow.
    pace: Pace,
    /// How long a tick was in the last turn that had some, while it is late; 0 before.
    tick_bytes: u32,
    /// Least time to the next ping while it is not late, milliseconds.
    every_ms: u8,
    /// The last ping has no answer yet.
    open: bool,
    /// It is waited for.
    holds: bool,
    /// See [`Self::counts_as_slow`].
    slow: bool,
}

impl Probe {
    /// Begins a turn of the tab: whether it is late with what it has, and no values may be put together for it. Then it wants
    /// another turn [in time](Self::until_ns). One that has been late for long is not sent what is old, unless it may have all
    /// that waits in its ring.
    #[inline]
    pub fn begin<T>(&mut self, pong: &Pong, ring: &Ring<T>, turn: &mut Turn<'_>) -> bool {
        (self.open || self.is_late()) && self.examine(pong, ring, turn)
    }

    fn examine<T>(&mut self, pong: &Pong, ring: &Ring<T>, turn: &mut Turn<'_>) -> bool {
        let Some(mut late_after_ns) = turn.late_after_ns else { return false };
        let (slow_tabs, tabs) = (turn.counters.slow_tabs.get(), turn.counters.tabs.get());
        if slow_tabs > 1 && slow_tabs * MANY_OF >= tabs {
            late_after_ns = late_after_ns.min(TARGET_NS);
        }
        let held = self.holds;
        let crowded = self.is_late()
            && (ring.is_behind() || ring.depth() * self.tick_bytes as usize > self.pace.credit() as usize);
        let holds = self.look(pong, turn.now_ns, late_after_ns, crowded);
        turn.counters.holds.add((self.holds && !held).into());
        turn.late = held || holds || self.is_late();
        if crowded && self.is_slow(turn.now_ns) {
            turn.max_wait_ns = turn.overload_wait_ns.unwrap_or(u64::MAX);
        }
        // Where nobody listens to its answer there is no limit either: it would be one that no ping can lift.
        if !self.open {
            turn.limit = turn.limit.min(turn.out.len().saturating_add(self.credit(turn.now_ns)));
        }
        let slow = self.is_slow(turn.now_ns);
        if slow != std::mem::replace(&mut self.slow, slow) {
            let slow_tabs = &turn.counters.slow_tabs;
            if slow { slow_tabs.add(1) } else { slow_tabs.sub(1) }
        }
        holds
    }

    /// Whether it is among [`slow_tabs`](crate::stats::WriterCounters::slow_tabs).
    pub const fn counts_as_slow(&self) -> bool {
        self.slow
    }

    /// Ends a turn that began with so many bytes and so many ticks put together.
    #[inline]
    pub fn end(&mut self, (bytes, ticks): (usize, usize), pong: &Pong, turn: &mut Turn<'_>) {
        let (bytes, ticks) = (turn.out.len() - bytes, turn.stamps.len() - ticks);
        self.bytes = self.bytes.saturating_add(bytes as u32);
        if self.is_late() && ticks > 0 {
            self.tick_bytes = (bytes / ticks) as u32;
        }
        if (self.bytes >= EVERY_BYTES || self.is_late() || self.asked_ns == 0) && turn.late_after_ns.is_some() {
            self.ask(turn.out, pong, turn.now_ns);
        }
    }

    /// Whether it has to read first. `late_after_ns` is how much longer than its way it may take; `crowded` if more waits for
    /// it than it may have.
    fn look(&mut self, pong: &Pong, now_ns: u64, late_after_ns: u64, crowded: bool) -> bool {
        if self.open {
            if let Some(took_ns) = pong.answer_to(self.asked_ns) {
                self.learn(took_ns, now_ns, late_after_ns);
            }
            // Before the first answer it may be one that never answers.
            let waits_ns = pong.waits_ns(now_ns).filter(|_| self.open && self.way_ns > 0);
            if !self.is_late() && waits_ns.is_some_and(|waits_ns| waits_ns >= self.patience_ns(late_after_ns)) {
                self.become_late(now_ns);
            }
            self.holds = waits_ns.is_some() && self.is_slow(now_ns);
            if self.open && self.way_ns > 0 && now_ns >= self.until_ns() {
                // Nor does it answer any more, or that answer was lost: a client may leave out all but the last one.
                let Self { asked_ns, distrusted_until_ns, slow, .. } = *self;
                *self = Self { asked_ns, distrusted_until_ns, slow, ..Self::default() };
            }
        }
        if self.is_slow(now_ns) {
            if crowded && !self.pace.has_most() {
                self.crowded_ns = now_ns;
            } else if now_ns > self.crowded_ns.max(self.slow_from_ns) + RELEASE_NS {
                (self.slow_from_ns, self.holds) = (0, false);
            }
        }
        self.holds || self.is_slow(now_ns) && now_ns < self.pace.paused_until_ns()
    }

    /// Until when it is waited for at most, or has its pause, monotonic.
    pub const fn until_ns(&self) -> u64 {
        if self.open { self.asked_ns + LONGEST_WAIT_NS } else { self.pace.paused_until_ns() }
    }

    /// How long an answer may take.
    fn patience_ns(&self, late_after_ns: u64) -> u64 {
        u64::from(self.way_ns) + late_after_ns
    }

    /// The last ping was answered.
    fn learn(&mut self, took_ns: u64, now_ns: u64, late_after_ns: u64) {
        self.open = false;
        if took_ns == 0 {
            // Nobody knows how long that took.
            return;
        }
        let took = u32::try_from(took_ns).unwrap_or(u32::MAX);
        let slow = self.is_slow(now_ns);
        if slow && now_ns > self.measured_ns + RENEWAL_NS {
            // By the next answer, with as little before it as possible.
            (self.way_ns, self.measured_ns) = (u32::MAX, now_ns);
            self.pace.take_back();
            return;
        }
        if self.way_ns == 0 {
            (self.way_ns, self.measured_ns) = (took, now_ns);
        }
        self.way_ns = self.way_ns.min(took);
        let over_ns = u64::from(took - self.way_ns);
        if slow {
            if over_ns > late_after_ns {
                self.distrusted_until_ns = now_ns + DISTRUST_NS;
            }
            self.pace.adapt(over_ns, self.holds, now_ns);
        } else if over_ns <= late_after_ns {
            self.slow_from_ns = 0;
            self.every_ms = (u32::from(self.every_ms) * 2).clamp(*EVERY_MS.start(), *EVERY_MS.end()) as u8;
        } else if !self.is_late() {
            self.become_late(now_ns);
        }
    }

    /// It does not answer in time.
    fn become_late(&mut self, now_ns: u64) {
        let patience_ns = if now_ns < self.distrusted_until_ns { 0 } else { SLOW_NS };
        (self.slow_from_ns, self.pace, self.every_ms) = (now_ns + patience_ns, Pace::new(), 0);
    }

    /// Whether it answered too late.
    const fn is_late(&self) -> bool {
        self.slow_from_ns != 0
    }

    /// Whether it has been late for so long that what is old is not for it any more.
    const fn is_slow(&self, now_ns: u64) -> bool {
        self.is_late() && now_ns >= self.slow_from_ns
    }

    /// How many bytes may be put together for it at most, about.
    const fn credit(&self, now_ns: u64) -> usize {
        if self.is_slow(now_ns) { self.pace.credit().saturating_sub(self.bytes) as usize } else { usize::MAX }
    }

    /// Puts a ping behind what has been put together in `out` if it is time.
    fn ask(&mut self, out: &mut Vec<u8>, pong: &Pong, now_ns: u64) {
        let is_time = if self.is_slow(now_ns) {
            self.bytes >= self.pace.credit()
        } else {
            // One that is late is to show whether it still is.
            let least = if self.is_late() { 1 } else { EVERY_BYTES };
            self.bytes >= least && now_ns >= self.asked_ns + u64::from(self.every_ms) * 1_000_000
        };
        // The first goes behind the first reply, and so shows how long the way is.
        if self.open || !is_time && self.asked_ns != 0 {
            return;
        }
        // It says when it was asked, so no two may say the same.
        self.asked_ns = now_ns.max(self.asked_ns + 1);
        (self.open, self.bytes) = (true, 0);
        pong.ask(self.asked_ns);
        frame::append(out, Opcode::Ping, &self.asked_ns.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const LATE_AFTER: u64 = 25 * MS;

    /// A tab, and when it is.
    struct Case {
        probe: Probe,
        pong: Pong,
        now_ns: u64,
        /// More waits for it than it may have.
        crowded: bool,
    }

    impl Case {
        fn new() -> Self {
            Self { probe: Probe::default(), pong: Pong::default(), now_ns: 1_000 * MS, crowded: true }
        }

        /// So many bytes are sent; whether a ping was among them.
        fn send(&mut self, bytes: usize) -> bool {
            let mut out = Vec::new();
            self.probe.bytes += bytes as u32;
            self.probe.ask(&mut out, &self.pong, self.now_ns);
            assert!(out.is_empty() || out.len() == 10 && out[..2] == [0x89, 8]);
            !out.is_empty()
        }

        /// So much later: whether nothing may be sent.
        fn holds_after(&mut self, ms: u64) -> bool {
            self.now_ns += ms * MS;
            self.probe.look(&self.pong, self.now_ns, LATE_AFTER, self.crowded)
        }

        /// The answer comes.
        fn answer(&mut self) {
            let body = self.pong.asked_ns().to_be_bytes();
            assert!(self.pong.hear(&body, self.now_ns) && !self.pong.hear(&body, self.now_ns));
            if self.holds_after(0) {
                // It has a pause first.
                self.now_ns = self.probe.until_ns();
            }
            assert!(!self.holds_after(0));
        }

        /// A ping after a while, and its answer so much later.
        fn round(&mut self, ms: u64) {
            self.now_ns += 100 * MS;
            assert!(self.send(EVERY_BYTES as usize));
            self.now_ns += ms * MS;
            self.answer();
        }
    }

    #[test]
    fn one_that_answers_in_time_is_asked_now_and_then() {
        let mut case = Case::new();
        case.round(1);
        let mut pings = 0;
        for _ in 0..1_000 {
            pings += u32::from(case.send(EVERY_BYTES as usize / 2));
            case.now_ns += MS;
            if case.probe.open {
                case.answer();
            }
        }
        assert!((10..16).contains(&pings), "{pings} in a second");
        assert!(!case.send(0) && !case.probe.is_late() && case.probe.credit(case.now_ns) == usize::MAX);
    }

    #[test]
    fn one_that_was_disturbed_is_not_waited_for() {
        let mut case = Case::new();
        case.round(1);
        case.now_ns += 100 * MS;
        assert!(case.send(EVERY_BYTES as usize) && !case.holds_after(30) && case.probe.is_late());
        assert!(!case.holds_after(90));
        case.answer();
        assert!(case.probe.is_late() && case.probe.credit(case.now_ns) == usize::MAX);
        assert!(case.send(EVERY_BYTES as usize) && !case.holds_after(2));
        case.answer();
        assert!(!case.probe.is_late());
    }

    #[test]
    fn one_that_is_slow_may_have_only_so_much_unread_as_it_reads_in_time() {
        let mut case = Case::new();
        case.round(1);
        case.now_ns += 100 * MS;
        assert!(case.send(EVERY_BYTES as usize) && !case.holds_after(30) && case.holds_after(100));
        case.answer();
        // From now on it is asked as soon as its credit is used up, and has to answer before it gets more.
        assert!(case.send(EVERY_BYTES as usize) && case.holds_after(0));
        // It reads 2 MB/s: 6 ms of that, beyond its way, is what it may have unread.
        for _ in 0..30 {
            assert!(case.holds_after(0));
            case.now_ns += 500 * u64::from(case.probe.pace.credit());
            case.answer();
            assert!(case.send(case.probe.credit(case.now_ns)));
        }
        assert!((12_000..=16_500).contains(&case.probe.pace.credit()), "{:?}", case.probe.pace);
        // It reads as fast as it gets: soon it may have all there is, and is late no more.
        for _ in 0..25 {
            assert!(case.holds_after(2));
            case.answer();
            assert!(case.send(case.probe.credit(case.now_ns)));
        }
        assert!(case.probe.pace.has_most() && case.holds_after(2));
        case.answer();
        assert!(!case.holds_after(950) && case.probe.is_slow(case.now_ns));
        assert!(!case.holds_after(50) && !case.probe.is_late());
        // But it is not trusted: when it is late again it is slow at once.
        case.round(1);
        case.now_ns += 100 * MS;
        assert!(case.send(EVERY_BYTES as usize) && !case.holds_after(20) && case.holds_after(10));
        case.answer();
        // Until that is long ago.
        case.crowded = false;
        case.now_ns += 10_001 * MS;
        assert!(!case.holds_after(0) && !case.probe.is_late());
        assert!(case.send(EVERY_BYTES as usize) && !case.holds_after(30) && case.probe.is_late());
        assert!(!case.holds_after(99) && case.holds_after(1));
    }

    #[test]
    fn one_that_gets_all_there_is_is_slow_no_more() {
        let mut case = Case { crowded: false, ..Case::new() };
        case.round(1);
        case.round(50);
        case.now_ns += 100 * MS;
        for _ in 0..9 {
            assert!(!case.holds_after(100) && case.probe.is_slow(case.now_ns));
            // So little that nothing has to wait, and so it gets no more credit either.
            assert!(!case.send(1_000));
        }
        assert_eq!(case.probe.pace.credit(), Pace::new().credit());
        assert!(!case.holds_after(101) && !case.probe.is_late());
    }

    #[test]
    fn where_less_does_not_help_it_has_a_pause_after_each_answer() {
        let mut case = Case::new();
        (0..2).for_each(|_| case.round(1));
        case.round(150);
        case.now_ns += 100 * MS;
        // However little it has, it takes 40 ms.
        let mut paused = 0;
        for _ in 0..10 {
            assert!(case.send(case.probe.credit(case.now_ns)) && case.holds_after(40));
            let body = case.pong.asked_ns().to_be_bytes();
            assert!(case.pong.hear(&body, case.now_ns));
            if case.holds_after(0) {
                let until_ns = case.probe.until_ns();
                assert!(until_ns > case.now_ns && until_ns <= case.now_ns + 40 * MS && !case.send(0));
                case.now_ns = until_ns - 1;
                assert!(case.holds_after(0));
                case.now_ns = until_ns;
                paused += 1;
            }
            assert!(!case.holds_after(0));
        }
        assert!((5..10).contains(&paused), "{paused} pauses");
    }

    #[test]
    fn one_that_was_late_once_can_show_that_it_is_not_however_little_it_gets() {
        let mut case = Case::new();
        case.round(1);
        case.round(50);
        assert!(case.probe.is_late() && case.send(100) && !case.holds_after(2));
        case.answer();
        assert!(!case.probe.is_late() && !case.send(100));
    }

    #[test]
    fn however_long_it_takes_it_gets_something() {
        let mut case = Case::new();
        (0..3).for_each(|_| case.round(1));
        case.round(500);
        for _ in 0..15 {
            case.send(case.probe.credit(case.now_ns).min(EVERY_BYTES as usize));
            case.holds_after(500);
            case.answer();
        }
        let mut least = Pace::new();
        least.take_back();
        assert_eq!(case.probe.credit(case.now_ns), least.credit() as usize);
    }

    #[test]
    fn a_long_way_is_no_delay() {
        let mut case = Case::new();
        (0..3).for_each(|_| case.round(200));
        case.now_ns += 100 * MS;
        assert!(case.send(EVERY_BYTES as usize) && !case.holds_after(220) && !case.probe.is_late());
        assert!(!case.holds_after(10) && case.probe.is_late());
        case.answer();
        // Nor one that has become longer.
        case.crowded = false;
        for _ in 0..100 {
            case.send(EVERY_BYTES as usize);
            case.now_ns += 240 * MS;
            if case.probe.open {
                case.answer();
            }
        }
        assert!(!case.probe.is_late() && u64::from(case.probe.way_ns) == 240 * MS);
    }

    #[test]
    fn nobody_is_waited_for_who_never_answers_or_for_long() {
        let mut case = Case::new();
        assert!(case.send(1) && !case.holds_after(500) && !case.holds_after(10_000));
        assert!(!case.send(1_000_000), "asked once");
        assert!(!case.pong.hear(&[0; 8], 1) && !case.pong.hear(b"", 1) && case.pong.took_ns().is_none());
        let mut case = Case::new();
        case.round(1);
        case.now_ns += 100 * MS;
        assert!(case.send(EVERY_BYTES as usize) && !case.holds_after(30) && case.holds_after(969));
        assert!(!case.holds_after(1));
        // One answer that was lost changes nothing for those to come, whether it was late before or not.
        for late in [false, true] {
            case.round(1);
            if late {
                case.round(50);
            } else {
                case.now_ns += 100 * MS;
            }
            assert!(case.send(EVERY_BYTES as usize) && !case.holds_after(30) && case.holds_after(969));
            assert!(!case.holds_after(1));
            assert!(!case.probe.is_late() && case.probe.credit(case.now_ns) == usize::MAX && !case.send(1));
            assert!(case.send(EVERY_BYTES as usize) && !case.holds_after(500));
            case.answer();
        }
    }

    #[test]
    fn nobody_is_late_because_he_is_not_listened_to() {
        let mut case = Case::new();
        case.round(1);
        case.now_ns += 100 * MS;
        assert!(case.send(EVERY_BYTES as usize));
        case.pong.listen(None);
        assert!(!case.holds_after(500));
        case.pong.listen(Some(case.now_ns));
        case.pong.listen(Some(case.now_ns + 20 * MS));
        assert!(!case.holds_after(20));
        case.answer();
        // How long its way is cannot be told from that: it may have lain there.
        assert!(!case.probe.is_late() && case.probe.way_ns as u64 == MS);
    }
}
