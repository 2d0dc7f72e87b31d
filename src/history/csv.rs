//! Bars in csv files: the only reader of them.

use crate::market::calendar::date::{DAY_S, Date, IST_OFFSET_S};
use crate::market::indicator::Bar;
use csv::StringRecord;
use std::io::Read;

/// Why a file holds no bars.
#[derive(Debug, thiserror::Error)]
pub enum BarsError {
    /// No csv, or it cannot be read.
    #[error("cannot read the bars: {0}")]
    Csv(#[from] csv::Error),
    /// A column is missing.
    #[error(
        "the bars have no column {0}; needed are timestamp, open, high, low, close, and perhaps volume and session"
    )]
    Column(&'static str),
    /// Something else than a number or a time.
    #[error("line {line}: {column} cannot be {text:?}")]
    Field {
        /// In the file, from 1.
        line: u64,
        /// As in the header.
        column: &'static str,
        /// As in the file.
        text: String,
    },
}

/// A bar as its file has it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Row {
    /// Where it stands in the file, from 1.
    pub line: u64,
    /// The bar.
    pub bar: Bar,
    /// Open interest.
    pub oi: u32,
}

/// The bars of [`read_rows`] alone.
///
/// # Errors
/// As there.
pub fn read_bars(input: impl Read) -> Result<Vec<Bar>, BarsError> {
    Ok(read_rows(input)?.into_iter().map(|row| row.bar).collect())
}

/// Reads bars. The header names the columns, in any order and case, and others may stand between: `timestamp` (ISO 8601
/// or seconds since 1970), `open`, `high`, `low`, `close`; `volume` and `oi` are 0 without their columns, and without
/// `session` a session is a date.
///
/// # Errors
/// When a column is missing or a field holds no finite number or time.
pub fn read_rows(input: impl Read) -> Result<Vec<Row>, BarsError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
    let header = reader.headers()?.clone();
    let find =
        |name: &str| header.iter().position(|column| column.trim_start_matches('\u{feff}').eq_ignore_ascii_case(name));
    let need = |name| find(name).ok_or(BarsError::Column(name));
    let time = find("timestamp").or(find("date")).or(find("time")).ok_or(BarsError::Column("timestamp"))?;
    let [open, high, low, close] = [need("open")?, need("high")?, need("low")?, need("close")?];
    let (volume, session) = (find("volume"), find("session"));
    let interest = find("oi").or(find("open_interest"));
    let mut rows: Vec<Row> = Vec::new();
    let mut last_session = String::new();
    for record in reader.into_records() {
        let record = record?;
        let number =
            |column, index| field(&record, column, index, |text| text.parse().ok().filter(|x: &f64| x.is_finite()));
        let start = field(&record, "timestamp", time, seconds)?;
        let text = record.get(time).unwrap_or_default();
        let name = match session {
            Some(index) => record.get(index).unwrap_or_default().to_owned(),
            // The date as it stands there is that of the exchange's clock.
            None if text.contains('-') => text.chars().take(10).collect(),
            None => Date::of(start).to_string(),
        };
        let before = rows.last().map_or(0, |row| row.bar.session);
        let bar = Bar {
            start,
            open: number("open", open)?,
            high: number("high", high)?,
            low: number("low", low)?,
            close: number("close", close)?,
            volume: volume.map_or(Ok(0.0), |index| number("volume", index))?,
            session: before + i64::from(name != last_session),
        };
        last_session = name;
        let count = |text: &str| text.parse().ok();
        let oi = interest.map_or(Ok(0), |index| field(&record, "oi", index, count))?;
        rows.push(Row { line: record.position().map_or(0, csv::Position::line), bar, oi });
    }
    Ok(rows)
}

fn field<T>(
    record: &StringRecord,
    column: &'static str,
    index: usize,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, BarsError> {
    let text = record.get(index).unwrap_or_default();
    let line = record.position().map_or(0, csv::Position::line);
    parse(text).ok_or_else(|| BarsError::Field { line, column, text: text.chars().take(40).collect() })
}

/// Seconds since 1970 of `2026-06-22T09:15:00+05:30`, of its beginnings (a date alone is midnight), or of the number
/// itself. Without an offset it is India's clock.
pub(super) fn seconds(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let date: Date = text.get(..10)?.parse().ok()?;
    let clock = text.get(11..).unwrap_or_default();
    let (clock, offset) = match clock.find(['Z', '+', '-']) {
        Some(at) if clock.as_bytes()[at] == b'Z' => (&clock[..at], 0),
        Some(at) => {
            let offset = of_day(&clock[at + 1..])?;
            (&clock[..at], if clock.as_bytes()[at] == b'-' { -offset } else { offset })
        }
        None => (clock, IST_OFFSET_S),
    };
    Some(i64::from(date.0) * DAY_S + if clock.is_empty() { 0 } else { of_day(clock)? } - offset)
}

/// Seconds of `09:15`, `0915`, `09:15:00` or `09:15:00.000`.
fn of_day(clock: &str) -> Option<i64> {
    let digits: String = clock.split('.').next()?.chars().filter(|character| *character != ':').collect();
    if !(digits.len() == 4 || digits.len() == 6) {
        return None;
    }
    let pair = |at: usize| digits.get(at..at + 2).map_or(Some(0), |pair| pair.parse::<i64>().ok());
    Some(pair(0)? * 3600 + pair(2)? * 60 + pair(4)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-06-22T09:15:00+05:30", Some(1_782_099_900)),
            ("2026-06-22 09:15", Some(1_782_099_900)),
            ("2000-02-29T23:59:59.5-00:30", Some(951_870_599)),
            ("1782099900", Some(1_782_099_900)),
            ("2026-06-22T", Some(1_782_066_600)),
            ("2026-13-22", None),
            ("2026-02-29", None),
            ("yesterday, I think", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_header_decides() {
        let bars =
            read_bars("Close,time,low,HIGH,open,x\n3,2026-06-22,1,4,2,?\n3,2026-06-23,1,4,2,?\n".as_bytes()).unwrap();
        assert_eq!((bars[0].open, bars[0].high, bars[0].low, bars[0].close, bars[0].volume), (2.0, 4.0, 1.0, 3.0, 0.0));
        assert_ne!(bars[0].session, bars[1].session);
        assert_eq!(bars[1].start - bars[0].start, 86_400);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| read_bars(text.as_bytes()).unwrap_err().to_string();
        assert!(error("timestamp,open,high,low\n").contains("no column close"));
        let header = "timestamp,open,high,low,close\n";
        assert_eq!(error(&format!("{header}2026-06-22,1,2,NaN,1\n")), "line 2: low cannot be \"NaN\"");
        assert!(error(&format!("{header}now,1,2,1,1\n")).contains("timestamp cannot be \"now\""));
    }
}
