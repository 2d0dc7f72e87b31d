//! Conditions on a subscription: which ticks of a token are worth sending.

use super::Tick;

/// See the module. Everything that is set must hold.
#[derive(Clone, Copy, PartialEq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct When {
    /// The price has moved by at least so many percent since the last tick that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub move_pct: Option<f64>,
    /// The price is above this, in rupees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// The price is below this, in rupees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// More than this quantity has been traded today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_above: Option<u32>,
}

impl When {
    /// Whether a tick is to be sent after one with the raw price `last`; the first one is what later ones move from.
    pub fn allows(&self, tick: &Tick, last: Option<i32>) -> bool {
        let price = f64::from(tick.last_price) / tick.token.segment().divisor() as f64;
        let moved = |percent: f64| {
            last.is_none_or(|last| {
                let (last, now) = (f64::from(last), f64::from(tick.last_price));
                (now - last).abs() * 100.0 >= percent * last.abs()
            })
        };
        self.move_pct.is_none_or(moved)
            && self.above.is_none_or(|threshold| price > threshold)
            && self.below.is_none_or(|threshold| price < threshold)
            && self.volume_above.is_none_or(|threshold| tick.volume_traded > threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::InstrumentToken;

    #[test]
    fn every_condition_that_is_set_must_hold() {
        let tick = |price, volume| Tick { volume_traded: volume, ..Tick::ltp(InstrumentToken(257), price) };
        let none = When::default();
        assert!(none.allows(&tick(1, 0), Some(1)));
        let moves = When { move_pct: Some(0.5), ..none };
        assert!(moves.allows(&tick(10_000, 0), None));
        assert!(!moves.allows(&tick(10_049, 0), Some(10_000)) && moves.allows(&tick(10_050, 0), Some(10_000)));
        assert!(moves.allows(&tick(9_950, 0), Some(10_000)));
        let band = When { above: Some(99.0), below: Some(101.0), ..none };
        assert!(band.allows(&tick(10_000, 0), None));
        assert!(!band.allows(&tick(9_900, 0), None) && !band.allows(&tick(10_100, 0), None));
        let busy = When { volume_above: Some(5), ..moves };
        assert!(!busy.allows(&tick(1, 5), None) && busy.allows(&tick(1, 6), None));
    }
}
