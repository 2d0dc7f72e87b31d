//! The words Kite understands.

use std::fmt::Write;

use crate::market::{InstrumentToken, Mode};

/// Most tokens in one request. Kite documents no limit; all clients stay near this.
const BATCH: usize = 1_000;

/// Cancellations, then subscriptions, then modes.
pub(super) fn requests(
    unsubscribe: &[InstrumentToken],
    subscribe: &[InstrumentToken],
    modes: &[(Mode, Vec<InstrumentToken>)],
) -> Vec<String> {
    let unsubscribe = unsubscribe.chunks(BATCH).map(|tokens| action("unsubscribe", tokens));
    let subscribe = subscribe.chunks(BATCH).map(|tokens| action("subscribe", tokens));
    let modes = modes.iter().flat_map(|(mode, tokens)| tokens.chunks(BATCH).map(|part| mode_of(*mode, part)));
    unsubscribe.chain(subscribe).chain(modes).collect()
}

fn action(name: &str, tokens: &[InstrumentToken]) -> String {
    format!(r#"{{"a":"{name}","v":{}}}"#, list(tokens))
}

fn mode_of(mode: Mode, tokens: &[InstrumentToken]) -> String {
    format!(r#"{{"a":"mode","v":["{}",{}]}}"#, mode.name(), list(tokens))
}

/// Numbers: Kite does not understand tokens in quotes.
fn list(tokens: &[InstrumentToken]) -> String {
    let mut out = String::with_capacity(2 + tokens.len() * 10);
    for token in tokens {
        out.push(if out.is_empty() { '[' } else { ',' });
        // Writing to a String cannot fail.
        let _ = write!(out, "{token}");
    }
    out.push(']');
    out
}
