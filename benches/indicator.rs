//! What one bar costs each indicator with its defaults: `update` of a closed one, `peek` of a forming one.

#[path = "support/bars.rs"]
mod bars;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use tickfan::market::indicator::{DEFINITIONS, Indicator, IndicatorId};

fn indicators(criterion: &mut Criterion) {
    let bars = bars::bars();
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
