//! How a tape is played.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What to play, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct TapeOptions {
    /// A tape, a folder of tapes, or several with commas between them: see [`crate::tape::tapes_at`].
    pub path: PathBuf,
    /// How fast; once by default.
    pub speed: Speed,
    /// Whether it begins again when it is over; no by default. Volume and day OHLC of the next round are simply those
    /// of the tape, so they fall back at the seam.
    pub looped: bool,
    /// When it begins.
    pub start: Start,
    /// As fast as possible: how long it waits for tabs that are behind and do not read; a second by default.
    pub patience: Duration,
}

impl TapeOptions {
    /// The defaults: once, at the recorded pace, from the first subscriber on.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (speed, start) = (Speed::default(), Start::default());
        Self { path: path.into(), speed, looped: false, start, patience: Duration::from_secs(1) }
    }
}

/// A value nobody can make sense of.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct OptionError {
    /// What was given.
    pub value: String,
    /// What could have been.
    pub expected: &'static str,
}

/// How fast a tape is played.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Speed {
    /// So many times the recorded pace; finite and above 0.
    Times(f64),
    /// As fast as the readers can take it.
    Max,
}

impl Default for Speed {
    fn default() -> Self {
        Self::Times(1.0)
    }
}

impl FromStr for Speed {
    type Err = OptionError;

    /// `1`, `10`, `0.5`, `10x` or `max`.
    fn from_str(value: &str) -> Result<Self, OptionError> {
        if value.eq_ignore_ascii_case("max") {
            return Ok(Self::Max);
        }
        let number = value.strip_suffix(['x', 'X']).unwrap_or(value);
        match number.parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Self::Times(times)),
            _ => Err(OptionError { value: value.into(), expected: "a speed: a number above 0, or max" }),
        }
    }
}

/// When a tape begins.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Start {
    /// When anybody wants any instrument, so that a demonstration is seen from its first tick.
    #[default]
    OnFirstSubscriber,
    /// With the program.
    AtOnce,
}

impl FromStr for Start {
    type Err = OptionError;

    /// `on-first-subscriber` or `at-once`.
    fn from_str(value: &str) -> Result<Self, OptionError> {
        match value {
            "on-first-subscriber" => Ok(Self::OnFirstSubscriber),
            "at-once" => Ok(Self::AtOnce),
            _ => Err(OptionError { value: value.into(), expected: "on-first-subscriber or at-once" }),
        }
    }
}
