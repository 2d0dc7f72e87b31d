//! What one bar costs each indicator with its defaults: `update` of a closed one, `peek` of a forming one.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use tickfan::market::indicator::{Bar, DEFINITIONS, Indicator, IndicatorId};

/// A walk of four sessions.
fn bars() -> Vec<Bar> {
    let mut random = 1u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((random >> 33) % below) as f64
    };
    let mut close = 2400.0;
    let bar = |index: i64| {
        let open = close;
        close = open + (draw(41) - 20.0) * 0.05;
        let high = f64::max(open, close) + draw(10) * 0.05;
        let low = f64::min(open, close) - draw(10) * 0.05;
        Bar { start: index * 60, open, high, low, close, volume: draw(5000), session: index / 375 }
    };
    (0..1500).map(bar).collect()
}

fn indicators(criterion: &mut Criterion) {
    let bars = bars();
    for definition in &DEFINITIONS {
        let id = IndicatorId::of(definition.name);
        let mut indicator = Indicator::new(&id);
        for bar in &bars {
            indicator.update(bar);
        }
        let mut forming = bars.iter().cycle();
        criterion.bench_function(&format!("peek/{id}"), |bencher| {
            bencher.iter(|| indicator.peek(black_box(forming.next().unwrap_or(&bars[0]))));
        });
        criterion.bench_function(&format!("update/{id}"), |bencher| {
            bencher.iter(|| indicator.update(black_box(forming.next().unwrap_or(&bars[0]))));
        });
    }
}

criterion_group! {
    name = benches;
    // Many and all alike: short runs tell enough.
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    targets = indicators
}
criterion_main!(benches);
