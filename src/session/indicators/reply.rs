//! What is said to clients of `/indicators/*` besides values. Times are RFC 3339, UTC.

use super::subscriptions::{Entry, Joined, Removed};
use crate::clock::Clock;
use crate::market::calendar::Utc;
use crate::market::indicator::IndicatorId;
use crate::resume::IndicatorState;
use serde_json::{Map, Value, json};

/// The time now.
pub fn now(clock: &Clock) -> String {
    Utc(clock.unix_seconds() as i64).to_string()
}

/// A success and what belongs to it.
pub fn success(message: impl Into<String>, data: Value) -> Value {
    json!({"type": "success", "message": message.into(), "data": data})
}

/// The answer to a subscription; `list` is the field with the ids.
pub fn subscribed(list: &str, indicators: &[IndicatorId], values: Map<String, Value>) -> Value {
    let mut data = json!({"initial_values": values});
    data[list] = ids(indicators.iter());
    success(format!("Subscribed to {}", count(indicators.len())), data)
}

/// The answer to a resumption: what it has again, in the client's words, and what it has not.
pub fn resumed(ws_conn_id: &str, joined: Joined, lost: &[IndicatorState], since: f64) -> Value {
    let total = joined.values.iter().map(|(entry, _)| entry.indicators.len()).sum();
    let subscriptions: Vec<Value> = joined
        .values
        .into_iter()
        .map(|(Entry { wording, indicators }, values)| {
            json!({"symbol": &*wording.symbol, "timeframe": &*wording.timeframe, "indicators": ids(indicators.iter()),
                "initial_values": values})
        })
        .collect();
    let lost: Vec<Value> = lost
        .iter()
        .map(|group| json!({"symbol": group.symbol, "timeframe": group.timeframe, "indicators": group.ids}))
        .collect();
    let data = json!({"status": "resumed", "ws_conn_id": ws_conn_id, "subscriptions": subscriptions, "lost": lost,
        "since": Utc(since as i64).to_string(), "gap": joined.gap});
    success(format!("Resumed {}", count(total)), data)
}

/// The answer to the end of subscriptions on a connection of its own.
pub fn unsubscribed(ws_conn_id: &str, everything: bool, removed: &[Removed]) -> Value {
    let message = if everything {
        "Unsubscribed from all indicators".to_owned()
    } else {
        format!("Unsubscribed from {}", count(removed.len()))
    };
    let data = json!({"status": "unsubscribed", "ws_conn_id": ws_conn_id,
        "indicators_removed": ids(removed.iter().map(|one| &one.id)), "removed": named(removed)});
    success(message, data)
}

/// The same for a client, whose connections share what they have.
pub fn client_unsubscribed(removed: &[Removed]) -> Value {
    let data = json!({"unsubscribed": ids(removed.iter().map(|one| &one.id)), "removed": named(removed)});
    success(format!("Unsubscribed from {}", count(removed.len())), data)
}

/// What was taken away, each with its symbol and timeframe.
pub fn named(removed: &[Removed]) -> Value {
    let each = removed.iter().map(|one| {
        json!({"symbol": &*one.wording.symbol, "timeframe": &*one.wording.timeframe, "indicator_id": one.id.to_string()})
    });
    each.collect()
}

fn ids<'a>(all: impl Iterator<Item = &'a IndicatorId>) -> Value {
    all.map(IndicatorId::to_string).collect()
}

fn count(indicators: usize) -> String {
    if indicators == 1 { "1 indicator".to_owned() } else { format!("{indicators} indicators") }
}
