//! Kite's instrument dump: a csv file with a header, plain or gzipped, about 90,000 rows a day.
//!
//! The header decides which column is what. A row that does not parse is left out and counted: one odd row must not
//! cost a day's list, but nobody should have to guess that it happened.

use std::borrow::Cow;
use std::io::Read;

use csv::ByteRecord;
use flate2::read::MultiGzDecoder;

use super::names::indices;
use super::table::{Builder, Instruments, Row};

/// Most bytes of a dump, packed or unpacked. A full one has about 10 MiB; the cap is against a wrong address and
/// against a small file that unpacks without end.
pub const MAX_BYTES: u64 = 64 << 20;

/// Columns without which a row is not an instrument.
const NEEDED: [&str; 3] = ["instrument_token", "tradingsymbol", "exchange"];

/// How many skipped rows are told one by one.
const TOLD: usize = 5;

/// Rows that are not in the table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Skipped {
    /// How many.
    pub count: usize,
    /// Line and reason of the first few.
    pub first: Vec<String>,
}

impl Skipped {
    fn note(&mut self, line: u64, reason: &str) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(format!("line {line}: {reason}"));
        }
    }
}

/// Why bytes are not an instrument dump.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DumpError {
    /// The header lacks columns.
    #[error("not an instrument dump: no column {}; the file has {found}", missing.join(", "))]
    Columns {
        /// Which.
        missing: Vec<&'static str>,
        /// The header, cut to a readable length.
        found: String,
    },
    /// There is a header, but no row could be used. An empty table must never replace a good one.
    #[error("no usable row ({skipped} skipped)")]
    Empty {
        /// How many could not be used.
        skipped: usize,
    },
    /// It begins like gzip and does not unpack.
    #[error("broken gzip: {0}")]
    Gzip(String),
    /// It is larger than [`MAX_BYTES`].
    #[error("larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
}

impl Instruments {
    /// Reads a dump, plain or gzipped, and adds the well-known indices that it lacks.
    ///
    /// # Errors
    /// When it is not a dump, or holds not one usable row.
    pub fn from_dump(bytes: &[u8]) -> Result<Self, DumpError> {
        let text = unpacked(bytes)?;
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&*text);
        let mut record = ByteRecord::new();
        // A reader of bytes in memory has no errors of its own, and a flexible one none of the format.
        let read =
            |reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord| reader.read_byte_record(record).unwrap_or(false);
        read(&mut reader, &mut record);
        let columns = Columns::of(&record)?;
        let mut builder = Builder::default();
        let mut skipped = Skipped::default();
        let mut rows = 0;
        while read(&mut reader, &mut record) {
            let line = record.position().map_or(0, csv::Position::line);
            let mut expiry = String::new();
            match columns.row(&record, &mut expiry) {
                Ok(row) if builder.push(&row) => rows += 1,
                Ok(row) => skipped.note(line, &format!("token {} is there already", row.token)),
                Err(reason) => skipped.note(line, &reason),
            }
        }
        if rows == 0 {
            return Err(DumpError::Empty { skipped: skipped.count });
        }
        builder.complete(indices());
        Ok(builder.finish(skipped))
    }
}

/// The text of a dump.
fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DumpError> {
    let text = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut text = Vec::new();
        let mut unpacker = MultiGzDecoder::new(bytes).take(MAX_BYTES + 1);
        unpacker.read_to_end(&mut text).map_err(|error| DumpError::Gzip(error.to_string()))?;
        Cow::Owned(text)
    } else {
        Cow::Borrowed(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
    };
    if text.len() as u64 > MAX_BYTES { Err(DumpError::TooLarge) } else { Ok(text) }
}

/// Where the columns are; one that is not there reads as empty.
struct Columns {
    token: usize,
    exchange_token: usize,
    symbol: usize,
    name: usize,
    exchange: usize,
    segment: usize,
    instrument_type: usize,
    expiry: usize,
    strike: usize,
    tick_size: usize,
    lot_size: usize,
}

impl Columns {
    /// Reads the header.
    fn of(header: &ByteRecord) -> Result<Self, DumpError> {
        let header: Vec<String> =
            header.iter().map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase()).collect();
        let find = |name: &str| header.iter().position(|known| known.trim_start_matches('\u{feff}') == name);
        let missing: Vec<_> = NEEDED.into_iter().filter(|name| find(name).is_none()).collect();
        if !missing.is_empty() {
            let found = header.join(", ").chars().filter(|letter| !letter.is_control()).take(200).collect();
            return Err(DumpError::Columns { missing, found });
        }
        let find = |name| find(name).unwrap_or(usize::MAX);
        Ok(Self {
            token: find("instrument_token"),
            exchange_token: find("exchange_token"),
            symbol: find("tradingsymbol"),
            name: find("name"),
            exchange: find("exchange"),
            segment: find("segment"),
            instrument_type: find("instrument_type"),
            expiry: find("expiry"),
            strike: find("strike"),
            tick_size: find("tick_size"),
            lot_size: find("lot_size"),
        })
    }

    /// One row, or what is wrong with it. `expiry` lends the place for a date that had to be turned round.
    fn row<'a>(&self, record: &'a ByteRecord, expiry: &'a mut String) -> Result<Row<'a>, String> {
        let text = |column: usize| {
            std::str::from_utf8(record.get(column).unwrap_or_default().trim_ascii()).map_err(|_| "not UTF-8".to_owned())
        };
        let needed = |column: usize, name: &str| match text(column)? {
            "" => Err(format!("no {name}")),
            text => Ok(text),
        };
        let token = number(needed(self.token, NEEDED[0])?, NEEDED[0])?;
        if token == 0 {
            return Err("instrument_token is 0".into());
        }
        *expiry = date(text(self.expiry)?)?;
        Ok(Row {
            token,
            exchange_token: match text(self.exchange_token)? {
                "" => token >> 8,
                text => number(text, "exchange_token")?,
            },
            symbol: needed(self.symbol, NEEDED[1])?,
            name: text(self.name)?,
            exchange: needed(self.exchange, NEEDED[2])?,
            segment: text(self.segment)?,
            instrument_type: text(self.instrument_type)?,
            expiry,
            strike: decimal(text(self.strike)?, "strike")?,
            tick_size: decimal(text(self.tick_size)?, "tick_size")?,
            lot_size: lot(text(self.lot_size)?)?,
        })
    }
}

/// A whole number.
fn number(text: &str, name: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{name} {text:?} is not a whole number"))
}

/// A number of rupees; empty is 0.
fn decimal(text: &str, name: &str) -> Result<f64, String> {
    if text.is_empty() {
        return Ok(0.0);
    }
    let good = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    good.ok_or_else(|| format!("{name} {text:?} is not a number"))
}

/// A lot size; spreadsheets write `75.0`.
fn lot(text: &str) -> Result<u32, String> {
    let whole =
        text.split_once('.').map_or(text, |(whole, rest)| if rest.trim_matches('0').is_empty() { whole } else { text });
    if whole.is_empty() { Ok(0) } else { number(whole, "lot_size") }
}

/// A date as `yyyy-mm-dd`; spreadsheets write `dd-mm-yyyy`. Empty stays empty.
fn date(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let mut parts = text.splitn(3, '-');
    let parts = [parts.next(), parts.next(), parts.next()].map(Option::unwrap_or_default);
    let [year, month, day] = if parts[0].len() == 4 { parts } else { [parts[2], parts[1], parts[0]] };
    let within = |part: &str, length: usize, most: u16| {
        part.len() == length
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse().is_ok_and(|n| (1..=most).contains(&n))
    };
    if within(year, 4, 9999) && within(month, 2, 12) && within(day, 2, 31) {
        Ok(format!("{year}-{month}-{day}"))
    } else {
        Err(format!("expiry {text:?} is not a date"))
    }
}
