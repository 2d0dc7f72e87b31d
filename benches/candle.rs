//! What a tick costs until it is in its bars.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tickfan::market::calendar::{Calendar, Date, SegmentKind};
use tickfan::market::candle::{Bars, CandleBuilder, Trades, TradesOptions};
use tickfan::market::{InstrumentToken, Mode, Ohlc, Tick, Timeframe};

const TICKS: u32 = 10_000;

/// Four packets a second from the open on, every other one with a trade.
fn ticks() -> Vec<(Tick, u64)> {
    let open = "2026-07-24".parse::<Date>().map_or(0, Date::midnight) + 9 * 3_600 + 15 * 60;
    let tick = |number: u32| {
        let time = open as u32 + number / 4;
        let price = 100_000 + (number % 97) as i32;
        let tick = Tick {
            mode: Mode::Full,
            volume_traded: number / 2,
            last_trade_time: time,
            exchange_timestamp: time,
            ohlc: Ohlc { open: 100_000, high: 100_100, low: 99_990, close: 99_000 },
            ..Tick::ltp(InstrumentToken(408_065), price)
        };
        (tick, u64::from(time) * 1_000_000_000 + u64::from(number % 4) * 250_000_000)
    };
    (0..TICKS).map(tick).collect()
}

fn candle(criterion: &mut Criterion) {
    let Ok(calendar) = Calendar::built_in() else { return };
    let ticks = ticks();
    let mut group = criterion.benchmark_group("candle");
    group.throughput(criterion::Throughput::Elements(u64::from(TICKS)));
    for (name, timeframes) in
        [("1 timeframe", &[Timeframe::Min1][..]), ("3 timeframes", &[Timeframe::Min1, Timeframe::Min5, Timeframe::Day])]
    {
        let start = || {
            let mut bars = Bars::new(Trades::new(SegmentKind::Cash, TradesOptions::default()));
            timeframes.iter().for_each(|&timeframe| bars.add(CandleBuilder::new(timeframe)));
            bars
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                start,
                |bars| {
                    for (tick, received_ns) in &ticks {
                        if bars.due().is_some_and(|due_ns| due_ns <= *received_ns) {
                            bars.close_due(*received_ns, |_, bar| {
                                black_box(bar);
                            });
                        }
                        bars.on_tick(black_box(tick), *received_ns, &calendar, |builder, _| {
                            black_box(builder.forming());
                        });
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, candle);
criterion_main!(benches);
