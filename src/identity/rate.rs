//! Rates in one number: the generic cell rate algorithm.
//!
//! The number is the time at which the past would have been spread evenly; it runs ahead of the clock by what was spent
//! in advance, and may do so by the burst.

use std::sync::atomic::{AtomicU64, Ordering};

/// A rate and the burst above it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Nanoseconds each costs; 0 for no limit.
    interval_ns: u64,
    /// How far ahead one may spend, nanoseconds.
    burst_ns: u64,
}

impl Rate {
    /// So many a second, and `burst` of them at once; 0 a second is no limit.
    pub const fn per_second(rate: u32, burst: u32) -> Self {
        let interval_ns = if rate == 0 { 0 } else { 1_000_000_000 / rate as u64 };
        Self { interval_ns, burst_ns: interval_ns * burst as u64 }
    }
}

/// What was spent of a rate. See the module. Belongs to one thread, or stands behind a lock.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Meter(u64);

impl Meter {
    /// Spends one if there is one left, at a monotonic time.
    pub const fn take(&mut self, rate: Rate, now_ns: u64) -> bool {
        if self.is_spent(rate, now_ns) {
            return false;
        }
        self.charge(rate, now_ns);
        true
    }

    /// Spends one whether there is one left or not: what is spent beyond the burst is made up for by waiting.
    pub const fn charge(&mut self, rate: Rate, now_ns: u64) {
        self.0 = if self.0 > now_ns { self.0 } else { now_ns } + rate.interval_ns;
    }

    /// Whether none is left.
    pub const fn is_spent(&self, rate: Rate, now_ns: u64) -> bool {
        self.0.saturating_sub(now_ns) + rate.interval_ns > rate.burst_ns && rate.interval_ns > 0
    }

    /// Whether everything has been given back, so that it need not be remembered.
    pub const fn is_full(&self, now_ns: u64) -> bool {
        self.0 <= now_ns
    }
}

/// A [`Meter`] of any number of threads, which take no lock.
#[derive(Default, Debug)]
pub struct SharedMeter(AtomicU64);

impl SharedMeter {
    /// As [`Meter::take`].
    pub fn take(&self, rate: Rate, now_ns: u64) -> bool {
        let spend = |spent| {
            let mut meter = Meter(spent);
            meter.take(rate, now_ns).then_some(meter.0)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::per_second(10, 5);
        let mut meter = Meter::default();
        let now = 7_000_000_000;
        assert_eq!((0..100).filter(|_| meter.take(rate, now)).count(), 5);
        assert_eq!((0..100).filter(|_| meter.take(rate, now + 99_999_999)).count(), 0);
        assert_eq!((0..100).filter(|_| meter.take(rate, now + 100_000_000)).count(), 1);
        assert!(!meter.is_full(now + 500_000_000) && meter.is_full(now + 600_000_000));
        // A second later the burst is whole again, and no more than that.
        assert_eq!((0..100).filter(|_| meter.take(rate, now + 9_000_000_000)).count(), 5);
        let free = Rate::per_second(0, 0);
        assert_eq!((0..100).filter(|_| meter.take(free, now)).count(), 100);
    }

    #[test]
    fn what_was_spent_beyond_the_burst_is_made_up_for() {
        let (rate, mut meter) = (Rate::per_second(10, 5), Meter::default());
        (0..25).for_each(|_| meter.charge(rate, 0));
        assert!(meter.is_spent(rate, 2_000_000_000) && !meter.is_spent(rate, 2_100_000_000));
    }

    #[test]
    fn threads_share_one_burst() {
        let (rate, meter) = (Rate::per_second(10, 10), SharedMeter::default());
        let taken = |now_ns| {
            std::thread::scope(|scope| {
                let takers: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| (0..25).filter(|_| meter.take(rate, now_ns)).count())).collect();
                takers.into_iter().map(|taker| taker.join().unwrap()).sum::<usize>()
            })
        };
        assert_eq!(taken(5_000_000_000), 10);
        assert_eq!(taken(5_099_999_999), 0);
        assert_eq!(taken(5_100_000_000), 1);
        assert_eq!((0..100).filter(|_| SharedMeter::default().take(Rate::per_second(0, 0), 1)).count(), 100);
    }
}
