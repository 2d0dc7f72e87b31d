//! Stop 5: a session's inbox.
//!
//! One offer and one take are made per tick *and subscriber*, so this is the number that is multiplied by thousands: ten
//! nanoseconds more per offer are ten milliseconds of core time a second at a million deliveries a second.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tickfan::fanout::ring::{Offer, Ring};
use tickfan::fanout::update::Update;

/// The program's default.
const CAPACITY: usize = 256;

fn alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(1));
    let update = Arc::new(Update::default());
    // What the others are to be compared with: the share in the update that each subscriber gets.
    group.bench_function("baseline: clone and drop", |b| b.iter(|| black_box(Arc::clone(&update))));
    let ring = Ring::new(CAPACITY);
    group.bench_function("offer, announce, begin, take", |b| {
        b.iter(|| {
            let offer = ring.offer(Arc::clone(&update));
            black_box(ring.announce());
            ring.begin();
            black_box(ring.take());
            offer
        });
    });
    let full = Ring::new(CAPACITY);
    while full.offer(Arc::clone(&update)) == Offer::Queued {}
    group.bench_function("offer to a full ring", |b| {
        b.iter(|| {
            let offer = full.offer(Arc::clone(&update));
            black_box(full.announce());
            offer
        });
    });
    group.finish();
}

/// The publisher's side while another thread takes. Wants two cores: on one, it shows mostly the scheduler.
fn contended(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(1));
    let update = Arc::new(Update::default());
    let ring = Arc::new(Ring::new(CAPACITY));
    let stop = Arc::new(AtomicBool::new(false));
    let (taken, stopped) = (Arc::clone(&ring), Arc::clone(&stop));
    let taker = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            taken.begin();
            if taken.take_behind() {
                while taken.take().is_some() {}
            }
            while taken.take().is_some() {}
            std::hint::spin_loop();
        }
    });
    group.bench_function(BenchmarkId::new("offer and announce", "another thread takes"), |b| {
        b.iter(|| {
            let offer = ring.offer(Arc::clone(&update));
            black_box(ring.announce());
            offer
        });
    });
    stop.store(true, Ordering::Relaxed);
    let _ = taker.join();
    group.finish();
}

criterion_group!(benches, alone, contended);
criterion_main!(benches);
