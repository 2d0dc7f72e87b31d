//! Stop 2: a packet becomes a tick.
//!
//! Every packet of the feed comes by here once, whoever wants it. A regression here lowers how many ticks per second one
//! core can take in, but is paid once per tick and not per subscriber; as long as `full` stays well below 100 ns nobody
//! will notice it in a latency.

#[path = "support/ticks.rs"]
#[expect(dead_code, reason = "other benches take the rest")]
mod ticks;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tickfan::kite::packet::{decode, encode, packets};
use tickfan::market::{Layout, Mode, Tick};

fn kinds(c: &mut Criterion) {
    let mut group = c.benchmark_group("packet");
    group.throughput(Throughput::Elements(1));
    let example = ticks::ticks(1, None)[0];
    let bytes = |tick: &Tick| {
        let mut bytes = Vec::new();
        encode(tick, &mut bytes);
        bytes
    };
    let full = bytes(&example);
    // What the others are to be compared with: a packet that is only handed on.
    group.bench_function("baseline: nothing", |b| b.iter(|| black_box(black_box(&full[..]).len())));
    for (name, mode, layout) in [
        ("ltp (8)", Mode::Ltp, Layout::Tradable),
        ("index quote (28)", Mode::Quote, Layout::Index),
        ("index full (32)", Mode::Full, Layout::Index),
        ("quote (44)", Mode::Quote, Layout::Tradable),
        ("full (184)", Mode::Full, Layout::Tradable),
    ] {
        let packet = bytes(&ticks::shaped(example, mode, layout));
        group.bench_function(name, |b| b.iter(|| black_box(decode(black_box(&packet)))));
    }
    group.bench_function("unknown length (99)", |b| b.iter(|| black_box(decode(black_box(&full[..99])))));
    group.finish();
}

fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("message");
    let ticks = ticks::ticks(100, None);
    let message = ticks::message(&ticks);
    group.throughput(Throughput::Elements(ticks.len() as u64));
    group.bench_function("100 full packets, cut", |b| {
        b.iter(|| packets(black_box(&message)).into_iter().flatten().map(|packet| packet.len()).sum::<usize>());
    });
    group.bench_function("100 full packets, decoded", |b| {
        b.iter(|| {
            for packet in packets(black_box(&message)).into_iter().flatten() {
                let _ = black_box(decode(packet));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, kinds, messages);
criterion_main!(benches);
