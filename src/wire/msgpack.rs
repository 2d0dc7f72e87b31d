//! The MessagePack notation: the same maps as in JSON; prices are 64-bit floats.

use super::notation::{Key, Notation};

/// Appends MessagePack to a buffer.
#[derive(Debug)]
pub struct Msgpack<'a>(pub &'a mut Vec<u8>);

impl Msgpack<'_> {
    /// A head with a count: in one byte below `limit`, else with 16 or 32 bits behind the given markers.
    fn head(&mut self, small: u8, limit: usize, wide: [u8; 2], count: usize) {
        if count < limit {
            self.0.push(small | count as u8);
        } else if let Ok(count) = u16::try_from(count) {
            self.0.push(wide[0]);
            self.0.extend_from_slice(&count.to_be_bytes());
        } else {
            self.0.push(wide[1]);
            self.0.extend_from_slice(&(count as u32).to_be_bytes());
        }
    }
}

impl Notation for Msgpack<'_> {
    fn map(&mut self, fields: usize) {
        self.head(0x80, 16, [0xde, 0xdf], fields);
    }

    fn end_map(&mut self) {}

    fn list(&mut self, items: usize) {
        self.head(0x90, 16, [0xdc, 0xdd], items);
    }

    fn end_list(&mut self) {}

    fn item(&mut self) {}

    fn key(&mut self, key: Key) {
        self.string(key.name);
    }

    fn dynamic_key(&mut self, name: &str) {
        self.string(name);
    }

    fn plain(&mut self, text: &'static str) {
        self.string(text);
    }

    fn string(&mut self, text: &str) {
        self.head(0xa0, 32, [0xda, 0xdb], text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn token(&mut self, token: u32) {
        self.string(itoa::Buffer::new().format(token));
    }

    fn unsigned(&mut self, value: u64) {
        match (u8::try_from(value), u32::try_from(value)) {
            (Ok(byte @ 0..=0x7f), _) => self.0.push(byte),
            (_, Ok(value)) => {
                self.0.push(0xce);
                self.0.extend_from_slice(&value.to_be_bytes());
            }
            _ => {
                self.0.push(0xcf);
                self.0.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    fn negative(&mut self, value: i64) {
        self.0.push(0xd3);
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn price(&mut self, raw: i32, decimals: u32) {
        self.float(f64::from(raw) / f64::from(10u32.pow(decimals)));
    }

    fn millionths(&mut self, millionths: i64) {
        self.float(millionths as f64 / 1e6);
    }

    fn float(&mut self, value: f64) {
        self.0.push(0xcb);
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn bool(&mut self, value: bool) {
        self.0.push(if value { 0xc3 } else { 0xc2 });
    }

    fn null(&mut self) {
        self.0.push(0xc0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_follow_the_specification() {
        let mut out = Vec::new();
        let mut pack = Msgpack(&mut out);
        pack.map(1);
        pack.string("a");
        pack.unsigned(128);
        assert_eq!(out, [0x81, 0xa1, b'a', 0xce, 0, 0, 0, 128]);
        for (length, head) in [(31, vec![0xbf]), (32, vec![0xda, 0, 32]), (70_000, vec![0xdb, 0, 1, 0x11, 0x70])] {
            let mut out = Vec::new();
            Msgpack(&mut out).string(&"x".repeat(length));
            assert!(out.starts_with(&head), "{length}");
        }
    }
}
