//! Bars of a walk at random.

use tickfan::market::indicator::Bar;

/// Bars of one minute over four sessions, always the same.
pub fn bars() -> Vec<Bar> {
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
