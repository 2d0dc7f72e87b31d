//! How new a packet is, as far as it tells: what keeps a value from going back after a reconnect.

use crate::market::Mode;

/// Time and volume of a packet; 0 for what it does not carry. Of two packets of one instrument the lesser is the older.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Mark {
    /// The exchange's time, Unix seconds; in mode full only.
    exchange_s: u32,
    /// The volume of the day; of tradable instruments in mode quote and full.
    volume: u32,
}

impl Mark {
    /// What a packet tells. The offsets are those of Kite's protocol, version 3; the length alone decides the layout.
    #[inline]
    pub(super) fn of(packet: &[u8]) -> Self {
        let word =
            |at: usize| packet.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |w| u32::from_be_bytes(*w));
        match packet.len() {
            184 => Self { exchange_s: word(60), volume: word(16) },
            44 => Self { exchange_s: 0, volume: word(16) },
            32 => Self { exchange_s: word(28), volume: 0 },
            _ => Self::default(),
        }
    }

    /// Whether a packet with this mark may be older than one with `known`, for a subscriber in `mode`.
    ///
    /// One without a time is passed over in mode full, where one with a time follows at once.
    #[inline]
    pub(super) fn may_be_older(self, known: Self, mode: Mode) -> bool {
        match (self.exchange_s, known.exchange_s) {
            (0, 0) => self.volume != 0 && self.volume < known.volume,
            (0, _) if mode == Mode::Full => true,
            (0, _) => self.volume != 0 && self.volume < known.volume,
            _ => self < known,
        }
    }

    /// Takes over what a newer packet tells.
    #[inline]
    pub(super) fn advance(&mut self, newer: Self) {
        if newer.exchange_s != 0 {
            self.exchange_s = newer.exchange_s;
        }
        if newer.volume != 0 {
            self.volume = newer.volume;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_decides_then_volume() {
        let mark = |exchange_s, volume| Mark { exchange_s, volume };
        let known = mark(100, 50);
        assert!(mark(99, 60).may_be_older(known, Mode::Full));
        assert!(mark(100, 49).may_be_older(known, Mode::Full));
        assert!(!mark(100, 50).may_be_older(known, Mode::Full));
        assert!(!mark(101, 1).may_be_older(known, Mode::Full), "a new day");
        assert!(mark(0, 60).may_be_older(known, Mode::Full), "a quote packet, before the full one");
        assert!(!mark(0, 60).may_be_older(known, Mode::Quote));
        assert!(mark(0, 40).may_be_older(known, Mode::Quote));
        assert!(!mark(0, 0).may_be_older(known, Mode::Ltp), "an ltp packet tells nothing");
        assert!(!mark(0, 0).may_be_older(Mark::default(), Mode::Full));
    }
}
