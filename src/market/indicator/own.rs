//! What TA-Lib does not offer, or not in this form.

use super::Bar;
use super::leg::Step;

/// Volume-weighted average price since the session's first bar. TA-Lib's never begins again.
#[derive(Clone, Copy, Default)]
pub(super) struct SessionVwap {
    session: Option<i64>,
    /// Price times volume.
    turnover: f64,
    volume: f64,
}

impl SessionVwap {
    fn after(self, bar: &Bar) -> Self {
        let begun = if self.session == Some(bar.session) { self } else { Self::default() };
        let typical = (bar.high + bar.low + bar.close) / 3.0;
        Self {
            session: Some(bar.session),
            turnover: begun.turnover + typical * bar.volume,
            volume: begun.volume + bar.volume,
        }
    }

    /// `None` until the session has volume.
    fn value(self) -> Option<f64> {
        (self.volume > 0.0).then(|| self.turnover / self.volume)
    }
}

impl Step<&Bar> for &mut SessionVwap {
    type Output = f64;

    fn step(self, bar: &Bar) -> Option<f64> {
        *self = self.after(bar);
        self.value()
    }
}

impl Step<&Bar> for &SessionVwap {
    type Output = f64;

    fn step(self, bar: &Bar) -> Option<f64> {
        self.after(bar).value()
    }
}

/// Kaufman's adaptive moving average with any fast and slow period; TA-Lib's has 2 and 30 only.
///
/// Like TA-Lib's it begins from the close before its first value, and a window without movement counts as efficient.
/// Sums are over the window anew each time, so nothing drifts.
#[derive(Clone)]
pub(super) struct Kama {
    fast: f64,
    slow: f64,
    closes: Ring,
    average: f64,
}

impl Kama {
    /// Efficiency over `length` bars, smoothing between the periods `fast` and `slow`.
    pub fn new(length: usize, fast: f64, slow: f64) -> Self {
        let weight = |period: f64| 2.0 / (period + 1.0);
        Self { fast: weight(fast), slow: weight(slow), closes: Ring::new(length), average: 0.0 }
    }

    /// What the average becomes; `None` while the ring is not full.
    fn after(&self, close: f64) -> Option<f64> {
        let oldest = self.closes.full_oldest()?;
        let (mut path, mut previous) = (0.0, oldest);
        for next in self.closes.iter().skip(1).chain([close]) {
            path += (next - previous).abs();
            previous = next;
        }
        // The way there and the way taken are equal for a straight path, and rounding may make the latter the less.
        let way = (close - oldest).abs();
        let efficiency = if path <= way { 1.0 } else { way / path };
        let weight = (efficiency * (self.fast - self.slow) + self.slow).powi(2);
        Some(self.average + (close - self.average) * weight)
    }
}

impl Step<f64> for &mut Kama {
    type Output = f64;

    fn step(self, close: f64) -> Option<f64> {
        let average = self.after(close);
        self.average = average.unwrap_or(close);
        self.closes.push(close);
        average
    }
}

impl Step<f64> for &Kama {
    type Output = f64;

    fn step(self, close: f64) -> Option<f64> {
        self.after(close)
    }
}

/// The value of some bars before; 0, where FISHER begins, while there is none.
#[derive(Clone)]
pub(super) struct Delay(Ring);

impl Delay {
    /// By so many bars, at least 1.
    pub fn new(bars: usize) -> Self {
        Self(Ring::new(bars))
    }
}

impl Step<f64> for &mut Delay {
    type Output = f64;

    fn step(self, value: f64) -> Option<f64> {
        let before = (&*self).step(value);
        self.0.push(value);
        before
    }
}

impl Step<f64> for &Delay {
    type Output = f64;

    fn step(self, _: f64) -> Option<f64> {
        Some(self.0.full_oldest().unwrap_or(0.0))
    }
}

/// The last values, as many as it has room for.
#[derive(Clone)]
struct Ring {
    values: Box<[f64]>,
    /// Where the next goes; the oldest is there when the ring is full.
    next: usize,
    full: bool,
}

impl Ring {
    fn new(length: usize) -> Self {
        Self { values: vec![0.0; length.max(1)].into_boxed_slice(), next: 0, full: false }
    }

    fn push(&mut self, value: f64) {
        self.values[self.next] = value;
        self.next = (self.next + 1) % self.values.len();
        self.full |= self.next == 0;
    }

    /// The oldest value of a full ring.
    fn full_oldest(&self) -> Option<f64> {
        self.full.then(|| self.values[self.next])
    }

    /// The values of a full ring, oldest first.
    fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        let (newer, older) = self.values.split_at(self.next);
        older.iter().chain(newer).copied()
    }
}
