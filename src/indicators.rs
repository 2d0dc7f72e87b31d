//! `tickfan indicators`: indicators over a file of bars, as JSON.
//!
//! It drives them exactly as a live market does: before each closed bar comes forming ones, which must leave no trace.

pub use crate::history::csv::{BarsError, read_bars};

use crate::market::indicator::{Bar, DEFINITIONS, Indicator, IndicatorId};
use serde_json::{Map, Value, json};
use std::io::{self, Read, Write};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum IndicatorsError {
    /// The bars are not as they should be.
    #[error(transparent)]
    Bars(#[from] BarsError),
    /// A fault of ours: looking at a bar said something else than closing it.
    #[error("{id}: at bar {bar} the forming bar and the closed one disagree")]
    Unsteady {
        /// Of the indicator.
        id: IndicatorId,
        /// Index of the bar, from 0.
        bar: usize,
    },
    /// The output cannot be written; a closed pipe, most likely.
    #[error("cannot write: {0}")]
    Write(io::Error),
}

/// Each of the indicators with its defaults.
pub fn all() -> Vec<IndicatorId> {
    DEFINITIONS.iter().map(|definition| IndicatorId::of(definition.name)).collect()
}

/// Computes `ids` over the csv `input` and writes `{"results":[{"id":…,"values":…}…]}`: a list with a value for each
/// bar, `null` where there is none, or an object of such lists for an indicator with several outputs.
///
/// # Errors
/// When `input` is no csv of bars, or `out` fails.
pub fn indicators(input: impl Read, ids: &[IndicatorId], mut out: impl Write) -> Result<(), IndicatorsError> {
    let bars = read_bars(input)?;
    let results = ids.iter().map(|id| Ok(json!({"id": id.to_string(), "values": series(id, &bars)?})));
    let results = results.collect::<Result<Vec<_>, IndicatorsError>>()?;
    let written = serde_json::to_writer(&mut out, &json!({ "results": results })).map_err(io::Error::from);
    written.and_then(|()| writeln!(out)).and_then(|()| out.flush()).map_err(IndicatorsError::Write)
}

/// The values of one indicator over all bars.
///
/// # Errors
/// [`IndicatorsError::Unsteady`] only.
pub fn series(id: &IndicatorId, bars: &[Bar]) -> Result<Value, IndicatorsError> {
    let mut indicator = Indicator::new(id);
    let mut columns = vec![Vec::with_capacity(bars.len()); id.definition().outputs.len()];
    for (index, bar) in bars.iter().enumerate() {
        for forming in forming(bar) {
            indicator.peek(&forming);
        }
        let (looked, closed) = (indicator.peek(bar), indicator.update(bar));
        if looked != closed {
            return Err(IndicatorsError::Unsteady { id: *id, bar: index });
        }
        for (column, value) in columns.iter_mut().zip(closed.values()) {
            column.push(*value);
        }
    }
    let mut columns = columns.into_iter().map(Value::from);
    Ok(match id.definition().outputs {
        [_] => columns.next().unwrap_or_default(),
        names => names.iter().map(|name| (*name).to_owned()).zip(columns).collect::<Map<_, _>>().into(),
    })
}

/// The bar as it may have looked while it formed: just opened, far up, far down in another session.
fn forming(bar: &Bar) -> [Bar; 3] {
    let opened = Bar { high: bar.open, low: bar.open, close: bar.open, volume: 0.0, ..*bar };
    let up = Bar { high: bar.high * 1.5, close: bar.high * 1.25, volume: bar.volume * 3.0, ..*bar };
    let down = Bar { low: bar.low * 0.5, close: bar.low * 0.75, session: bar.session + 1, ..*bar };
    [opened, up, down]
}
