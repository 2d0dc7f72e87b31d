//! What Kite answers.

use super::Query;
use crate::history::csv::seconds;
use crate::history::hours::{Hours, is_bar, raw_price};
use crate::market::{Calendar, Candle};
use crate::secret::{REDACTED, Secret};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Reply {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    candles: Vec<Value>,
}

/// `{"status":"error","message":…,"error_type":…}`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    message: String,
    error_type: String,
}

/// The bars of an answer, the oldest first, each start once, and how many rows were none; `None` when it is no answer.
pub(super) fn candles(body: &[u8], query: &Query, calendar: &Calendar) -> Option<(Vec<Candle>, u64)> {
    let reply: Reply = serde_json::from_slice(body).ok()?;
    let mut hours = Hours::new(calendar, query.kind);
    let rows = reply.data.candles.len();
    let mut bars: Vec<Candle> = reply.data.candles.iter().filter_map(|row| candle(row, query, &mut hours)).collect();
    let skipped = rows - bars.len();
    bars.sort_by_key(|bar| bar.start);
    bars.dedup_by_key(|bar| bar.start);
    Some((bars, skipped as u64))
}

/// `["2026-11-20T09:15:00+0530", open, high, low, close, volume, oi]`; the last is there when it was asked for.
fn candle(row: &Value, query: &Query, hours: &mut Hours<'_>) -> Option<Candle> {
    let (start, end) = hours.stamped(query.timeframe, seconds(row.get(0)?.as_str()?)?)?;
    let price = |index: usize| raw_price(row.get(index)?.as_f64()?, query.token.segment().divisor());
    let volume = row.get(5)?.as_f64().filter(|volume| *volume >= 0.0)? as u64;
    let oi = row.get(6).and_then(Value::as_f64).unwrap_or_default() as u32;
    let bar = Candle { volume, oi, ..Candle::historical(start, end, price(1)?, price(2)?, price(3)?, price(4)?) };
    is_bar(&bar).then_some(bar)
}

/// Kite's own words for a refusal, as far as they can be shown: one short line without `secrets`, since servers like to
/// repeat what they refuse.
pub(super) fn refusal(body: &[u8], secrets: [&Secret; 2]) -> String {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let mut words = match (refusal.error_type.as_str(), refusal.message.as_str()) {
        ("", "") => "no reason given".to_owned(),
        ("", message) => message.to_owned(),
        (kind, message) => format!("{kind}: {message}"),
    };
    for secret in secrets.into_iter().filter(|secret| !secret.reveal().is_empty()) {
        words = words.replace(secret.reveal(), REDACTED);
    }
    words.chars().filter(|letter| !letter.is_control()).take(200).collect()
}
