//! A tick allocates nothing.
//!
//! Counted is every allocation and reallocation, of any size, that the calling thread makes, by a global allocator that
//! counts per thread. Not counted is the warm-up before: pools, rings, maps and buffers grow to what a busy day needs, and
//! stay. What may allocate while a gateway runs is left out on purpose: subscriptions, replies, heartbeats, the notice of
//! conflation once a second, and what is kept for a tab whose socket is full.

#[path = "support/plane.rs"]
mod plane;

use allocation_counter::measure;
use plane::{Plane, RING, inbox};
use std::sync::Arc;
use std::time::Duration;
use tickfan::clock::Clock;
use tickfan::fanout::board::Board;
use tickfan::fanout::port::Port;
use tickfan::fanout::publisher::Publisher;
use tickfan::fanout::slot::Inbox;
use tickfan::feed::Feed;
use tickfan::feed::market::{MAX_RATE, MarketFeed, MarketOptions};
use tickfan::market::{InstrumentToken, Mode};
use tickfan::stats::{Collector, FeedCounters};
use tickfan::wire::{Encoding, Format};

/// Ticks counted.
const TICKS: u64 = 100_000;
/// Ticks before.
const WARM_UP: u64 = 100_000;
/// Of these, polls that find more due than one poll may take: then as many updates are under way as ever will be.
const BURSTS: u32 = 50;
/// Packets in one poll of the feed: the duty cycle's.
const BUDGET: usize = 128;
/// Time from one poll to the next; about a hundred ticks of the fastest market.
const STEP: Duration = Duration::from_millis(1);

fn market() -> MarketFeed {
    MarketFeed::new(MarketOptions { rate: MAX_RATE, ..MarketOptions::new(1_762_257_900) }).unwrap()
}

fn encoding(format: Format, mode: Mode) -> Encoding {
    Encoding { format, mode }
}

/// The feed's side, and readers that only take out what was put in.
struct Bench {
    clock: Clock,
    feed: MarketFeed,
    publisher: Publisher,
    counters: Arc<FeedCounters>,
    port: Arc<Port>,
    read: Vec<Arc<Inbox>>,
}

impl Bench {
    /// Subscribers in every encoding that are read, and one that is not, whose ring is always full. Some instruments
    /// have no subscriber, one has not even a slot.
    fn new() -> Self {
        let (clock, feed) = (Clock::manual(1_762_257_900_000_000_000), market());
        let (board, port) = (Board::new(|| {}), Arc::new(Port::new(16)));
        let tokens: Vec<InstrumentToken> = feed.universe();
        let (_unknown, known) = tokens.split_first().unwrap();
        board.reserve(known);
        let (_unsubscribed, wanted) = known.split_at(5);
        let mut read = Vec::new();
        for (key, encoding) in Encoding::all().enumerate() {
            let inbox = inbox(RING, key as u32, &port);
            board.subscribe(&inbox, wanted, encoding);
            read.push(inbox);
        }
        let unread = inbox(RING, read.len() as u32, &port);
        board.subscribe(&unread, wanted, encoding(Format::Json, Mode::Full));
        let counters = Arc::<FeedCounters>::default();
        let recorder = Collector::default().recorder();
        let publisher = Publisher::new(&board, clock.clone(), Arc::clone(&counters), recorder);
        Self { clock, feed, publisher, counters, port, read }
    }

    /// Publishes that many ticks and takes out what the readers were given.
    fn run(&mut self, ticks: u64) {
        let end = self.counters.ticks.get() + ticks;
        while self.counters.ticks.get() < end {
            self.clock.advance(STEP);
            let (now_ns, publisher) = (self.clock.now_ns(), &mut self.publisher);
            self.feed.poll(now_ns, BUDGET, &mut |message| publisher.message(message, now_ns));
            publisher.exchange(now_ns);
            while let Some(key) = self.port.pop() {
                let Some(inbox) = self.read.get(key as usize) else { continue };
                inbox.ring.begin();
                assert!(!inbox.ring.take_behind());
                while inbox.ring.take().is_some() {}
            }
        }
    }
}

#[test]
fn publishing_allocates_nothing() {
    let mut bench = Bench::new();
    bench.run(1);
    bench.clock.advance(STEP * 2 * BURSTS);
    bench.run(WARM_UP);
    let before = bench.counters.updates_allocated.get();
    let counted = measure(|| bench.run(TICKS));
    let counters = &bench.counters;
    for busy in [&counters.queued, &counters.conflated, &counters.unsubscribed_ticks, &counters.unwanted_packets] {
        assert!(busy.get() > 1_000, "the bench leaves something out: {counters:?}");
    }
    assert_eq!(counters.updates_allocated.get() - before, 0);
    assert_eq!((counted.count_total, counted.bytes_total), (0, 0));
}

/// The whole way on one thread, from the feed to the sockets; the other ends are read between two cycles.
fn cycles_allocate_nothing(batch_size: u32) {
    let (clock, feed) = (Clock::manual(1_762_257_900_000_000_000), market());
    let tokens = feed.universe();
    let mut plane = Plane::new(Box::new(feed), &clock);
    for encoding in Encoding::all() {
        plane.open(&tokens, encoding, batch_size);
    }
    plane.open(&tokens[..3], encoding(Format::Json, Mode::Quote), batch_size);
    let (counters, delivered) = (Arc::clone(&plane.feed_counters), Arc::clone(&plane.writer_counters));
    let mut run = |ticks| {
        let end = counters.ticks.get() + ticks;
        while counters.ticks.get() < end {
            clock.advance(STEP);
            plane.duty.cycle();
            plane.drain();
        }
    };
    run(1);
    clock.advance(STEP * 2 * BURSTS);
    run(WARM_UP);
    let before = delivered.delivered.get();
    let counted = measure(|| run(TICKS));
    assert!(delivered.delivered.get() - before > 3 * TICKS, "{delivered:?}");
    assert_eq!(delivered.blocked_writes.get(), 0);
    assert_eq!((counted.count_total, counted.bytes_total), (0, 0));
}

#[test]
fn the_duty_cycle_allocates_nothing() {
    cycles_allocate_nothing(0);
}

#[test]
fn the_duty_cycle_allocates_nothing_in_batches() {
    cycles_allocate_nothing(16);
}
