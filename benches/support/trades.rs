//! A busy instrument from the open on.

use tickfan::market::calendar::Date;
use tickfan::market::{InstrumentToken, Mode, Ohlc, Tick};

/// So many packets and when they came, Unix nanoseconds: four a second, every other one with a trade.
pub fn trades(count: u32) -> Vec<(Tick, u64)> {
    let open = "2026-07-24".parse::<Date>().map_or(0, Date::midnight) + 9 * 3_600 + 15 * 60;
    let tick = |number: u32| {
        let time = open as u32 + number / 4;
        let price = 100_000 + (number % 97) as i32;
        let tick = Tick {
            mode: Mode::Full,
            volume_traded: number / 2,
            last_trade_time: time,
            exchange_timestamp: time,
            ohlc: Ohlc { open: 100_000, high: 100_100, low: 99_990, close: 99_000 },
            ..Tick::ltp(InstrumentToken(408_065), price)
        };
        (tick, u64::from(time) * 1_000_000_000 + u64::from(number % 4) * 250_000_000)
    };
    (0..count).map(tick).collect()
}
