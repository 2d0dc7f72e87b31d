//! The JSON notation: numbers are written from integers, so no float is printed on a tick's way.

use super::notation::{Key, Notation};

/// Appends JSON to a buffer.
#[derive(Debug)]
pub struct Json<'a>(pub &'a mut Vec<u8>);

impl Json<'_> {
    fn put(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Writes `whole.fraction` with `decimals` decimals, trailing zeros left out but one: `2412.5`, `1573.0`.
    fn fixed(&mut self, negative: bool, magnitude: u64, decimals: u32) {
        if negative {
            self.0.push(b'-');
        }
        let divisor = 10u64.pow(decimals);
        self.unsigned(magnitude / divisor);
        // A one before it keeps its leading zeros.
        let mut digits = itoa::Buffer::new();
        let fraction = digits.format(divisor + magnitude % divisor);
        let used = fraction.trim_end_matches('0').len().max(2);
        self.0.push(b'.');
        self.put(fraction.get(1..used).unwrap_or("0"));
    }
}

impl Notation for Json<'_> {
    fn map(&mut self, _: usize) {
        self.0.push(b'{');
    }

    fn end_map(&mut self) {
        self.0.push(b'}');
    }

    fn list(&mut self, _: usize) {
        self.0.push(b'[');
    }

    fn end_list(&mut self) {
        self.0.push(b']');
    }

    fn item(&mut self) {
        if self.0.last() != Some(&b'[') {
            self.0.push(b',');
        }
    }

    fn key(&mut self, key: Key) {
        let first = self.0.last() == Some(&b'{');
        self.put(if first { &key.json[1..] } else { key.json });
    }

    fn dynamic_key(&mut self, name: &str) {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.string(name);
        self.0.push(b':');
    }

    fn plain(&mut self, text: &'static str) {
        self.0.push(b'"');
        self.put(text);
        self.0.push(b'"');
    }

    fn string(&mut self, text: &str) {
        self.0.push(b'"');
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => self.0.extend_from_slice(&[b'\\', byte]),
                0x00..=0x1f => self.put(&format!("\\u{byte:04x}")),
                _ => self.0.push(byte),
            }
        }
        self.0.push(b'"');
    }

    fn token(&mut self, token: u32) {
        self.0.push(b'"');
        self.unsigned(u64::from(token));
        self.0.push(b'"');
    }

    fn unsigned(&mut self, value: u64) {
        self.put(itoa::Buffer::new().format(value));
    }

    fn negative(&mut self, value: i64) {
        self.put(itoa::Buffer::new().format(value));
    }

    fn price(&mut self, raw: i32, decimals: u32) {
        self.fixed(raw < 0, u64::from(raw.unsigned_abs()), decimals);
    }

    fn millionths(&mut self, millionths: i64) {
        self.fixed(millionths < 0, millionths.unsigned_abs(), 6);
    }

    fn float(&mut self, value: f64) {
        // serde_json prints the shortest form that reads back the same, and `null` for what JSON cannot say. Writing to
        // memory cannot fail.
        let _ = serde_json::to_writer(&mut *self.0, &value);
    }

    fn bool(&mut self, value: bool) {
        self.put(if value { "true" } else { "false" });
    }

    fn null(&mut self) {
        self.put("null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Json<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Json(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prices_keep_every_decimal_and_drop_no_sign() {
        assert_eq!(written(|json| json.price(157_370, 2)), "1573.7");
        assert_eq!(written(|json| json.price(157_300, 2)), "1573.0");
        assert_eq!(written(|json| json.price(-5, 2)), "-0.05");
        assert_eq!(written(|json| json.price(1, 7)), "0.0000001");
        assert_eq!(written(|json| json.price(5, 0)), "5.0");
        assert_eq!(written(|json| json.price(i32::MIN, 4)), "-214748.3648");
        assert_eq!(written(|json| json.millionths(-1)), "-0.000001");
    }

    #[test]
    fn a_price_reads_back_as_what_it_was_with_any_number_of_decimals() {
        for (decimals, raw) in
            (1..=9).flat_map(|decimals| [0, 1, 10, 120, 100_000_000, i32::MAX].map(|raw| (decimals, raw)))
        {
            let text = written(|json| json.price(raw, decimals));
            let (whole, fraction) = text.split_once('.').unwrap();
            let places = 10_i64.pow(decimals - fraction.len() as u32);
            let value =
                whole.parse::<i64>().unwrap() * 10_i64.pow(decimals) + fraction.parse::<i64>().unwrap() * places;
            assert_eq!(value, i64::from(raw), "{text}");
            assert!(fraction == "0" || !fraction.ends_with('0'), "{text}");
        }
    }

    #[test]
    fn values_survive_the_way_through_serde() {
        let value = serde_json::json!({"a": [1, -2, 2.5, null, true, {"b": "x\"\\\n\u{1}é"}], "c": {}});
        let text = written(|json| json.value(&value));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
