//! What is on a tape.

use std::path::Path;

use rustc_hash::FxHashSet;

use super::{Records, Reel, TapeEnd, TapeError};
use crate::kite::packet::packets;
use crate::market::InstrumentToken;

/// What one pass over a tape finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TapeScan {
    /// Every instrument on it, in ascending order.
    pub tokens: Vec<InstrumentToken>,
    /// Good records.
    pub messages: u64,
    /// Packets in them.
    pub packets: u64,
    /// Messages whose framing is broken: they are on the tape as they came, and give no packets.
    pub broken: u64,
    /// Receive time of the first record, nanoseconds since 1970; 0 on an empty tape.
    pub first_ns: u64,
    /// Receive time of the last record, likewise.
    pub last_ns: u64,
    /// How it ends: the first damage, or complete.
    pub end: TapeEnd,
}

/// Reads the tapes that `path` names (see [`super::tapes_at`]) once and decodes nothing but tokens: as fast as the disk, no memory to speak of.
///
/// # Errors
/// As [`Reel::open`] and [`Reel::advance`].
pub fn scan(path: &Path) -> Result<TapeScan, TapeError> {
    let mut reader = Reel::open(path)?;
    let mut tokens = FxHashSet::default();
    let (mut packet_count, mut broken, mut first_ns) = (0, 0, 0);
    while reader.advance()? {
        if reader.records() == 1 {
            first_ns = reader.time_ns();
        }
        let Ok(packets) = packets(reader.message()) else {
            broken += 1;
            continue;
        };
        for packet in packets {
            packet_count += 1;
            if let Some(token) = packet.first_chunk::<4>() {
                tokens.insert(InstrumentToken(u32::from_be_bytes(*token)));
            }
        }
    }
    let mut tokens: Vec<_> = tokens.into_iter().collect();
    tokens.sort_unstable();
    Ok(TapeScan {
        tokens,
        messages: reader.records(),
        packets: packet_count,
        broken,
        first_ns,
        last_ns: reader.time_ns(),
        end: reader.end().unwrap_or(TapeEnd::Complete),
    })
}
