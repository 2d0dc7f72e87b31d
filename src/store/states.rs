//! The snapshot: the states of all builders at one moment, in one file that is replaced whole.
//!
//! Its first line has the version and the CRC-32 of the rest, which is JSON.

use crate::market::InstrumentToken;
use crate::market::candle::Bars;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "states.json";
const VERSION: &str = "tickfan states v1";

/// The states of builders.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken, Unix seconds: what [`Bars::interrupt`] is told when it comes back.
    pub at: i64,
    /// Of each instrument.
    pub states: Vec<(InstrumentToken, Bars)>,
}

#[derive(Serialize)]
struct Out<'a> {
    at: i64,
    states: Vec<(u32, &'a Bars)>,
}

#[derive(Deserialize)]
struct In {
    at: i64,
    states: Vec<(u32, Bars)>,
}

/// Writes the snapshot beside the old one and puts it in its place, so that there is always a whole one.
pub(super) fn write(dir: &Path, at: i64, states: &[(InstrumentToken, Bars)]) -> io::Result<()> {
    let body = serde_json::to_vec(&Out { at, states: states.iter().map(|(token, bars)| (token.0, bars)).collect() })?;
    let (path, fresh) = (dir.join(NAME), dir.join("states.json.new"));
    let mut file = File::create(&fresh)?;
    writeln!(file, "{VERSION} {:08x}", crc32fast::hash(&body))?;
    file.write_all(&body)?;
    // Or a loss of power could leave the new name with none of its content.
    file.sync_data()?;
    std::fs::rename(fresh, path)
}

/// The snapshot that is there; `Ok(None)` when there is none.
///
/// # Errors
/// In words, when it cannot be used.
pub(super) fn read(dir: &Path) -> Result<Option<Snapshot>, String> {
    let bytes = match std::fs::read(dir.join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no first line")?;
    let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 1..]);
    let sum = head.strip_prefix(VERSION).ok_or("it is of another version")?;
    if sum.trim() != format!("{:08x}", crc32fast::hash(body)) {
        return Err("it is damaged".to_owned());
    }
    let read: In = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let states = read.states.into_iter().map(|(token, bars)| (InstrumentToken(token), bars)).collect();
    Ok(Some(Snapshot { at: read.at, states }))
}
