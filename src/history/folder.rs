//! Bars from a folder of csv files.
//!
//! The file of an instrument is called `NSE_INFY_5min.csv`, by exchange, symbol and timeframe (a slash in a symbol
//! is written `_`), or `408065_5min.csv`, by token; the columns are those of [`super::csv`]. A timeframe without a file
//! is built from the minutes in `NSE_INFY_1min.csv` or `408065_1min.csv`. A file is read anew each time.

use super::HistoryError;
use super::csv::{BarsError, read_rows};
use super::hours::{Hours, is_bar, raw_price};
use crate::kite::instruments::Instrument;
use crate::market::{Calendar, Candle, InstrumentToken, SegmentKind, Timeframe};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What is asked of a folder, owned so that a thread that may block can take it.
#[derive(Debug)]
pub(super) struct Query {
    token: InstrumentToken,
    /// Beginnings of the names of its files, the preferred first.
    names: [String; 2],
    kind: SegmentKind,
    timeframe: Timeframe,
}

impl Query {
    pub fn new(instrument: &Instrument, kind: SegmentKind, timeframe: Timeframe) -> Self {
        let name = format!("{}_{}", instrument.exchange, instrument.symbol).replace(['/', '\\'], "_");
        Self { token: instrument.token, names: [name, instrument.token.to_string()], kind, timeframe }
    }
}

/// All bars that the folder has for an instrument, the oldest first; none without a file. Blocks.
pub(super) fn read(dir: &Path, calendar: &Calendar, query: &Query) -> Result<Vec<Candle>, HistoryError> {
    let mut hours = Hours::new(calendar, query.kind);
    for timeframe in [query.timeframe, Timeframe::Min1] {
        for name in &query.names {
            let path = dir.join(format!("{name}_{timeframe}.csv"));
            match File::open(&path) {
                Ok(file) => {
                    let bars = candles(io::BufReader::new(file), query.token, &mut hours, timeframe);
                    let bars = bars.map_err(|reason| HistoryError::File { path, reason })?;
                    return Ok(match timeframe == query.timeframe {
                        true => bars,
                        false => hours.build(&bars, query.timeframe),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(HistoryError::File { path, reason: error.to_string() }),
            }
        }
    }
    Ok(Vec::new())
}

/// The candles of a file, or why there are none.
fn candles(
    input: impl io::Read,
    token: InstrumentToken,
    hours: &mut Hours<'_>,
    timeframe: Timeframe,
) -> Result<Vec<Candle>, String> {
    let divisor = token.segment().divisor();
    let mut candles: Vec<Candle> = Vec::new();
    for row in read_rows(input).map_err(|error: BarsError| error.to_string())? {
        let wrong = |what: &str| format!("line {}: {what}", row.line);
        let price = |rupees| raw_price(rupees, divisor).ok_or_else(|| wrong("a price is beyond every range"));
        let bar = row.bar;
        let (start, end) = hours.stamped(timeframe, bar.start).ok_or_else(|| {
            wrong(&format!("no bar of {timeframe} begins then; a timestamp is the bar's first moment"))
        })?;
        let (open, high, low, close) = (price(bar.open)?, price(bar.high)?, price(bar.low)?, price(bar.close)?);
        if !(0.0..=u64::MAX as f64).contains(&bar.volume) {
            return Err(wrong("the volume is negative or beyond every range"));
        }
        let volume = bar.volume.round() as u64;
        let candle = Candle { volume, oi: row.oi, ..Candle::historical(start, end, open, high, low, close) };
        if !is_bar(&candle) {
            return Err(wrong("open or close is not between low and high"));
        }
        if candles.last().is_some_and(|before| before.start >= start) {
            return Err(wrong("not later than the bar before; a file has the oldest first, each once"));
        }
        candles.push(candle);
    }
    Ok(candles)
}

/// The folder, which must be there.
pub(super) fn check(dir: PathBuf) -> Result<PathBuf, HistoryError> {
    match std::fs::metadata(&dir) {
        Ok(known) if known.is_dir() => Ok(dir),
        Ok(_) => Err(HistoryError::File { path: dir, reason: "is no folder".to_owned() }),
        Err(error) => Err(HistoryError::File { path: dir, reason: error.to_string() }),
    }
}
