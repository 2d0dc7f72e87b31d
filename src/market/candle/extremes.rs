//! Prices that were traded between two packets.

use crate::market::Ohlc;

/// The day's open, high and low, if the packet has any.
pub(super) const fn range(ohlc: &Ohlc) -> Option<(i32, i32, i32)> {
    if ohlc.open == 0 && ohlc.high == 0 && ohlc.low == 0 { None } else { Some((ohlc.open, ohlc.high, ohlc.low)) }
}

/// Highest and lowest price since the packet before: the last price, and a new extreme of the day if there is one. Not
/// when the day's open changed too: then the exchange has restated the day (as it does at about 09:20, to the price of
/// the opening auction), and nothing was traded there now.
pub(super) fn new_extremes(before: &Ohlc, now: &Ohlc, price: i32) -> (i32, i32) {
    let comparable = range(before).is_some() && range(now).is_some() && before.open == now.open;
    let high = if comparable && now.high > before.high { price.max(now.high) } else { price };
    let low = if comparable && now.low < before.low { price.min(now.low) } else { price };
    (high, low)
}
