//! How long to wait before the next attempt.

use std::time::Duration;

/// Doubling waits with full jitter: a wait is drawn from nothing up to a bound that doubles from `first` to `most`, so
/// that gateways that lost Kite together do not come back together. An upstream that cannot be reached mostly comes back
/// within seconds, so the first attempts to reach it are made at the first bound.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    bound: Duration,
    /// Attempts in a row that did not reach the other side.
    unreached: u32,
}

/// So many of those are made at the first bound: about ten seconds.
const QUICK: u32 = 20;

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, bound: first, unreached: 0 }
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let bound = self.bound.min(self.most);
        self.bound = bound.saturating_mul(2);
        bound.mul_f64(rand::random::<f64>())
    }

    /// The next wait after an attempt that did not reach the other side, and so cost it nothing.
    pub(super) fn next_unreached(&mut self) -> Duration {
        self.unreached += 1;
        if self.unreached > QUICK { self.next() } else { self.first.mul_f64(rand::random::<f64>()) }
    }

    /// After a good connection.
    pub(super) fn reset(&mut self) {
        self.bound = self.first;
        self.unreached = 0;
    }
}

/// `wait` and up to a tenth more: for waits that may be longer, never shorter.
pub(super) fn at_least(wait: Duration) -> Duration {
    wait + wait.mul_f64(rand::random::<f64>() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_bound_that_doubles() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..100 {
            for bound in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
                assert!(backoff.next() <= Duration::from_secs(bound));
            }
            backoff.reset();
        }
    }

    #[test]
    fn who_is_not_reached_is_tried_soon_again_for_a_while() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(60));
        for _ in 0..2 {
            assert!((0..QUICK).all(|_| backoff.next_unreached() <= Duration::from_millis(10)));
            assert!((0..12).map(|_| backoff.next_unreached()).any(|wait| wait > Duration::from_secs(1)));
            backoff.reset();
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let mut backoff = Backoff::new(Duration::from_secs(8), Duration::from_secs(8));
        let waits: Vec<Duration> = (0..200).map(|_| backoff.next()).collect();
        assert!(waits.iter().any(|wait| *wait < Duration::from_secs(2)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(6)));
    }
}
