//! Stops 2 to 5 together: a message with one full tick, published to its subscribers.
//!
//! The part that grows with the number of subscribers is what limits how many tabs one core can serve, before a single
//! byte is written. The target is 40 ns per subscriber at 100; a regression comes off the capacity of the gateway one to
//! one. The part that does not grow (no subscriber) is what an instrument costs that nobody looks at.

#[path = "support/audience.rs"]
mod audience;
#[path = "../tests/support/plane.rs"]
#[expect(dead_code, reason = "other benches take the rest")]
mod plane;
#[path = "support/ticks.rs"]
#[expect(dead_code, reason = "other benches take the rest")]
mod ticks;

use audience::{Audience, ROUND};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use tickfan::clock::Clock;
use tickfan::wire::Format;

/// The time of rounds of messages, per message; with or without the draining.
fn time(audience: &mut Audience, messages: u64, draining: bool) -> Duration {
    let mut time = Duration::ZERO;
    let rounds = messages.div_ceil(ROUND as u64);
    for _ in 0..rounds {
        let start = Instant::now();
        audience.publish();
        if draining {
            audience.drain();
            time += start.elapsed();
        } else {
            time += start.elapsed();
            audience.drain();
        }
    }
    time.mul_f64(messages as f64 / (rounds * ROUND as u64) as f64)
}

fn fanout(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish and take out");
    for subscribers in [0, 1, 10, 100, 1_000] {
        group.throughput(Throughput::Elements(subscribers.max(1)));
        let mut audience = Audience::new(subscribers as usize, Format::Json, Clock::system());
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|messages| time(&mut audience, messages, true));
        });
    }
    group.throughput(Throughput::Elements(100));
    let mut audience = Audience::new(100, Format::Kite, Clock::system());
    group.bench_function("100 of Kite's protocol", |b| b.iter_custom(|messages| time(&mut audience, messages, true)));
    group.finish();
    let mut group = c.benchmark_group("publish alone");
    for subscribers in [1, 100, 1_000] {
        group.throughput(Throughput::Elements(subscribers));
        let mut audience = Audience::new(subscribers as usize, Format::Json, Clock::system());
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter_custom(|messages| time(&mut audience, messages, false));
        });
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
