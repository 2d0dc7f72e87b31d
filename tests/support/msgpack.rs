//! A reader of MessagePack, by its specification and not by our writer.

use serde_json::Value;

/// One whole value, with nothing behind it.
#[track_caller]
pub fn decode(mut bytes: &[u8]) -> Value {
    let value = value(&mut bytes);
    assert!(bytes.is_empty(), "{} bytes behind the value", bytes.len());
    value
}

fn take<const N: usize>(from: &mut &[u8]) -> [u8; N] {
    let (head, rest) = from.split_first_chunk::<N>().expect("a whole value");
    *from = rest;
    *head
}

fn length<const N: usize>(from: &mut &[u8]) -> usize {
    take::<N>(from).into_iter().fold(0, |length, byte| length << 8 | usize::from(byte))
}

fn text(from: &mut &[u8], length: usize) -> Value {
    let (text, rest) = from.split_at(length);
    *from = rest;
    Value::from(std::str::from_utf8(text).unwrap())
}

fn list(from: &mut &[u8], count: usize) -> Value {
    (0..count).map(|_| value(from)).collect()
}

fn map(from: &mut &[u8], count: usize) -> Value {
    let pairs = (0..count).map(|_| (value(from).as_str().expect("a string as key").to_owned(), value(from)));
    let pairs: serde_json::Map<_, _> = pairs.collect();
    assert_eq!(pairs.len(), count, "a key stands twice");
    Value::Object(pairs)
}

fn value(from: &mut &[u8]) -> Value {
    let [marker] = take(from);
    match marker {
        0x00..=0x7f => marker.into(),
        0x80..=0x8f => map(from, usize::from(marker & 0x0f)),
        0x90..=0x9f => list(from, usize::from(marker & 0x0f)),
        0xa0..=0xbf => text(from, usize::from(marker & 0x1f)),
        0xc0 => Value::Null,
        0xc2 | 0xc3 => (marker == 0xc3).into(),
        0xca => f32::from_be_bytes(take(from)).into(),
        0xcb => f64::from_be_bytes(take(from)).into(),
        0xcc => u8::from_be_bytes(take(from)).into(),
        0xcd => u16::from_be_bytes(take(from)).into(),
        0xce => u32::from_be_bytes(take(from)).into(),
        0xcf => u64::from_be_bytes(take(from)).into(),
        0xd0 => i8::from_be_bytes(take(from)).into(),
        0xd1 => i16::from_be_bytes(take(from)).into(),
        0xd2 => i32::from_be_bytes(take(from)).into(),
        0xd3 => i64::from_be_bytes(take(from)).into(),
        0xd9 => length::<1>(from).pipe(|length| text(from, length)),
        0xda => length::<2>(from).pipe(|length| text(from, length)),
        0xdb => length::<4>(from).pipe(|length| text(from, length)),
        0xdc => length::<2>(from).pipe(|count| list(from, count)),
        0xdd => length::<4>(from).pipe(|count| list(from, count)),
        0xde => length::<2>(from).pipe(|count| map(from, count)),
        0xdf => length::<4>(from).pipe(|count| map(from, count)),
        0xe0..=0xff => marker.cast_signed().into(),
        other => panic!("marker {other:#x}"),
    }
}

/// So that the length is read before what it is the length of, in one line each.
trait Pipe: Sized {
    fn pipe<T>(self, then: impl FnOnce(Self) -> T) -> T {
        then(self)
    }
}

impl Pipe for usize {}
