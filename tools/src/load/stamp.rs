//! What a published tick says about itself, hidden in fields that every gateway must carry unchanged.
//!
//! `volume_traded` is the sequence number within the token, `total_buy_quantity` and `total_sell_quantity` the upper
//! and lower 31 bits of the time at which the tick was *due*, and `last_traded_quantity` how late it was written. A tab
//! that subtracts the due time charges a stall to every tick it delayed, whoever stalled.

use tickfan::market::Tick;

/// Bits of the due time in `total_sell_quantity`; 31, so that a signed reader sees the same number.
const LOW_BITS: u32 = 31;

/// Sequence and times of one published tick.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stamp {
    /// Position within its token, from 1.
    pub sequence: u32,
    /// When it was due, nanoseconds of [`super::clock::Clock`].
    pub due_ns: u64,
    /// How much later than due it was really written, nanoseconds; at most 4.3 s can be told.
    pub late_ns: u32,
}

impl Stamp {
    /// Hides the stamp in `tick`.
    pub fn hide(self, tick: &mut Tick) {
        tick.volume_traded = self.sequence;
        tick.total_buy_quantity = u32::try_from(self.due_ns >> LOW_BITS).unwrap_or(u32::MAX);
        tick.total_sell_quantity = (self.due_ns & ((1 << LOW_BITS) - 1)) as u32;
        tick.last_traded_quantity = self.late_ns;
    }

    /// The stamp in those four fields of a tick.
    pub fn from_fields(volume: u64, buy: u64, sell: u64, last_quantity: u64) -> Self {
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Self { sequence: narrow(volume), due_ns: (buy << LOW_BITS) | sell, late_ns: narrow(last_quantity) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickfan::market::InstrumentToken;

    #[test]
    fn a_hidden_stamp_is_found_again() {
        let stamp = Stamp { sequence: 7, due_ns: 3_600_000_000_123, late_ns: 17_000 };
        let mut tick = Tick::ltp(InstrumentToken(256_001), 100);
        stamp.hide(&mut tick);
        let fields = [tick.volume_traded, tick.total_buy_quantity, tick.total_sell_quantity, tick.last_traded_quantity];
        let [volume, buy, sell, last] = fields.map(u64::from);
        assert_eq!(Stamp::from_fields(volume, buy, sell, last), stamp);
    }
}
