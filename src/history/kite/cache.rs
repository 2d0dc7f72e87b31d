//! Series on disk: one file each, replaced whole, so that no reader meets half of one.
//!
//! The first line has the version and the CRC-32 of the rest, which is JSON. A bar is
//! `[start, end, open, high, low, close, volume, oi]`.

use super::Query;
use super::series::Series;
use crate::market::Candle;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

const VERSION: &str = "tickfan history v1";

type Row = (i64, i64, i32, i32, i32, i32, u64, u32);

#[derive(Serialize, Deserialize)]
struct Stored {
    from: i64,
    until: i64,
    begins: bool,
    bars: Vec<Row>,
}

fn path(dir: &Path, query: &Query) -> PathBuf {
    dir.join(format!("{}_{}.json", query.token, query.timeframe))
}

/// The series of a file; empty without one, `None` when the file is broken.
pub(super) fn load(dir: &Path, query: &Query) -> Option<Series> {
    let bytes = match std::fs::read(path(dir, query)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Series::default()),
        Err(_) => return None,
    };
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (head, body) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]);
    if head != format!("{VERSION} {:08x}", crc32fast::hash(body)) {
        return None;
    }
    let stored: Stored = serde_json::from_slice(body).ok()?;
    let bars = stored.bars.into_iter().map(|(start, end, open, high, low, close, volume, oi)| Candle {
        volume,
        oi,
        ..Candle::historical(start, end, open, high, low, close)
    });
    let Stored { from, until, begins, .. } = stored;
    Some(Series { from, until, begins, bars: bars.collect(), ..Series::default() })
}

/// Writes a series.
pub(super) fn save(dir: &Path, query: &Query, series: &Series) -> io::Result<()> {
    let row = |bar: &Candle| (bar.start, bar.end, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.oi);
    let Series { from, until, begins, .. } = *series;
    let body = serde_json::to_string(&Stored { from, until, begins, bars: series.bars.iter().map(row).collect() })?;
    let path = path(dir, query);
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&fresh, format!("{VERSION} {:08x}\n{body}", crc32fast::hash(body.as_bytes())))?;
    std::fs::rename(fresh, path)
}
