//! The embedded market: a synthetic day without end, for whoever has no token, no network, or needs a load.
//!
//! Prices walk, books breathe, volumes grow; nothing of it is real but the names and tokens. Everything follows from a
//! seed and the times given to [`Feed::poll`], so a run can be repeated byte for byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Feed;
use crate::kite::packet::MessageBuilder;
use crate::market::InstrumentToken;
use activity::Activity;
use arrivals::Arrivals;
use book::Book;
use random::Random;

mod activity;
mod arrivals;
mod book;
mod random;
mod table;
#[cfg(test)]
mod tests;
mod universe;

pub use arrivals::Shape;
pub use universe::{Listing, MAX_INSTRUMENTS, built_in, built_in_count, listings};

/// The fastest market on offer, ticks per second.
pub const MAX_RATE: u32 = 100_000;

/// Packets per message at most; a Kite frame at a busy moment.
const MESSAGE_PACKETS: u16 = 200;

/// What is further behind than this is not made up for.
const BACKLOG_NS: u64 = 2_000_000_000;

/// Above this many ticks per second the duty cycle may sleep [`NAP_NS`] instead of waking for each tick.
const BUSY_RATE: u32 = 1_000;
const NAP_NS: u64 = 1_000_000;

/// From one day to the next.
const DAY_S: u32 = 86_400;

/// What the market is like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MarketOptions {
    /// Ticks per second over all instruments, 1 to [`MAX_RATE`]; 500 by default.
    pub rate: u32,
    /// How many instruments, 1 to [`MAX_INSTRUMENTS`]; the built-in ones by default.
    pub instruments: usize,
    /// The same seed gives the same market.
    pub seed: u64,
    /// How the rate changes with time.
    pub shape: Shape,
    /// What the exchange's clock shows at the first poll, epoch seconds.
    pub start_epoch_s: u32,
}

impl MarketOptions {
    /// The defaults, beginning at `start_epoch_s`.
    pub fn new(start_epoch_s: u32) -> Self {
        Self { rate: 500, instruments: built_in_count(), seed: 1, shape: Shape::Steady, start_epoch_s }
    }
}

/// Why there is no such market.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MarketError {
    /// [`MarketOptions::rate`] is out of range.
    #[error("a rate of {0} ticks per second is not within 1 to {MAX_RATE}")]
    Rate(u32),
    /// [`MarketOptions::instruments`] is out of range.
    #[error("{0} instruments are not within 1 to {MAX_INSTRUMENTS}")]
    Instruments(usize),
}

/// What has happened; written by the feed's thread, readable from any.
#[derive(Debug, Default)]
pub struct MarketCounters {
    ticks: AtomicU64,
    skipped: AtomicU64,
}

impl MarketCounters {
    /// Ticks sent.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Ticks never made because the feed was polled too late, by expectation: not the market's fault but the machine's.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// One writer only, so no atomic addition is needed.
    fn add(counter: &AtomicU64, count: u64) {
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

/// The embedded market as a feed.
#[derive(Debug)]
pub struct MarketFeed {
    options: MarketOptions,
    books: Vec<Book>,
    activity: Activity,
    arrivals: Arrivals,
    random: Random,
    builder: MessageBuilder,
    clock: Option<Clock>,
    counters: Arc<MarketCounters>,
}

/// Times of the caller's clock, nanoseconds; known from the first poll on.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// The first poll.
    start_ns: u64,
    /// When the next tick happens.
    next_ns: u64,
    /// Do not wake the duty cycle before.
    nap_until_ns: u64,
}

impl MarketFeed {
    /// Sets the market up; it opens with the first poll.
    ///
    /// # Errors
    /// When an option is out of its range.
    pub fn new(options: MarketOptions) -> Result<Self, MarketError> {
        if !(1..=MAX_RATE).contains(&options.rate) {
            return Err(MarketError::Rate(options.rate));
        }
        if !(1..=MAX_INSTRUMENTS).contains(&options.instruments) {
            return Err(MarketError::Instruments(options.instruments));
        }
        let members = universe::members(options.instruments);
        let mut random = Random::new(options.seed);
        let books = members.iter().map(|member| Book::new(member, options.start_epoch_s, &mut random)).collect();
        let weights: Vec<f64> = members.iter().map(|member| member.weight).collect();
        Ok(Self {
            books,
            activity: Activity::new(&weights),
            arrivals: Arrivals::new(options.rate, options.shape),
            random,
            builder: MessageBuilder::default(),
            clock: None,
            counters: Arc::default(),
            options,
        })
    }

    /// A handle for any thread that wants to show what has happened.
    pub fn counters(&self) -> Arc<MarketCounters> {
        Arc::clone(&self.counters)
    }

    /// Begins the next day at `now_ns`: volume, day prices and open interest's range start afresh, the exchange's clock
    /// jumps by 24 hours, and the next poll sends every instrument.
    pub fn begin_day(&mut self, now_ns: u64) {
        let elapsed_s = self.clock.map_or(0, |clock| now_ns.saturating_sub(clock.start_ns) / 1_000_000_000);
        self.options.start_epoch_s = self.options.start_epoch_s.wrapping_add(elapsed_s as u32).wrapping_add(DAY_S);
        for book in &mut self.books {
            book.begin_day(self.options.start_epoch_s, &mut self.random);
        }
        self.clock = None;
    }

    /// One packet for every instrument, so that nobody waits for a quiet one. Regardless of the budget: it is once.
    fn open(&mut self, now_ns: u64, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut messages = 0;
        for chunk in self.books.chunks(usize::from(MESSAGE_PACKETS)) {
            for book in chunk {
                self.builder.push(book.tick());
            }
            sink(self.builder.take());
            messages += 1;
        }
        MarketCounters::add(&self.counters.ticks, self.books.len() as u64);
        let next_ns = now_ns + self.arrivals.gap_ns(0, &mut self.random);
        self.clock = Some(Clock { start_ns: now_ns, next_ns, nap_until_ns: self.nap_until_ns(now_ns) });
        messages
    }

    fn nap_until_ns(&self, now_ns: u64) -> u64 {
        if self.options.rate > BUSY_RATE { now_ns + NAP_NS } else { 0 }
    }

    /// Drops what should have happened more than [`BACKLOG_NS`] ago.
    fn skip_backlog(&self, clock: &mut Clock, now_ns: u64) {
        let from_ns = now_ns.saturating_sub(BACKLOG_NS);
        if clock.next_ns < from_ns {
            let expected = self.arrivals.rate_at(clock.next_ns - clock.start_ns) * (from_ns - clock.next_ns) as f64;
            MarketCounters::add(&self.counters.skipped, expected.round() as u64);
            clock.next_ns = from_ns;
        }
    }
}

impl Feed for MarketFeed {
    fn name(&self) -> &'static str {
        "market"
    }

    fn universe(&self) -> Vec<InstrumentToken> {
        self.books.iter().map(|book| book.tick().token).collect()
    }

    fn poll(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let Some(mut clock) = self.clock else { return self.open(now_ns, sink) };
        self.skip_backlog(&mut clock, now_ns);
        let (mut messages, mut ticks) = (0, 0);
        while clock.next_ns <= now_ns && ticks < budget {
            let offset_ns = clock.next_ns - clock.start_ns;
            let epoch_s = self.options.start_epoch_s.wrapping_add((offset_ns / 1_000_000_000) as u32);
            let instrument = self.activity.next(&mut self.random);
            self.builder.push(self.books[instrument].next(epoch_s, &mut self.random));
            ticks += 1;
            if self.builder.count() == MESSAGE_PACKETS {
                sink(self.builder.take());
                messages += 1;
            }
            clock.next_ns += self.arrivals.gap_ns(offset_ns, &mut self.random);
        }
        if self.builder.count() > 0 {
            sink(self.builder.take());
            messages += 1;
        }
        // With ticks left over there is no time for a nap.
        clock.nap_until_ns = if clock.next_ns <= now_ns { 0 } else { self.nap_until_ns(now_ns) };
        self.clock = Some(clock);
        MarketCounters::add(&self.counters.ticks, ticks as u64);
        messages
    }

    fn due_ns(&self) -> Option<u64> {
        Some(self.clock.map_or(0, |clock| clock.next_ns.max(clock.nap_until_ns)))
    }
}
