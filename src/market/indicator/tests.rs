mod ids;
mod norm;
mod steps;

use super::Bar;
use proptest::prelude::*;

/// Bars of a walk in ticks of 0.05, with stretches without movement, without volume, and several sessions.
pub(super) fn bars(most: usize) -> impl Strategy<Value = Vec<Bar>> {
    // Movement of the four prices in ticks, volume, how many bars alike follow, whether a session begins.
    let step = (-40i64..40, -9i64..9, 0i64..9, 0i64..9, 0u32..5000, 0usize..12, 0u32..30);
    let step =
        step.prop_map(|step| if step.5 < 9 { (step.0, step.1, step.2, step.3, step.4, 0, step.6) } else { step });
    (1i64..200_000, prop::collection::vec(step, 1..most), 2usize..80).prop_map(|(mut price, steps, stretch)| {
        let (mut bars, mut session) = (Vec::new(), 0);
        for (jump, body, above, below, volume, alike, begins) in steps {
            price = (price + jump).max(10);
            session += i64::from(begins == 0);
            let (open, close) = (price, (price + body).max(1));
            let rupees = |ticks: i64| ticks.max(1) as f64 * 0.05;
            let bar = Bar {
                start: bars.len() as i64 * 60,
                open: rupees(open),
                high: rupees(open.max(close) + above),
                low: rupees(open.min(close) - below),
                close: rupees(close),
                volume: f64::from(if volume < 1000 { 0 } else { volume }),
                session,
            };
            bars.push(bar);
            let flat = Bar { open: bar.close, high: bar.close, low: bar.close, volume: 0.0, ..bar };
            bars.extend(std::iter::repeat_n(flat, if alike > 0 { stretch * (alike - 8) / 3 } else { 0 }));
        }
        bars
    })
}
