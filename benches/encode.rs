//! Stop 7: a tick becomes a message.
//!
//! Each encoding that somebody wants is written once per tick, however many want it. A regression is paid at most nine
//! times a tick; it shows in every subscriber's latency, since the first is offered the update after the last encoding
//! is written.

#[path = "support/ticks.rs"]
#[expect(dead_code, reason = "other benches take the rest")]
mod ticks;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::fmt::Write;
use std::hint::black_box;
use tickfan::fanout::update::Update;
use tickfan::kite::packet;
use tickfan::market::{Level, Mode, Tick};
use tickfan::wire::encoding::EncodingSet;
use tickfan::wire::{Encoding, push};

/// The time of arrival.
const UNIX_NS: u64 = 1_762_257_930_120_000_000;

/// The message of mode full as one would write it without this project's writer. The same fields, floats and all.
fn formatted(out: &mut String, tick: &Tick) {
    let rupees = |price: i32| f64::from(price) / 100.0;
    let levels = |out: &mut String, levels: &[Level]| {
        for (at, level) in levels.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let (quantity, price, orders) = (level.quantity, rupees(level.price), level.orders);
            let _ = write!(out, "{comma}{{\"quantity\":{quantity},\"price\":{price},\"orders\":{orders}}}");
        }
    };
    let _ = write!(
        out,
        "{{\"type\":\"tick\",\"token\":\"{}\",\"price\":{},\"timestamp\":{},\"volume_traded\":{},\"last_price\":{},\
         \"mode\":\"full\",\"tradable\":{},\"last_traded_quantity\":{},\"average_traded_price\":{},\
         \"total_buy_quantity\":{},\"total_sell_quantity\":{},\"ohlc\":{{\"open\":{},\"high\":{},\"low\":{},\
         \"close\":{}}},\"change\":{},\"last_trade_time\":{},\"oi\":{},\"oi_day_high\":{},\"oi_day_low\":{},\
         \"exchange_timestamp\":{},\"depth\":{{\"buy\":[",
        tick.token,
        rupees(tick.last_price),
        f64::from(tick.exchange_timestamp),
        tick.volume_traded,
        rupees(tick.last_price),
        tick.token.segment().tradable(),
        tick.last_traded_quantity,
        rupees(tick.average_traded_price),
        tick.total_buy_quantity,
        tick.total_sell_quantity,
        rupees(tick.ohlc.open),
        rupees(tick.ohlc.high),
        rupees(tick.ohlc.low),
        rupees(tick.ohlc.close),
        tick.change_percent(),
        tick.last_trade_time,
        tick.oi,
        tick.oi_day_high,
        tick.oi_day_low,
        tick.exchange_timestamp,
    );
    levels(out, &tick.depth.buy);
    out.push_str("],\"sell\":[");
    levels(out, &tick.depth.sell);
    out.push_str("]}}");
}

fn encodings(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let tick = ticks::ticks(1, None)[0];
    let mut packet = Vec::new();
    packet::encode(&tick, &mut packet);
    let mut out = Vec::with_capacity(4_096);
    for encoding in Encoding::all() {
        out.clear();
        let length = push::tick_frame(&mut out, encoding, &tick, &packet, UNIX_NS, false).frame().len();
        group.throughput(Throughput::Bytes(length as u64));
        let name = format!("{} {}", encoding.format.name(), encoding.mode.name());
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                black_box(push::tick_frame(&mut out, encoding, black_box(&tick), black_box(&packet), UNIX_NS, false))
            });
        });
    }
    let mut text = String::with_capacity(4_096);
    formatted(&mut text, &tick);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("baseline: format! of json full", |b| {
        b.iter(|| {
            text.clear();
            formatted(&mut text, black_box(&tick));
            black_box(text.len())
        });
    });
    group.finish();
}

fn updates(c: &mut Criterion) {
    let mut group = c.benchmark_group("update");
    group.throughput(Throughput::Elements(1));
    let mut all = EncodingSet::default();
    Encoding::all().for_each(|encoding| all.insert(encoding));
    let mut full = EncodingSet::default();
    Encoding::all().filter(|encoding| encoding.mode == Mode::Full).for_each(|encoding| full.insert(encoding));
    let mut update = Update::default();
    update.tick = ticks::ticks(1, None)[0];
    let mut packet = Vec::new();
    packet::encode(&update.tick, &mut packet);
    group.bench_function("all formats of mode full", |b| {
        b.iter(|| black_box(update.encode(black_box(full), black_box(&packet))));
    });
    group.bench_function("all nine encodings", |b| {
        b.iter(|| black_box(update.encode(black_box(all), black_box(&packet))))
    });
    group.finish();
}

criterion_group!(benches, encodings, updates);
criterion_main!(benches);
