//! Stop 5 of a tick: the message a subscriber gets, in its format and mode.

use super::encoding::{Encoding, Format};
use super::frame::{self, Opcode, Span};
use super::json::Json;
use super::msgpack::Msgpack;
use super::notation::Notation;
use crate::key;
use crate::kite::packet;
use crate::market::{Layout, Level, Mode, Ohlc, Tick};
use serde_json::Value;

/// The sign of life that Kite's clients know: a binary message of one byte, which must be zero.
pub const KITE_HEARTBEAT: &[u8] = &[0x82, 1, 0];

/// Appends a tick as a frame. `packet` is what it was decoded from, for Kite's format alone; `arrived_unix_ns` is its timestamp where the mode
/// carries no time of the exchange; `snapshot` marks the first message of a token after a subscription.
///
/// In Kite's format, which always has several to a frame, what is appended is a body alone: the packet's visible prefix
/// behind its length. It is never put together anew.
pub fn tick_frame(
    out: &mut Vec<u8>,
    encoding: Encoding,
    tick: &Tick,
    packet: &[u8],
    arrived_unix_ns: u64,
    snapshot: bool,
) -> Span {
    let mode = encoding.mode.min(tick.mode);
    match encoding.format {
        Format::Json => {
            frame::build(out, Opcode::Text, |out| write_tick(&mut Json(out), tick, mode, arrived_unix_ns, snapshot))
        }
        Format::Msgpack => frame::build(out, Opcode::Binary, |out| {
            write_tick(&mut Msgpack(out), tick, mode, arrived_unix_ns, snapshot);
        }),
        Format::Unwritten => Span::default(),
        Format::Kite => {
            let visible = &packet[..packet::visible_length(packet.len(), mode)];
            frame::bare(out, |out| {
                out.extend_from_slice(&(visible.len() as u16).to_be_bytes());
                out.extend_from_slice(visible);
            })
        }
    }
}

/// Appends any message as a frame. Kite's clients get what is no tick as JSON.
pub fn value_frame(out: &mut Vec<u8>, format: Format, message: &Value) -> Span {
    written(out, format, |to| to.value(message))
}

/// Appends as a frame what `write` says, in whichever notation.
pub(super) fn written(out: &mut Vec<u8>, format: Format, write: impl FnOnce(&mut dyn Notation)) -> Span {
    match format {
        Format::Json | Format::Kite => frame::build(out, Opcode::Text, |out| write(&mut Json(out))),
        Format::Msgpack => frame::build(out, Opcode::Binary, |out| write(&mut Msgpack(out))),
        Format::Unwritten => Span::default(),
    }
}

/// Appends a batch as a frame: `bodies` are `count` messages one behind the other, in JSON with a comma between. Kite's
/// batch is its message of several packets, of which there are at most 65,535.
pub fn batch_frame(out: &mut Vec<u8>, format: Format, count: usize, bodies: &[u8]) -> Span {
    fn write(notation: &mut impl Notation, count: usize) {
        notation.map(2);
        notation.key(key!("type"));
        notation.plain("batch");
        notation.key(key!("messages"));
        notation.list(count);
    }
    match format {
        Format::Json => frame::build(out, Opcode::Text, |out| {
            write(&mut Json(out), count);
            out.extend_from_slice(bodies);
            out.extend_from_slice(b"]}");
        }),
        Format::Msgpack => frame::build(out, Opcode::Binary, |out| {
            write(&mut Msgpack(out), count);
            out.extend_from_slice(bodies);
        }),
        Format::Unwritten => Span::default(),
        Format::Kite => frame::build(out, Opcode::Binary, |out| {
            out.extend_from_slice(&(count as u16).to_be_bytes());
            out.extend_from_slice(bodies);
        }),
    }
}

/// A tick with what `mode` shows of it. The first five fields after `type` and `token` are those every tick has;
/// `token` comes before all values so that a reader can drop a message early.
fn write_tick(to: &mut impl Notation, tick: &Tick, mode: Mode, arrived_unix_ns: u64, snapshot: bool) {
    let decimals = tick.token.segment().decimals();
    let tradable = tick.layout == Layout::Tradable;
    let (quote, full) = (mode >= Mode::Quote, mode == Mode::Full);
    let fields = 8
        + usize::from(snapshot)
        + if quote { 2 } else { 0 }
        + if quote && tradable { 4 } else { 0 }
        + usize::from(full)
        + if full && tradable { 5 } else { 0 };
    to.map(fields);
    to.key(key!("type"));
    to.plain("tick");
    to.key(key!("token"));
    to.token(tick.token.0);
    to.key(key!("price"));
    to.price(tick.last_price, decimals);
    to.key(key!("timestamp"));
    if full && tick.exchange_timestamp != 0 {
        to.millionths(i64::from(tick.exchange_timestamp) * 1_000_000);
    } else {
        to.millionths((arrived_unix_ns / 1_000).cast_signed());
    }
    to.key(key!("volume_traded"));
    to.unsigned(if quote { u64::from(tick.volume_traded) } else { 0 });
    to.key(key!("last_price"));
    to.price(tick.last_price, decimals);
    to.key(key!("mode"));
    to.plain(mode.name());
    to.key(key!("tradable"));
    to.bool(tick.token.segment().tradable());
    if snapshot {
        to.key(key!("snapshot"));
        to.bool(true);
    }
    if quote && tradable {
        to.key(key!("last_traded_quantity"));
        to.unsigned(u64::from(tick.last_traded_quantity));
        to.key(key!("average_traded_price"));
        to.price(tick.average_traded_price, decimals);
        to.key(key!("total_buy_quantity"));
        to.unsigned(u64::from(tick.total_buy_quantity));
        to.key(key!("total_sell_quantity"));
        to.unsigned(u64::from(tick.total_sell_quantity));
    }
    if quote {
        let Ohlc { open, high, low, close } = tick.ohlc;
        to.key(key!("ohlc"));
        to.map(4);
        to.key(key!("open"));
        to.price(open, decimals);
        to.key(key!("high"));
        to.price(high, decimals);
        to.key(key!("low"));
        to.price(low, decimals);
        to.key(key!("close"));
        to.price(close, decimals);
        to.end_map();
        to.key(key!("change"));
        to.millionths(change_millionths(tick));
    }
    if full && tradable {
        to.key(key!("last_trade_time"));
        to.unsigned(u64::from(tick.last_trade_time));
        to.key(key!("oi"));
        to.unsigned(u64::from(tick.oi));
        to.key(key!("oi_day_high"));
        to.unsigned(u64::from(tick.oi_day_high));
        to.key(key!("oi_day_low"));
        to.unsigned(u64::from(tick.oi_day_low));
    }
    if full {
        to.key(key!("exchange_timestamp"));
        to.unsigned(u64::from(tick.exchange_timestamp));
    }
    if full && tradable {
        to.key(key!("depth"));
        to.map(2);
        to.key(key!("buy"));
        write_levels(to, &tick.depth.buy, decimals);
        to.key(key!("sell"));
        write_levels(to, &tick.depth.sell, decimals);
        to.end_map();
    }
    to.end_map();
}

fn write_levels(to: &mut impl Notation, levels: &[Level; 5], decimals: u32) {
    to.list(levels.len());
    for level in levels {
        to.item();
        to.map(3);
        to.key(key!("quantity"));
        to.unsigned(u64::from(level.quantity));
        to.key(key!("price"));
        to.price(level.price, decimals);
        to.key(key!("orders"));
        to.unsigned(u64::from(level.orders));
        to.end_map();
    }
    to.end_list();
}

/// Percent change since the previous close in millionths of a percent, rounded; 0 when there is no close. In integers:
/// at most `2^32 * 10^8`, which an `i64` holds.
fn change_millionths(tick: &Tick) -> i64 {
    let (last, close) = (i64::from(tick.last_price), i64::from(tick.ohlc.close));
    if close == 0 {
        return 0;
    }
    let scaled = (last - close) * 100_000_000;
    let half = close.abs() / 2;
    if (scaled < 0) == (close < 0) {
        (scaled.abs() + half) / close.abs()
    } else {
        -((scaled.abs() + half) / close.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::InstrumentToken;
    use serde_json::json;

    fn example(token: u32, mode: Mode, layout: Layout) -> Tick {
        let mut tick = Tick::ltp(InstrumentToken(token), 241_235);
        tick.mode = mode;
        tick.layout = layout;
        tick.ohlc = Ohlc { open: 240_000, high: 242_000, low: 239_500, close: 240_500 };
        tick.volume_traded = 1_234_567;
        tick.exchange_timestamp = 1_762_257_900;
        tick
    }

    fn body(tick: &Tick, format: Format, mode: Mode, snapshot: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let span = tick_frame(&mut out, Encoding { format, mode }, tick, &[], 1_762_257_930_120_000_000, snapshot);
        out[span.body()].to_vec()
    }

    fn as_json(tick: &Tick, mode: Mode) -> Value {
        serde_json::from_slice(&body(tick, Format::Json, mode, false)).unwrap()
    }

    #[test]
    fn a_tick_shows_what_its_mode_has_and_no_more() {
        let tick = example(738_561, Mode::Full, Layout::Tradable);
        let ltp = as_json(&tick, Mode::Ltp);
        let expected = json!({"type": "tick", "token": "738561", "price": 2412.35, "timestamp": 1_762_257_930.12,
            "volume_traded": 0, "last_price": 2412.35, "mode": "ltp", "tradable": true});
        assert_eq!(ltp, expected);
        let quote = as_json(&tick, Mode::Quote);
        assert_eq!(quote["volume_traded"], 1_234_567);
        assert_eq!(quote["ohlc"], json!({"open": 2400.0, "high": 2420.0, "low": 2395.0, "close": 2405.0}));
        assert_eq!(quote["change"], 0.305_613);
        assert!(quote.get("depth").is_none() && quote.get("oi").is_none());
        let full = as_json(&tick, Mode::Full);
        assert_eq!(full["timestamp"], 1_762_257_900.0);
        assert_eq!(full["depth"]["sell"].as_array().unwrap().len(), 5);
        assert_eq!(as_json(&example(256_265, Mode::Quote, Layout::Index), Mode::Full)["mode"], "quote");
    }

    #[test]
    fn both_notations_say_the_same() {
        for layout in [Layout::Tradable, Layout::Index] {
            for mode in Mode::ALL {
                for snapshot in [false, true] {
                    let tick = example(738_561, mode, layout);
                    let json: Value = serde_json::from_slice(&body(&tick, Format::Json, mode, snapshot)).unwrap();
                    let packed = body(&tick, Format::Msgpack, mode, snapshot);
                    let mut rest = &packed[..];
                    assert_eq!(unpack(&mut rest), json);
                    assert!(rest.is_empty());
                }
            }
        }
    }

    #[test]
    fn a_kite_packet_is_passed_on_as_far_as_the_mode_shows_it() {
        for (length, layout, seen) in [(184, Layout::Tradable, [8, 44, 184]), (32, Layout::Index, [8, 28, 32])] {
            let packet: Vec<u8> = (0..length).collect();
            let tick = example(738_561, Mode::Full, layout);
            for (mode, seen) in Mode::ALL.into_iter().zip(seen) {
                let mut out = b"before".to_vec();
                let span = tick_frame(&mut out, Encoding { format: Format::Kite, mode }, &tick, &packet, 0, true);
                assert_eq!(span.frame(), span.body());
                assert_eq!(out[span.body()], [&[0, seen as u8], &packet[..seen]].concat());
            }
        }
        let mut out = Vec::new();
        let span = batch_frame(&mut out, Format::Kite, 2, b"..8 bytes..8 bytes");
        assert_eq!(out[span.frame()], *b"\x82\x14\0\x02..8 bytes..8 bytes");
    }

    #[test]
    fn a_batch_holds_its_messages() {
        let mut out = Vec::new();
        let span = batch_frame(&mut out, Format::Json, 2, br#"{"a":1},{"b":2}"#);
        let value: Value = serde_json::from_slice(&out[span.body()]).unwrap();
        assert_eq!(value, json!({"type": "batch", "messages": [{"a": 1}, {"b": 2}]}));
    }

    /// Reads what our writer writes, by the MessagePack specification.
    fn unpack(from: &mut &[u8]) -> Value {
        fn take<const N: usize>(from: &mut &[u8]) -> [u8; N] {
            let (head, rest) = from.split_first_chunk::<N>().unwrap();
            *from = rest;
            *head
        }
        fn text(from: &mut &[u8], length: usize) -> Value {
            let (text, rest) = from.split_at(length);
            *from = rest;
            Value::from(std::str::from_utf8(text).unwrap())
        }
        fn map(from: &mut &[u8], count: usize) -> Value {
            let pairs = (0..count).map(|_| (unpack(from).as_str().unwrap().to_owned(), unpack(from)));
            Value::Object(pairs.collect())
        }
        let [marker] = take(from);
        match marker {
            0..=0x7f => Value::from(marker),
            0x80..=0x8f => map(from, usize::from(marker & 15)),
            0x90..=0x9f => (0..marker & 15).map(|_| unpack(from)).collect(),
            0xa0..=0xbf => text(from, usize::from(marker & 31)),
            0xc2 | 0xc3 => Value::from(marker == 0xc3),
            0xcb => Value::from(f64::from_be_bytes(take(from))),
            0xce => Value::from(u32::from_be_bytes(take(from))),
            0xcf => Value::from(u64::from_be_bytes(take(from))),
            0xda => {
                let length = u16::from_be_bytes(take(from));
                text(from, usize::from(length))
            }
            0xde => {
                let count = u16::from_be_bytes(take(from));
                map(from, usize::from(count))
            }
            other => panic!("marker {other:#x}"),
        }
    }
}
