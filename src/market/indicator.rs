//! Technical indicators of bars, one bar at a time.
//!
//! An [`IndicatorId`] says which, an [`Indicator`] computes it: [`update`](Indicator::update) once for each closed bar,
//! [`peek`](Indicator::peek) for the forming one as often as it changes. State changes in `update` alone, so nothing a
//! forming bar does can linger.
//!
//! The definitions are TA-Lib's, computed by its own crate: charts and pandas-ta (with TA-Lib) agree with them once
//! seeds have faded, after [`bars_wanted`](IndicatorId::bars_wanted).

mod definition;
mod engine;
mod error;
mod id;
mod leg;
mod own;
mod parameter;
mod stream;
#[cfg(test)]
mod tests;
mod warmth;

pub use definition::{DEFINITIONS, Definition, Name, Order};
pub use error::IdError;
pub use id::IndicatorId;
pub use parameter::{Parameter, Range, Settled, SettledValue};

use engine::{Engine, Values};

/// A bar as indicators read it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bar {
    /// When it began, in seconds since 1970; the values of a bar belong to this time.
    pub start: i64,
    /// First price, in rupees as all prices here.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Traded quantity; 0 for an index.
    pub volume: f64,
    /// Which session it belongs to; only whether it is that of the bar before matters.
    pub session: i64,
}

impl Bar {
    fn is_finite(&self) -> bool {
        [self.open, self.high, self.low, self.close, self.volume].into_iter().all(f64::is_finite)
    }
}

/// What an indicator says of one bar: a value for each output, `None` where it is not defined (never NaN, never 0 for
/// lack of a value).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Outputs {
    names: &'static [&'static str],
    values: Values,
}

impl Outputs {
    fn new(id: &IndicatorId, values: Values) -> Self {
        // TA-Lib divides by nothing when a window is without volume; the answer is that there is none.
        Self { names: id.definition().outputs, values: values.map(|value| value.filter(|value| value.is_finite())) }
    }

    /// Names of the outputs.
    pub fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// The values, one for each name.
    pub fn values(&self) -> &[Option<f64>] {
        &self.values[..self.names.len()]
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> + '_ {
        self.names.iter().copied().zip(self.values)
    }

    /// The output of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.iter().find(|(own, _)| *own == name).and_then(|(_, value)| value)
    }
}

/// An indicator at work on one series of bars.
///
/// While it waits for its first value it keeps the bars so far. From then on neither `update` nor `peek` allocates.
#[derive(Clone)]
pub struct Indicator {
    id: IndicatorId,
    engine: Engine,
    bars: usize,
}

impl Indicator {
    /// Without bars.
    pub fn new(id: &IndicatorId) -> Self {
        Self { id: *id, engine: Engine::new(id), bars: 0 }
    }

    /// What it computes.
    pub fn id(&self) -> &IndicatorId {
        &self.id
    }

    /// How many bars it has taken.
    pub fn bars(&self) -> usize {
        self.bars
    }

    /// Whether it has taken so many that its seed has faded and its values are those of a chart.
    pub fn is_warm(&self) -> bool {
        self.bars >= self.id.bars_wanted()
    }

    /// Takes a closed bar. One with a value that is not finite is as none: nothing changes and nothing is said.
    pub fn update(&mut self, bar: &Bar) -> Outputs {
        if !bar.is_finite() {
            return Outputs::new(&self.id, [None; 3]);
        }
        self.bars += 1;
        Outputs::new(&self.id, self.engine.update(bar))
    }

    /// What [`update`](Self::update) would say, to the bit, changing nothing.
    pub fn peek(&self, bar: &Bar) -> Outputs {
        let values = if bar.is_finite() { self.engine.peek(bar) } else { [None; 3] };
        Outputs::new(&self.id, values)
    }
}
