//! What a tick costs until it is in its bars.

#[path = "support/trades.rs"]
mod trades;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tickfan::market::Timeframe;
use tickfan::market::calendar::{Calendar, SegmentKind};
use tickfan::market::candle::{Bars, CandleBuilder, Trades, TradesOptions};

const TICKS: u32 = 10_000;

fn candle(criterion: &mut Criterion) {
    let Ok(calendar) = Calendar::built_in() else { return };
    let ticks = trades::trades(TICKS);
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
