//! A tick: one instrument at one instant, in the integers of Kite's wire.
//!
//! Prices stay `i32` in the segment's smallest unit and are divided only where they leave the program, so nothing
//! inside ever rounds. Quantities and times are `u32`, orders `u16`: the official clients disagree on the signs, and
//! signed prices with unsigned counts is the one reading that no known packet contradicts.

use std::fmt;

/// Kite's number for an instrument: the exchange's own number in the upper 24 bits, the segment in the lowest 8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InstrumentToken(pub u32);

impl InstrumentToken {
    /// The segment the token belongs to; it decides the price divisor and whether the instrument can be traded.
    pub const fn segment(self) -> Segment {
        Segment((self.0 & 0xff) as u8)
    }
}

impl fmt::Display for InstrumentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The lowest byte of an instrument token. Unlisted numbers behave like NSE, as in every official client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment(pub u8);

impl Segment {
    /// Currency derivatives of NSE.
    pub const CDS: Self = Self(3);
    /// Currency derivatives of BSE.
    pub const BCD: Self = Self(6);
    /// Indices of every exchange; the only segment that cannot be traded.
    pub const INDICES: Self = Self(9);
    /// Commodities of NSE.
    pub const NCO: Self = Self(12);

    /// How many decimals a price of this segment has: a raw price divided by `10^decimals` is in rupees.
    ///
    /// CDS 7, BCD and NCO 4 (NCO since September 2026, pykiteconnect 5.2.2), all others 2.
    pub const fn decimals(self) -> u32 {
        match self {
            Self::CDS => 7,
            Self::BCD | Self::NCO => 4,
            _ => 2,
        }
    }

    /// `10^decimals`.
    pub const fn divisor(self) -> i64 {
        10i64.pow(self.decimals())
    }

    /// Whether orders can be placed: false for indices only.
    pub const fn tradable(self) -> bool {
        self.0 != Self::INDICES.0
    }
}

/// How much of an instrument a subscriber wants. The order is that of Kite: each mode contains the lower ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mode {
    /// The last price alone.
    Ltp,
    /// Prices, volumes and the day's OHLC; the default after a subscription.
    Quote,
    /// Everything: market depth, open interest and the exchange's times too.
    Full,
}

impl Mode {
    /// All modes, lowest first.
    pub const ALL: [Self; 3] = [Self::Ltp, Self::Quote, Self::Full];

    /// The name on every wire: `ltp`, `quote`, `full`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ltp => "ltp",
            Self::Quote => "quote",
            Self::Full => "full",
        }
    }

    /// The mode of that name, spelled in any case; `None` for anything else.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name().eq_ignore_ascii_case(name))
    }
}

/// Which family of packets a tick came from. The packet's length alone decides it, never the token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// 8, 44 or 184 bytes.
    Tradable,
    /// 28 or 32 bytes: no volume and no depth.
    Index,
}

/// The day's prices. `close` is the close of the *previous* day, as Kite sends it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct Ohlc {
    /// First trade of the day.
    pub open: i32,
    /// Highest trade of the day.
    pub high: i32,
    /// Lowest trade of the day.
    pub low: i32,
    /// Close of the previous day.
    pub close: i32,
}

/// One row of the order book.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Level {
    /// Quantity wanted or offered at this price.
    pub quantity: u32,
    /// The price, raw.
    pub price: i32,
    /// How many orders make up the quantity.
    pub orders: u16,
}

/// The five best rows of each side, in the order of the wire; rows that do not exist are zero.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Depth {
    /// Bids, best first.
    pub buy: [Level; 5],
    /// Offers, best first.
    pub sell: [Level; 5],
}

/// One instrument at one instant. Fields that the mode or layout does not carry are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tick {
    /// Which instrument.
    pub token: InstrumentToken,
    /// How much the packet carried.
    pub mode: Mode,
    /// Which family of packets it came from.
    pub layout: Layout,
    /// Price of the last trade, or the index value.
    pub last_price: i32,
    /// Size of the last trade.
    pub last_traded_quantity: u32,
    /// The day's volume-weighted average price, by the exchange.
    pub average_traded_price: i32,
    /// The day's volume so far.
    pub volume_traded: u32,
    /// Quantity of all open bids.
    pub total_buy_quantity: u32,
    /// Quantity of all open offers.
    pub total_sell_quantity: u32,
    /// The day's prices.
    pub ohlc: Ohlc,
    /// Time of the last trade, epoch seconds; 0 when there was none.
    pub last_trade_time: u32,
    /// Open interest.
    pub oi: u32,
    /// Highest open interest of the day.
    pub oi_day_high: u32,
    /// Lowest open interest of the day.
    pub oi_day_low: u32,
    /// The exchange's time of this state, epoch seconds; 0 when it gave none.
    pub exchange_timestamp: u32,
    /// The order book.
    pub depth: Depth,
}

impl Tick {
    /// A tick of nothing but a price.
    pub const fn ltp(token: InstrumentToken, last_price: i32) -> Self {
        const NO_LEVEL: Level = Level { quantity: 0, price: 0, orders: 0 };
        Self {
            token,
            mode: Mode::Ltp,
            layout: Layout::Tradable,
            last_price,
            last_traded_quantity: 0,
            average_traded_price: 0,
            volume_traded: 0,
            total_buy_quantity: 0,
            total_sell_quantity: 0,
            ohlc: Ohlc { open: 0, high: 0, low: 0, close: 0 },
            last_trade_time: 0,
            oi: 0,
            oi_day_high: 0,
            oi_day_low: 0,
            exchange_timestamp: 0,
            depth: Depth { buy: [NO_LEVEL; 5], sell: [NO_LEVEL; 5] },
        }
    }

    /// Change against the previous close in percent; 0 when there is no close, as the Python client has it.
    pub fn change_percent(&self) -> f64 {
        if self.ohlc.close == 0 {
            return 0.0;
        }
        // The Python client divides by the divisor first; its rounding is kept so that the values are equal bit for bit.
        let divisor = self.token.segment().divisor() as f64;
        let (last, close) = (f64::from(self.last_price) / divisor, f64::from(self.ohlc.close) / divisor);
        (last - close) * 100.0 / close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_knows_its_divisor() {
        let decimals = |token: u32| InstrumentToken(token).segment().decimals();
        assert_eq!(decimals(408_065), 2);
        assert_eq!(decimals(0x103), 7);
        assert_eq!(decimals(0x106), 4);
        assert_eq!(decimals(0x10c), 4);
        assert_eq!(decimals(0x1ff), 2);
        assert!(!InstrumentToken(256_265).segment().tradable());
    }

    #[test]
    fn modes_contain_the_lower_ones() {
        assert!(Mode::Ltp < Mode::Quote && Mode::Quote < Mode::Full);
        assert_eq!(Mode::parse("FULL"), Some(Mode::Full));
        assert_eq!(Mode::parse("depth"), None);
    }
}
