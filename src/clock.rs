//! The only place that reads a clock. Tests give one that they move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic nanoseconds since the program's start, and what they are in wall time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    /// Unix nanoseconds at monotonic 0. Re-read by [`Clock::sync`], since the wall clock may be set while we run.
    wall_offset_ns: AtomicI64,
}

#[derive(Debug)]
enum Source {
    System(Instant),
    /// Tests: nanoseconds, moved by hand, and by so much with each reading.
    Manual(AtomicU64, u64),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        let clock = Self(Arc::new(Inner { source: Source::System(Instant::now()), wall_offset_ns: AtomicI64::new(0) }));
        clock.sync();
        clock
    }

    /// A clock that stands at 0 until it is moved, with `unix_ns` as its wall time then.
    pub fn manual(unix_ns: u64) -> Self {
        Self::stepping(unix_ns, Duration::ZERO)
    }

    /// The same, but whoever reads it moves it on by `step`, as if what he does took time.
    pub fn stepping(unix_ns: u64, step: Duration) -> Self {
        let source = Source::Manual(AtomicU64::new(0), step.as_nanos() as u64);
        Self(Arc::new(Inner { source, wall_offset_ns: AtomicI64::new(unix_ns.cast_signed()) }))
    }

    /// Monotonic nanoseconds. Any thread; about 25 ns.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        match &self.0.source {
            Source::System(start) => start.elapsed().as_nanos() as u64,
            Source::Manual(now, step) => now.fetch_add(*step, Ordering::Relaxed),
        }
    }

    /// Unix nanoseconds of a monotonic time of this clock.
    #[inline]
    pub fn unix_ns(&self, monotonic_ns: u64) -> u64 {
        self.0.wall_offset_ns.load(Ordering::Relaxed).wrapping_add_unsigned(monotonic_ns).cast_unsigned()
    }

    /// Unix seconds now, for replies.
    pub fn unix_seconds(&self) -> f64 {
        self.unix_ns(self.now_ns()) as f64 / 1e9
    }

    /// Takes over a changed wall clock. Control side, about once a second.
    pub fn sync(&self) {
        if let Source::System(start) = &self.0.source {
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i64;
            self.0.wall_offset_ns.store(unix - start.elapsed().as_nanos() as i64, Ordering::Relaxed);
        }
    }

    /// Moves a manual clock on; a system clock moves itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now, _) = &self.0.source {
            now.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// Sets the wall time of a manual clock on or back by so many nanoseconds, as an operator might; monotonic time goes
    /// on as before.
    pub fn step_wall(&self, by_ns: i64) {
        if let Source::Manual(..) = &self.0.source {
            self.0.wall_offset_ns.fetch_add(by_ns, Ordering::Relaxed);
        }
    }
}

/// The time of the market as its feed tells it: that of a tape's records. A live feed tells none, then it is the wall
/// clock's. Candles close by it, so a tape gives the same candles at any speed.
#[derive(Clone, Debug, Default)]
pub struct MarketTime(Arc<AtomicU64>);

impl MarketTime {
    /// Says, before a message is handed out, what time it is in it; Unix nanoseconds. Never goes back.
    /// **Thread**: the feed's.
    pub fn tell(&self, unix_ns: u64) {
        // Release: who reads this time finds in its queue every tick from before it.
        self.0.store(unix_ns.max(self.0.load(Ordering::Relaxed)), Ordering::Release);
    }

    /// What was told last. Any thread.
    #[inline]
    pub fn told(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|told| *told != 0)
    }
}
