//! Stops 2 to 5 together: a message with one full tick, published to its subscribers.
//!
//! The part that grows with the number of subscribers is what limits how many tabs one core can serve, before a single
//! byte is written. The target is 40 ns per subscriber at 100; a regression comes off the capacity of the gateway one to
//! one. The part that does not grow (no subscriber) is what an instrument costs that nobody looks at.

#[path = "../tests/support/plane.rs"]
#[expect(dead_code, reason = "other benches take the rest")]
mod plane;
#[path = "support/ticks.rs"]
#[expect(dead_code, reason = "other benches take the rest")]
mod ticks;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plane::{RING, inbox};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickfan::clock::Clock;
use tickfan::fanout::board::Board;
use tickfan::fanout::port::Port;
use tickfan::fanout::publisher::Publisher;
use tickfan::fanout::slot::Inbox;
use tickfan::market::Mode;
use tickfan::stats::Collector;
use tickfan::wire::{Encoding, Format};

/// Ticks that fit a ring, so that nothing is conflated.
const ROUND: usize = RING / 2;

struct Bench {
    publisher: Publisher,
    inboxes: Vec<Arc<Inbox>>,
    port: Arc<Port>,
    /// One full tick each, all of one instrument.
    messages: Vec<Vec<u8>>,
}

impl Bench {
    fn new(subscribers: usize, format: Format) -> Self {
        let board = Board::new(|| {});
        let port = Arc::new(Port::new(subscribers));
        board.reserve(&[ticks::SHARE]);
        let encoding = Encoding { format, mode: Mode::Full };
        let inboxes: Vec<_> = (0..subscribers)
            .map(|key| {
                let inbox = inbox(RING, key as u32, &port);
                board.subscribe(&inbox, &[ticks::SHARE], encoding);
                inbox
            })
            .collect();
        let publisher = Publisher::new(&board, Clock::system(), Arc::default(), Collector::default().recorder());
        let ticks = ticks::ticks(ROUND, Some(ticks::SHARE));
        let messages = ticks.iter().map(|tick| ticks::message(std::slice::from_ref(tick))).collect();
        Self { publisher, inboxes, port, messages }
    }

    fn publish(&mut self) {
        for message in &self.messages {
            self.publisher.message(message, 0);
        }
    }

    /// What a writer does with the rings, without the writing.
    fn drain(&self) {
        while let Some(key) = self.port.pop() {
            let ring = &self.inboxes[key as usize].ring;
            ring.begin();
            assert!(!ring.take_behind());
            while ring.take().is_some() {}
        }
    }

    /// The time of `rounds` of messages, per message; with or without the draining.
    fn time(&mut self, messages: u64, draining: bool) -> Duration {
        let mut time = Duration::ZERO;
        let rounds = messages.div_ceil(ROUND as u64);
        for _ in 0..rounds {
            let start = Instant::now();
            self.publish();
            if draining {
                self.drain();
                time += start.elapsed();
            } else {
                time += start.elapsed();
                self.drain();
            }
        }
        time.mul_f64(messages as f64 / (rounds * ROUND as u64) as f64)
    }
}

fn fanout(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish and take out");
    for subscribers in [0, 1, 10, 100, 1_000] {
        group.throughput(Throughput::Elements(subscribers.max(1)));
        let mut bench = Bench::new(subscribers as usize, Format::Json);
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|messages| bench.time(messages, true));
        });
    }
    group.throughput(Throughput::Elements(100));
    let mut bench = Bench::new(100, Format::Kite);
    group.bench_function("100 of Kite's protocol", |b| b.iter_custom(|messages| bench.time(messages, true)));
    group.finish();
    let mut group = c.benchmark_group("publish alone");
    for subscribers in [1, 100, 1_000] {
        group.throughput(Throughput::Elements(subscribers));
        let mut bench = Bench::new(subscribers as usize, Format::Json);
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|messages| bench.time(messages, false));
        });
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
