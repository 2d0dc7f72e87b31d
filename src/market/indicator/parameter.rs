//! What may be written behind an indicator's name.

use std::fmt;

/// A parameter of an indicator.
#[derive(Debug)]
pub struct Parameter {
    /// pandas-ta's name.
    pub name: &'static str,
    /// Another name for it.
    pub also: Option<&'static str>,
    /// Two parameters of pandas-ta that are this one here, so that both must be equal.
    pub halves: Option<[&'static str; 2]>,
    /// Its range.
    pub range: Range,
    /// What it is when left out; `None`: then the indicator is without it.
    pub default: Option<f64>,
}

/// Values that a parameter may have.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Range {
    /// Bars, 2 to 1000.
    Period,
    /// Bars that an average of values is over, 1 (no average) to 1000.
    Smoothing,
    /// Above 0, at most 100.
    Multiplier,
    /// From the first to the second, both included.
    Decimal(f64, f64),
}

impl Range {
    /// Whether `value` is within. Not a number is not.
    pub fn allows(self, value: f64) -> bool {
        match self {
            Self::Period => (2.0..=1000.0).contains(&value) && value.fract() == 0.0,
            Self::Smoothing => (1.0..=1000.0).contains(&value) && value.fract() == 0.0,
            Self::Multiplier => value > 0.0 && value <= 100.0,
            Self::Decimal(low, high) => (low..=high).contains(&value),
        }
    }

    /// Whether values count bars.
    pub fn is_bars(self) -> bool {
        matches!(self, Self::Period | Self::Smoothing)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Period => f.write_str("a whole number from 2 to 1000"),
            Self::Smoothing => f.write_str("a whole number from 1 to 1000"),
            Self::Multiplier => f.write_str("a number above 0 and up to 100"),
            Self::Decimal(low, high) => write!(f, "a number from {low} to {high}"),
        }
    }
}

/// A parameter of pandas-ta that has one value here.
#[derive(Debug)]
pub struct Settled {
    /// pandas-ta's name.
    pub name: &'static str,
    /// The value.
    pub value: SettledValue,
    /// Whether it may stand in an id, behind the parameters.
    pub positional: bool,
    /// Whether it may stand in an object.
    pub named: bool,
}

/// Which value that is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum SettledValue {
    /// This.
    Only(f64),
    /// That of the parameter at this position.
    Same(usize),
}

impl Settled {
    pub(super) const fn only(name: &'static str, value: f64) -> Self {
        Self { name, value: SettledValue::Only(value), positional: false, named: true }
    }

    pub(super) const fn same(name: &'static str, position: usize) -> Self {
        Self { name, value: SettledValue::Same(position), positional: false, named: true }
    }

    pub(super) const fn in_ids(self) -> Self {
        Self { positional: true, ..self }
    }

    pub(super) const fn only_in_ids(self) -> Self {
        Self { positional: true, named: false, ..self }
    }
}

const fn parameter(name: &'static str, range: Range, default: f64) -> Parameter {
    Parameter { name, also: None, halves: None, range, default: Some(default) }
}

pub(super) const fn period(name: &'static str, default: f64) -> Parameter {
    parameter(name, Range::Period, default)
}

pub(super) const fn smoothing(name: &'static str, default: f64) -> Parameter {
    parameter(name, Range::Smoothing, default)
}

pub(super) const fn multiplier(name: &'static str, default: f64) -> Parameter {
    parameter(name, Range::Multiplier, default)
}

pub(super) const fn decimal(name: &'static str, low: f64, high: f64, default: f64) -> Parameter {
    parameter(name, Range::Decimal(low, high), default)
}

impl Parameter {
    pub(super) const fn also(self, name: &'static str) -> Self {
        Self { also: Some(name), ..self }
    }

    pub(super) const fn halved(self, one: &'static str, other: &'static str) -> Self {
        Self { halves: Some([one, other]), ..self }
    }

    pub(super) const fn optional(self) -> Self {
        Self { default: None, ..self }
    }
}
