//! The tick stream as its clients know it: every request, every reply, every push, over real sockets.

#[path = "../support/mod.rs"]
mod support;

mod delivery;
mod request;
mod subscription;
mod tick;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::gateway::{Running, settings, start};
use support::script::Script;

/// A gateway with the usual settings and a feed that the test speaks for.
fn scripted() -> (Running, Script) {
    let script = Script::default();
    (start(settings(), script.source(&[])), script)
}

/// The names of a message's fields.
fn fields(message: &Value) -> BTreeSet<&str> {
    message.as_object().unwrap().keys().map(String::as_str).collect()
}

/// 1000 and 1000.0 are one number to a browser.
fn as_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(as_floats).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, v)| (name, as_floats(v))).collect()),
        other => other,
    }
}
