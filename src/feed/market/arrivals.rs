//! When ticks arrive.

use std::str::FromStr;

use super::random::Random;
use crate::feed::tape::OptionError;

/// How the rate changes with time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Shape {
    /// Not at all.
    #[default]
    Steady,
    /// As at the open of a market: about 15 times the mean in the first second, twice within the first half minute,
    /// a little more than the mean for some minutes. The mean over the first half hour is the rate asked for.
    Open,
}

impl Shape {
    /// The rate `seconds` after the start, as a multiple of the mean.
    fn intensity(self, seconds: f64) -> f64 {
        match self {
            Self::Steady => 1.0,
            Self::Open => 0.95 + 18.0 * (-seconds / 1.5).exp() + 0.5 * (-seconds / 120.0).exp(),
        }
    }
}

impl FromStr for Shape {
    type Err = OptionError;

    /// `steady` or `open`.
    fn from_str(value: &str) -> Result<Self, OptionError> {
        match value {
            "steady" => Ok(Self::Steady),
            "open" => Ok(Self::Open),
            _ => Err(OptionError { value: value.into(), expected: "steady or open" }),
        }
    }
}

/// Arrivals of a Poisson process.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    /// Ticks per nanosecond, the mean.
    rate: f64,
    shape: Shape,
}

impl Arrivals {
    pub(super) fn new(rate_per_second: u32, shape: Shape) -> Self {
        Self { rate: f64::from(rate_per_second) / 1e9, shape }
    }

    /// How many ticks per nanosecond are to be expected `offset_ns` after the start.
    #[inline]
    pub(super) fn rate_at(&self, offset_ns: u64) -> f64 {
        self.rate * self.shape.intensity(offset_ns as f64 / 1e9)
    }

    /// From an arrival `offset_ns` after the start to the next one, nanoseconds. The rate within the gap is taken to
    /// be that at its beginning, which is near enough: where the rate changes fast, gaps are short.
    #[inline]
    pub(super) fn gap_ns(&self, offset_ns: u64, random: &mut Random) -> u64 {
        let events = -(1.0 - random.unit()).ln();
        (events / self.rate_at(offset_ns)) as u64
    }
}
