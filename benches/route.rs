//! The whole way on one thread: a message in, the bytes in 100 real loopback sockets.
//!
//! Almost all of it is the operating system's `send`, once per tab and cycle; a regression here that the other benches
//! do not show means more write calls, or more work around each. The other ends are read between two cycles and off the
//! clock, in the same thread: a thread of its own would take turns with this one on a pinned core.

#[path = "../tests/support/plane.rs"]
#[expect(dead_code, reason = "other benches take the rest")]
mod plane;
#[path = "support/round.rs"]
mod round;
#[path = "support/ticks.rs"]
#[expect(dead_code, reason = "other benches take the rest")]
mod ticks;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plane::Plane;
use round::Round;
use std::time::{Duration, Instant};
use tickfan::clock::Clock;
use tickfan::market::Mode;
use tickfan::wire::{Encoding, Format};

/// Tabs, all subscribed to the one instrument.
const TABS: u64 = 100;

fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    group.sample_size(30);
    for (ticks_each, mode) in [(1, Mode::Quote), (1, Mode::Full), (16, Mode::Quote), (16, Mode::Full)] {
        let mut plane = Plane::new(Box::new(Round::new(ticks_each)), &Clock::system());
        for _ in 0..TABS {
            plane.open(&[ticks::SHARE], Encoding { format: Format::Json, mode }, 0);
        }
        for _ in 0..100 {
            plane.duty.cycle();
            plane.drain();
        }
        group.throughput(Throughput::Elements(TABS * ticks_each as u64));
        let name = format!("{ticks_each} ticks a message");
        group.bench_function(BenchmarkId::new(name, mode.name()), |b| {
            b.iter_custom(|cycles| {
                let mut time = Duration::ZERO;
                for _ in 0..cycles {
                    let start = Instant::now();
                    plane.duty.cycle();
                    time += start.elapsed();
                    plane.drain();
                }
                time
            });
        });
        assert_eq!(plane.writer_counters.blocked_writes.get(), 0, "the other ends were read too slowly");
    }
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
