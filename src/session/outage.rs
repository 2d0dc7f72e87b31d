//! What tabs are told of instruments whose values grow old, and which those are now.

use crate::market::InstrumentToken;
use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Instruments that subscribers were told are stale, each with the time, monotonic, since when nothing was heard of its
/// connection. Replaced whole by the one task that tells; loaded by whoever subscribes.
#[derive(Debug, Default)]
pub struct StaleTokens(ArcSwap<FxHashMap<InstrumentToken, u64>>);

impl StaleTokens {
    /// Which of `tokens` are stale, by the time since when.
    pub fn among(&self, tokens: &[InstrumentToken]) -> BTreeMap<u64, Vec<InstrumentToken>> {
        let stale = self.0.load();
        let mut found: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        if !stale.is_empty() {
            for token in tokens {
                if let Some(since_ns) = stale.get(token) {
                    found.entry(*since_ns).or_default().push(*token);
                }
            }
        }
        found
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    /// Whether all is well.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Other ones from now on.
    pub fn publish(&self, stale: FxHashMap<InstrumentToken, u64>) {
        self.0.store(stale.into());
    }
}

/// Nothing was heard of these since then, Unix seconds.
pub fn stale(tokens: &[InstrumentToken], since: f64) -> Value {
    json!({"type": "stale", "tokens": strings(tokens), "since": since})
}

/// These are served again, after so many seconds: what happened between is not known.
pub fn fresh(tokens: &[InstrumentToken], gap_seconds: f64) -> Value {
    json!({"type": "fresh", "tokens": strings(tokens), "gap_seconds": gap_seconds})
}

fn strings(tokens: &[InstrumentToken]) -> Vec<String> {
    tokens.iter().map(InstrumentToken::to_string).collect()
}
