//! How much a tab that reads slowly may have unread, and when it gets more.
//!
//! What has been sent grows old while it waits to be read. Where the way is thin, that is as long as there are bytes, so less of
//! them are younger. But where many tabs share a core, it is how often there is something to read at all: to have less in it
//! would only make it more often. What helps there is a pause after each answer, in which what is in the ring is replaced by
//! what is newer. So the first thing that becomes smaller is the amount, then come pauses, and the amount grows again before
//! they become shorter. (For congestion windows of less than a packet, Swift does likewise.)

/// How much longer than its way a tab is to take for what it has unread.
pub const TARGET_NS: u64 = 6_000_000;
/// What it may have unread at first, and at least and most, bytes.
const FIRST_CREDIT: u32 = 16 * 1_024;
const LEAST_CREDIT: u32 = 4 * 1_024;
const MOST_CREDIT: u32 = 1_024 * 1_024;
/// It has this much again before pauses become shorter.
const ENOUGH_CREDIT: u32 = 16 * 1_024;
/// Shorter pauses are none.
const LEAST_PAUSE_NS: u32 = 250_000;
/// Whoever takes longer than this has a thin way, and no pauses: they would not make it quicker.
const LONG_NS: u64 = 50_000_000;

/// See the module. **Thread**: the writer's.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pace {
    /// Until when it has a pause, monotonic.
    paused_until_ns: u64,
    /// How many bytes it may have unread.
    credit: u32,
    /// How long it gets nothing after its answer, nanoseconds. It becomes no longer than answers take, so that a thin way is
    /// used for half of the time at least.
    pause_ns: u32,
}

impl Pace {
    /// Of a tab of which nothing is known but that it is slow.
    pub fn new() -> Self {
        Self { credit: FIRST_CREDIT, ..Self::default() }
    }

    /// How many bytes it may have unread, about.
    pub const fn credit(&self) -> u32 {
        self.credit
    }

    /// Whether that is all it can ever be.
    pub const fn has_most(&self) -> bool {
        self.credit >= MOST_CREDIT
    }

    /// Until when it has a pause, monotonic; a time that has passed if it has none.
    pub const fn paused_until_ns(&self) -> u64 {
        self.paused_until_ns
    }

    /// It is to have as little unread as possible next time.
    pub const fn take_back(&mut self) {
        self.credit = LEAST_CREDIT;
    }

    /// It has answered now, so much later than its way explains; `wanted` if it was waited for.
    pub fn adapt(&mut self, over_ns: u64, wanted: bool, now_ns: u64) {
        if over_ns > TARGET_NS {
            if self.pause_ns == 0 && self.credit > LEAST_CREDIT || over_ns > LONG_NS {
                let fits = u64::from(self.credit) * TARGET_NS / over_ns;
                // At most to half, since what many tabs do at once is felt only later.
                self.credit = (fits as u32).max(self.credit / 2).max(LEAST_CREDIT);
                self.pause_ns = 0;
            } else {
                // As much for each of those that share a core, while they give back a share of it: so they become alike.
                let longer_ns = u64::from(self.pause_ns) + (over_ns - TARGET_NS) / 2;
                self.pause_ns = self.pause_ns.max(longer_ns.min(over_ns) as u32);
            }
        } else if self.pause_ns > 0 && self.credit >= ENOUGH_CREDIT {
            self.pause_ns -= self.pause_ns / 4;
        } else if wanted {
            // So little more that it is felt in time if that is too much, and no more where it was enough.
            self.credit = (self.credit + self.credit / 4).min(MOST_CREDIT);
        }
        if self.pause_ns < LEAST_PAUSE_NS {
            self.pause_ns = 0;
        }
        self.paused_until_ns = now_ns + u64::from(self.pause_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn one_with_a_thin_way_has_as_much_as_it_reads_in_time() {
        for bytes_a_ms in [1_000, 2_000, 20_000] {
            let mut pace = Pace::new();
            for round in 0..60 {
                pace.adapt(u64::from(pace.credit) * MS / bytes_a_ms, true, 0);
                let fits = u32::try_from(bytes_a_ms * TARGET_NS / MS).unwrap();
                assert!(round < 20 || (fits * 9 / 10..=fits * 5 / 4).contains(&pace.credit), "{pace:?} of {fits}");
                assert_eq!(pace.pause_ns, 0);
            }
        }
    }

    #[test]
    fn the_thinnest_way_is_used_for_half_of_the_time() {
        for ms in [7, 20, 49, 51, 500] {
            let mut pace = Pace::new();
            (0..60).for_each(|_| pace.adapt(ms * MS, true, 0));
            assert_eq!(pace.credit, LEAST_CREDIT);
            assert!(u64::from(pace.pause_ns) <= ms * MS && (ms < 50 || pace.pause_ns == 0), "{pace:?}");
        }
    }

    /// A core takes as long for each visit to a tab, however much there is to read, and visits them in the order in which they
    /// were sent something.
    #[test]
    fn those_who_share_a_core_have_pauses_and_become_alike() {
        const VISIT_NS: u64 = 50_000;
        let mut tabs = [(0, Pace::new()); 200];
        let (mut now_ns, mut late, mut visits) = (0, 0, [0_u32; 200]);
        while now_ns < 4_000 * MS {
            let next = (0..tabs.len()).min_by_key(|tab| tabs[*tab].0).unwrap();
            let (sent_ns, pace) = &mut tabs[next];
            now_ns = now_ns.max(*sent_ns) + VISIT_NS;
            let over_ns = now_ns - *sent_ns;
            if now_ns > 2_000 * MS {
                visits[next] += 1;
                late += u32::from(over_ns > TARGET_NS * 3 / 2);
            }
            pace.adapt(over_ns, true, now_ns);
            *sent_ns = pace.paused_until_ns;
        }
        // Without pauses each would wait for 10 ms.
        let all: u32 = visits.iter().sum();
        assert!(all > 35_000 && late < all / 20, "{late} of {all} visits late");
        let (least, most) = (visits.iter().min().unwrap(), visits.iter().max().unwrap());
        assert!(*most < least * 2, "from {least} to {most} visits");
    }

    #[test]
    fn one_that_reads_what_it_gets_may_have_more_and_more() {
        let mut pace = Pace::new();
        (0..8).for_each(|_| pace.adapt(MS, false, 0));
        assert_eq!(pace.credit, FIRST_CREDIT);
        (0..20).for_each(|_| pace.adapt(MS, true, 0));
        assert!(pace.has_most());
    }
}
