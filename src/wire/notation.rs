//! One description of a message, two notations: what is written is said once, here in method calls, and
//! [`json`](super::json) and [`msgpack`](super::msgpack) say how.

use serde_json::Value;

/// A map key, ready for both notations. Made by [`key!`](crate::key).
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The name.
    pub name: &'static str,
    /// `,"name":`
    pub json: &'static str,
}

/// A [`Key`] from a literal, put together at compile time.
#[macro_export]
macro_rules! key {
    ($name:literal) => {
        $crate::wire::notation::Key { name: $name, json: concat!(",\"", $name, "\":") }
    };
}

/// Writes values to the end of a buffer. Maps and lists are told their size first, which MessagePack needs.
pub trait Notation {
    /// Begins a map of `fields` pairs.
    fn map(&mut self, fields: usize);
    /// Ends the innermost map.
    fn end_map(&mut self);
    /// Begins a list of `items`; each is announced by [`Notation::item`].
    fn list(&mut self, items: usize);
    /// Ends the innermost list.
    fn end_list(&mut self);
    /// Announces a list's next item.
    fn item(&mut self);
    /// A key known at compile time.
    fn key(&mut self, key: Key);
    /// A key that is not.
    fn dynamic_key(&mut self, name: &str);
    /// A string that needs no escaping.
    fn plain(&mut self, text: &'static str);
    /// Any string.
    fn string(&mut self, text: &str);
    /// An instrument token: a string of digits.
    fn token(&mut self, token: u32);
    /// A count.
    fn unsigned(&mut self, value: u64);
    /// A number below zero.
    fn negative(&mut self, value: i64);
    /// `raw / 10^decimals`.
    fn price(&mut self, raw: i32, decimals: u32);
    /// `millionths / 10^6`.
    fn millionths(&mut self, millionths: i64);
    /// Any number.
    fn float(&mut self, value: f64);
    /// True or false.
    fn bool(&mut self, value: bool);
    /// Nothing.
    fn null(&mut self);

    /// A whole value, for messages off the hot path.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.null(),
            Value::Bool(value) => self.bool(*value),
            Value::String(text) => self.string(text),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => self.unsigned(value),
                (None, Some(value)) => self.negative(value),
                (None, None) => self.float(number.as_f64().unwrap_or_default()),
            },
            Value::Array(items) => {
                self.list(items.len());
                for item in items {
                    self.item();
                    self.value(item);
                }
                self.end_list();
            }
            Value::Object(fields) => {
                self.map(fields.len());
                for (name, value) in fields {
                    self.dynamic_key(name);
                    self.value(value);
                }
                self.end_map();
            }
        }
    }
}
