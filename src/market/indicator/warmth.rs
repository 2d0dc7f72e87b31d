//! How many bars an indicator needs.

use super::definition::Name;
use super::id::IndicatorId;

impl IndicatorId {
    /// Closed bars of history after which values are announced as warm: `max(500, 10 · longest period)`.
    ///
    /// A recursive average gives its seed the weight `(1 − α)^bars`; after so many that is below a millionth for a
    /// moving average over up to 200 bars and for Wilder's.
    pub fn bars_wanted(&self) -> usize {
        (10 * self.longest_period()).max(500)
    }

    /// Index of the first bar with a value, for each output, in a series that has volume.
    pub fn first(&self) -> [usize; 3] {
        let value = |position: usize| self.values().get(position).map_or(0, |value| *value as usize);
        let (a, b, c) = (value(0), value(1), value(2));
        match self.name() {
            Name::Rsi | Name::Mom | Name::Roc | Name::Atr | Name::Natr | Name::Mfi | Name::Kama => [a; 3],
            Name::SuperTrend | Name::Aroon => [a; 3],
            Name::Stoch => [a + c - 2, a + c + b - 3, 0],
            Name::StochRsi => [b + a + c - 2, b + a + c + value(3) - 3, 0],
            Name::Macd | Name::Ppo => [b - 1, b + c - 2, b + c - 2],
            Name::Tsi => [a + b - 1, a + b + c - 2, 0],
            Name::Ao => [b - 1; 3],
            Name::Cci | Name::WillR | Name::BBands | Name::Dc | Name::Fisher => [a - 1; 3],
            Name::Sma | Name::Ema | Name::Wma | Name::Vwma => [a - 1; 3],
            Name::Hma => [a - 1 + a.isqrt() - 1; 3],
            Name::Dema => [2 * (a - 1); 3],
            Name::Tema => [3 * (a - 1); 3],
            Name::Zlema => [a - 1 + (a - 1) / 2; 3],
            Name::Mama => [32; 3],
            Name::T3 => [6 * (a - 1); 3],
            Name::Kc if self.values().len() > 2 => [c.max(a - 1), a - 1, c.max(a - 1)],
            Name::Kc => [a, a - 1, a],
            Name::Obv | Name::Ad | Name::Vwap => [0; 3],
            Name::Adx => [2 * a - 1, a, a],
            Name::Psar => [1; 3],
        }
    }
}
