//! Stop 2 of a tick: one binary message is cut into packets, and each packet decodes into a [`Tick`].
//!
//! Any bytes give ticks or a named error, never a panic. The framing of a message is checked *before* its first packet
//! is handed out, so a broken message yields an error and no ticks (as pykiteconnect has it), not half a message.
//!
//! A message is `u16 count`, then `count` times `u16 length, length bytes`, all big endian. The length alone decides
//! the layout; every shorter mode is a byte prefix of the longer one, which is why one upstream subscription in full
//! mode serves every mode downstream by truncation.

use crate::market::{Depth, InstrumentToken, Layout, Level, Mode, Ohlc, Tick};

/// Length of the longest packet, a tradable instrument in full mode.
pub const MAX_PACKET: usize = 184;

/// Why a message or a packet gives no tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PacketError {
    /// The message ends where a packet's two-byte length should stand.
    #[error("message of {bytes} bytes announces {announced} packets but ends within the length of packet {packet}")]
    Truncated {
        /// Bytes in the message.
        bytes: usize,
        /// What its count says.
        announced: u16,
        /// The packet, from 1, whose length is not there.
        packet: u16,
    },
    /// A packet too short to name its instrument.
    #[error("packet {packet} has {length} bytes, too few for an instrument token")]
    NoToken {
        /// The packet, from 1.
        packet: u16,
        /// Its length.
        length: usize,
    },
    /// A length that version 3 of the protocol does not know (8, 28, 32, 44, 184). The packet is skipped, the rest of
    /// its message is good.
    #[error("packet of {length} bytes; known are 8, 28, 32, 44 and 184")]
    UnknownLength {
        /// Its length.
        length: usize,
    },
}

/// The packets of one message, in the order of the wire.
///
/// Heartbeats (one byte), an empty message and a count of 0 give none. Bytes behind the last packet are ignored, and a
/// last packet whose body was cut short is handed out as long as it is: both as all official clients do.
pub fn packets(message: &[u8]) -> Result<Packets<'_>, PacketError> {
    let Some((count, body)) = message.split_first_chunk::<2>() else {
        return Ok(Packets { left: 0, rest: &[] });
    };
    let announced = u16::from_be_bytes(*count);
    let mut rest = body;
    for packet in 1..=announced {
        let truncated = PacketError::Truncated { bytes: message.len(), announced, packet };
        let (length, after) = rest.split_first_chunk::<2>().ok_or(truncated)?;
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        if length < 4 {
            return Err(PacketError::NoToken { packet, length });
        }
        rest = &after[length..];
    }
    Ok(Packets { left: announced, rest: body })
}

/// See [`packets`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    /// Packets not yet handed out.
    left: u16,
    /// What follows the last one handed out; `packets` has checked that `left` packets are in it.
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let (length, after) = self.rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (packet, rest) = after.split_at(length);
        self.rest = rest;
        Some(packet)
    }
}

/// Which mode and layout a packet of that length has; `None` for a length unknown to version 3.
pub const fn shape(length: usize) -> Option<(Mode, Layout)> {
    match length {
        8 => Some((Mode::Ltp, Layout::Tradable)),
        28 => Some((Mode::Quote, Layout::Index)),
        32 => Some((Mode::Full, Layout::Index)),
        44 => Some((Mode::Quote, Layout::Tradable)),
        184 => Some((Mode::Full, Layout::Tradable)),
        _ => None,
    }
}

/// How many bytes of a packet of `length` bytes a subscriber in `mode` sees: its prefix, never more than there is.
pub const fn visible_length(length: usize, mode: Mode) -> usize {
    let most = match (mode, length) {
        (Mode::Ltp, _) => 8,
        (Mode::Quote, 28 | 32) => 28,
        (Mode::Quote, _) => 44,
        (Mode::Full, _) => MAX_PACKET,
    };
    if most < length { most } else { length }
}

/// Decodes one packet.
///
/// # Errors
/// [`PacketError::UnknownLength`], to be counted and skipped.
#[inline]
pub fn decode(packet: &[u8]) -> Result<Tick, PacketError> {
    let Some((mode, layout)) = shape(packet.len()) else {
        return Err(PacketError::UnknownLength { length: packet.len() });
    };
    let mut tick = Tick::ltp(InstrumentToken(u32_at(packet, 0)), i32_at(packet, 4));
    tick.mode = mode;
    tick.layout = layout;
    match packet.len() {
        28 | 32 => index(&mut tick, packet),
        44 => quote(&mut tick, packet),
        184 => {
            quote(&mut tick, packet);
            full(&mut tick, packet);
        }
        _ => {}
    }
    Ok(tick)
}

#[inline]
fn index(tick: &mut Tick, packet: &[u8]) {
    // High, low, open, close: not the order of tradable instruments. Bytes 24 to 27 are the exchange's price change,
    // which every client computes for itself.
    tick.ohlc =
        Ohlc { high: i32_at(packet, 8), low: i32_at(packet, 12), open: i32_at(packet, 16), close: i32_at(packet, 20) };
    if packet.len() == 32 {
        tick.exchange_timestamp = u32_at(packet, 28);
    }
}

#[inline]
fn quote(tick: &mut Tick, packet: &[u8]) {
    tick.last_traded_quantity = u32_at(packet, 8);
    tick.average_traded_price = i32_at(packet, 12);
    tick.volume_traded = u32_at(packet, 16);
    tick.total_buy_quantity = u32_at(packet, 20);
    tick.total_sell_quantity = u32_at(packet, 24);
    tick.ohlc =
        Ohlc { open: i32_at(packet, 28), high: i32_at(packet, 32), low: i32_at(packet, 36), close: i32_at(packet, 40) };
}

#[inline]
fn full(tick: &mut Tick, packet: &[u8]) {
    tick.last_trade_time = u32_at(packet, 44);
    tick.oi = u32_at(packet, 48);
    tick.oi_day_high = u32_at(packet, 52);
    tick.oi_day_low = u32_at(packet, 56);
    tick.exchange_timestamp = u32_at(packet, 60);
    tick.depth = Depth {
        buy: std::array::from_fn(|row| level(packet, 64 + row * 12)),
        sell: std::array::from_fn(|row| level(packet, 124 + row * 12)),
    };
}

/// A row is 12 bytes: the last two are padding with junk in it, so orders is read as 16 bits.
#[inline]
fn level(packet: &[u8], at: usize) -> Level {
    Level { quantity: u32_at(packet, at), price: i32_at(packet, at + 4), orders: u16_at(packet, at + 8) }
}

/// Reads past the end give 0 instead of a panic; `shape` has ruled them out, so the compiler sees one length check.
#[inline]
fn u32_at(packet: &[u8], at: usize) -> u32 {
    packet.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

#[inline]
fn i32_at(packet: &[u8], at: usize) -> i32 {
    u32_at(packet, at).cast_signed()
}

#[inline]
fn u16_at(packet: &[u8], at: usize) -> u16 {
    packet.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes)
}

/// Writes `tick` as a packet of its mode and layout: what a Kite server sends. Used by feeds that make their own ticks.
///
/// Fields outside the layout are left out; padding and the index's price change are what Kite would put there.
pub fn encode(tick: &Tick, out: &mut Vec<u8>) {
    let start = out.len();
    let mut put = |value: u32| out.extend_from_slice(&value.to_be_bytes());
    put(tick.token.0);
    put(tick.last_price.cast_unsigned());
    let Ohlc { open, high, low, close } = tick.ohlc;
    match (tick.mode, tick.layout) {
        (Mode::Ltp, _) => {}
        (_, Layout::Index) => {
            for price in [high, low, open, close, tick.last_price.wrapping_sub(close)] {
                put(price.cast_unsigned());
            }
            if tick.mode == Mode::Full {
                put(tick.exchange_timestamp);
            }
        }
        (_, Layout::Tradable) => {
            put(tick.last_traded_quantity);
            put(tick.average_traded_price.cast_unsigned());
            put(tick.volume_traded);
            put(tick.total_buy_quantity);
            put(tick.total_sell_quantity);
            for price in [open, high, low, close] {
                put(price.cast_unsigned());
            }
            if tick.mode == Mode::Full {
                for value in [tick.last_trade_time, tick.oi, tick.oi_day_high, tick.oi_day_low, tick.exchange_timestamp]
                {
                    put(value);
                }
                for row in tick.depth.buy.iter().chain(&tick.depth.sell) {
                    put(row.quantity);
                    put(row.price.cast_unsigned());
                    put(u32::from(row.orders) << 16);
                }
            }
        }
    }
    debug_assert!(shape(out.len() - start).is_some());
}

/// Builds messages from packets: the count is kept right, and a message never exceeds what its count can say.
#[derive(Debug, Default)]
pub struct MessageBuilder {
    bytes: Vec<u8>,
    count: u16,
}

impl MessageBuilder {
    /// Appends `tick` as a packet. Returns false, and appends nothing, when the message is full (65,535 packets).
    pub fn push(&mut self, tick: &Tick) -> bool {
        let Some(count) = self.count.checked_add(1) else { return false };
        if self.count == 0 {
            self.bytes.clear();
            self.bytes.extend_from_slice(&[0, 0]);
        }
        self.count = count;
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        encode(tick, &mut self.bytes);
        let length = (self.bytes.len() - at - 2) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
        self.bytes[..2].copy_from_slice(&count.to_be_bytes());
        true
    }

    /// Packets so far.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The message, and the builder is empty again; the bytes are valid until the next `push`.
    pub fn take(&mut self) -> &[u8] {
        if self.count == 0 {
            return &[];
        }
        self.count = 0;
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tick with a different value in every field.
    fn example(mode: Mode, layout: Layout) -> Tick {
        let level = |n: u32| Level { quantity: n, price: n as i32 + 1000, orders: n as u16 };
        let mut tick = Tick::ltp(InstrumentToken(408_065), -157_370);
        tick.mode = mode;
        tick.layout = layout;
        if mode >= Mode::Quote {
            tick.ohlc = Ohlc { open: 1, high: 2, low: -3, close: 4 };
        }
        if layout == Layout::Tradable && mode >= Mode::Quote {
            tick.last_traded_quantity = 5;
            tick.average_traded_price = 6;
            tick.volume_traded = u32::MAX;
            tick.total_buy_quantity = 8;
            tick.total_sell_quantity = 9;
        }
        if mode == Mode::Full {
            tick.exchange_timestamp = 14;
        }
        if layout == Layout::Tradable && mode == Mode::Full {
            (tick.last_trade_time, tick.oi, tick.oi_day_high, tick.oi_day_low) = (10, 11, 12, 13);
            tick.depth.buy = std::array::from_fn(|row| level(20 + row as u32));
            tick.depth.sell = std::array::from_fn(|row| level(30 + row as u32));
        }
        tick
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let shapes = [
            (Mode::Ltp, Layout::Tradable),
            (Mode::Quote, Layout::Tradable),
            (Mode::Full, Layout::Tradable),
            (Mode::Quote, Layout::Index),
            (Mode::Full, Layout::Index),
        ];
        let mut message = MessageBuilder::default();
        for (mode, layout) in shapes {
            assert!(message.push(&example(mode, layout)));
        }
        let bytes = message.take().to_vec();
        let back: Vec<Tick> = packets(&bytes).unwrap().map(|packet| decode(packet).unwrap()).collect();
        assert_eq!(back, shapes.map(|(mode, layout)| example(mode, layout)));
    }

    #[test]
    fn a_shorter_mode_is_a_prefix() {
        let mut bytes = Vec::new();
        encode(&example(Mode::Full, Layout::Tradable), &mut bytes);
        for mode in Mode::ALL {
            let tick = decode(&bytes[..visible_length(bytes.len(), mode)]).unwrap();
            assert_eq!(tick, example(mode, Layout::Tradable));
        }
        assert_eq!(visible_length(32, Mode::Quote), 28);
        assert_eq!(visible_length(8, Mode::Full), 8);
    }

    #[test]
    fn a_broken_message_gives_an_error_and_no_ticks() {
        assert_eq!(packets(&[0, 1, 0]).unwrap_err(), PacketError::Truncated { bytes: 3, announced: 1, packet: 1 });
        assert_eq!(packets(&[0, 1, 0, 0]).unwrap_err(), PacketError::NoToken { packet: 1, length: 0 });
        assert!(packets(&[0, 2, 0, 8, 0, 3, 233, 1, 0, 0, 0, 100]).is_err());
        assert_eq!(packets(&[]).unwrap().count(), 0);
        assert_eq!(packets(&[0]).unwrap().count(), 0);
        assert_eq!(decode(&[0; 12]), Err(PacketError::UnknownLength { length: 12 }));
    }
}
