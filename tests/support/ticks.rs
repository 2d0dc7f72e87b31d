//! Ticks whose fields can be told apart, and the instruments they are of.

use tickfan::kite::packet::MessageBuilder;
use tickfan::market::{InstrumentToken, Layout, Level, Mode, Ohlc, Tick};

pub const RELIANCE: u32 = 738_561;
pub const INFY: u32 = 408_065;
pub const TCS: u32 = 2_953_217;
pub const NIFTY_50: u32 = 256_265;

/// A tick in mode full. `number` is its volume, so that a reader sees which one it got; price and depth follow it.
pub fn full(token: u32, number: u32) -> Tick {
    let level = |row: usize| Level { quantity: number + row as u32, price: 100_000 + row as i32, orders: row as u16 };
    let mut tick = Tick::ltp(InstrumentToken(token), price_of(number));
    tick.mode = Mode::Full;
    tick.layout = Layout::Tradable;
    tick.last_traded_quantity = 7;
    tick.average_traded_price = 100_100;
    tick.volume_traded = number;
    tick.total_buy_quantity = 11;
    tick.total_sell_quantity = 13;
    tick.ohlc = Ohlc { open: 99_000, high: 102_000, low: 98_000, close: 100_000 };
    tick.last_trade_time = 1_762_257_899;
    tick.exchange_timestamp = 1_762_257_900;
    (tick.oi, tick.oi_day_high, tick.oi_day_low) = (17, 19, 5);
    tick.depth.buy = std::array::from_fn(level);
    tick.depth.sell = std::array::from_fn(|row| level(row + 5));
    tick
}

/// The price of a numbered tick, raw: it differs from that of its neighbours, so every mode shows the tick.
pub const fn price_of(number: u32) -> i32 {
    100_000 + (number % 1_000) as i32
}

/// A tick in mode quote.
pub fn quote(token: u32, number: u32) -> Tick {
    Tick { mode: Mode::Quote, ..full(token, number) }
}

/// A tick of an index, in mode full.
pub fn index(token: u32, number: u32) -> Tick {
    Tick { layout: Layout::Index, ..full(token, number) }
}

/// A message with these ticks.
pub fn message(ticks: &[Tick]) -> Vec<u8> {
    let mut builder = MessageBuilder::default();
    for tick in ticks {
        assert!(builder.push(tick));
    }
    builder.take().to_vec()
}
