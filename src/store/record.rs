//! A bar as bytes: 66 of them, the numbers little-endian.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0–3 | CRC-32 of the rest |
//! | 4–7 | token |
//! | 8–9 | timeframe in minutes, 0 for the day |
//! | 10–17, 18–25 | start, end |
//! | 26–41 | open, high, low, close |
//! | 42–49 | volume |
//! | 50–53, 54–57 | open interest, packets |
//! | 58–65 | sequence in the lower 60 bits; above them, from the lowest, partial, revised, by receipt |

use crate::market::{Candle, InstrumentToken, Timeframe};

/// Bytes of a record.
pub(super) const LENGTH: usize = 66;

/// The bits of the last number that count; 2^60 bars are a bar every nanosecond for 36 years.
const SEQUENCE: u64 = (1 << 60) - 1;

/// One bar and whose it is.
pub(super) type Entry = (InstrumentToken, Timeframe, Candle);

/// The record of a closed bar.
pub(super) fn encode((token, timeframe, bar): &Entry) -> [u8; LENGTH] {
    let mut record = [0; LENGTH];
    let mut at = 4;
    let mut put = |bytes: &[u8]| {
        record[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&token.0.to_le_bytes());
    put(&minutes(*timeframe).to_le_bytes());
    put(&bar.start.to_le_bytes());
    put(&bar.end.to_le_bytes());
    for price in [bar.open, bar.high, bar.low, bar.close] {
        put(&price.to_le_bytes());
    }
    put(&bar.volume.to_le_bytes());
    put(&bar.oi.to_le_bytes());
    put(&bar.packets.to_le_bytes());
    let flags = u64::from(bar.partial) | u64::from(bar.revised) << 1 | u64::from(bar.by_receipt) << 2;
    put(&(bar.sequence & SEQUENCE | flags << 60).to_le_bytes());
    let sum = crc32fast::hash(&record[4..]);
    record[..4].copy_from_slice(&sum.to_le_bytes());
    record
}

/// The bar of a record; `None` when it is damaged.
pub(super) fn decode(record: &[u8; LENGTH]) -> Option<Entry> {
    if crc32fast::hash(&record[4..]).to_le_bytes() != record[..4] {
        return None;
    }
    let four = |at: usize| -> [u8; 4] { [record[at], record[at + 1], record[at + 2], record[at + 3]] };
    let (int, count) = (|at| i32::from_le_bytes(four(at)), |at| u32::from_le_bytes(four(at)));
    let long = |at| u64::from(count(at)) | u64::from(count(at + 4)) << 32;
    let length = u16::from_le_bytes([record[8], record[9]]);
    let timeframe = Timeframe::ALL.into_iter().find(|timeframe| minutes(*timeframe) == length)?;
    let (last, flag) = (long(58), |bit: u32| long(58) >> (60 + bit) & 1 == 1);
    let prices = (int(26), int(30), int(34), int(38));
    let bar = Candle {
        volume: long(42),
        oi: count(50),
        packets: count(54),
        sequence: last & SEQUENCE,
        partial: flag(0),
        revised: flag(1),
        by_receipt: flag(2),
        ..Candle::historical(long(10).cast_signed(), long(18).cast_signed(), prices.0, prices.1, prices.2, prices.3)
    };
    Some((InstrumentToken(count(4)), timeframe, bar))
}

fn minutes(timeframe: Timeframe) -> u16 {
    timeframe.seconds().map_or(0, |seconds| (seconds / 60) as u16)
}
