//! The table of the indicators: names, parameters, outputs.
//!
//! Where TA-Lib, pandas-ta and TradingView disagree, defaults follow the charts (BBANDS 20, CCI 20, SUPERTREND 10/3)
//! and parameters have pandas-ta's names and order, as clients bring them from there.

use super::parameter::{Parameter, Settled, decimal, multiplier, period, smoothing};

/// An indicator without its parameters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // The table below says what each is.
#[rustfmt::skip]
pub enum Name {
    Rsi, Stoch, StochRsi, Macd, Cci, Mom, Roc, Tsi, WillR, Ao, Ppo,
    Sma, Ema, Wma, Hma, Dema, Tema, Vwma, Zlema, Kama, Mama, T3,
    Atr, Natr, BBands, Kc, Dc,
    Obv, Ad, Adx, Vwap, Mfi,
    Psar, SuperTrend, Aroon, Fisher,
}

/// What is known of an indicator before its parameters are.
#[derive(Debug)]
pub struct Definition {
    /// Which.
    pub name: Name,
    /// As ids begin.
    pub text: &'static str,
    /// For people.
    pub title: &'static str,
    /// Names of its outputs; one alone is `value`.
    pub outputs: &'static [&'static str],
    /// What may be chosen, in the order of ids.
    pub parameters: &'static [Parameter],
    /// What pandas-ta lets choose and we do not: accepted with one value only, and left out of the canonical id.
    pub settled: &'static [Settled],
    /// What one parameter must be, seen from another. pandas-ta and TA-Lib would repair it silently, which would make
    /// two ids for one series.
    pub order: Option<Order>,
    /// Makes no sense without volume, so not to be offered for indices.
    pub needs_volume: bool,
}

/// Between two parameters, by their positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The first must be less than the second.
    Below(usize, usize),
    /// The first must not be more than the second.
    AtMost(usize, usize),
}

impl Name {
    /// Its row of the table.
    pub fn definition(self) -> &'static Definition {
        &DEFINITIONS[self as usize]
    }

    /// The indicator that ids begin with `text`: any case, aliases too.
    pub fn find(text: &str) -> Option<Self> {
        let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(text));
        let by_text = || DEFINITIONS.iter().find(|row| row.text.eq_ignore_ascii_case(text)).map(|row| row.name);
        alias.map(|(_, name)| *name).or_else(by_text)
    }
}

/// Other names that are accepted: pandas-ta's and TA-Lib's.
const ALIASES: [(&str, Name); 5] = [
    ("DONCHIAN", Name::Dc),
    ("ZLMA", Name::Zlema),
    ("SAR", Name::Psar),
    ("SUPERT", Name::SuperTrend),
    ("FISHERT", Name::Fisher),
];

const VALUE: &[&str] = &["value"];
const BANDS: &[&str] = &["upper", "middle", "lower"];

/// pandas-ta's `scalar`, where 100 makes a percentage.
const PERCENT: Settled = Settled::only("scalar", 100.0).in_ids();

const ROW: Definition = Definition {
    name: Name::Rsi,
    text: "",
    title: "",
    outputs: VALUE,
    parameters: &[],
    settled: &[],
    order: None,
    needs_volume: false,
};

const fn row(name: Name, text: &'static str, title: &'static str, parameters: &'static [Parameter]) -> Definition {
    Definition { name, text, title, parameters, ..ROW }
}

const fn average(name: Name, text: &'static str, title: &'static str) -> Definition {
    row(name, text, title, const { &[period("length", 20.0)] })
}

/// All, in the order of [`Name`].
pub static DEFINITIONS: [Definition; 36] = [
    Definition {
        settled: &[PERCENT],
        ..row(Name::Rsi, "RSI", "Relative strength index", const { &[period("length", 14.0)] })
    },
    Definition {
        outputs: &["k", "d"],
        ..row(
            Name::Stoch,
            "STOCH",
            "Stochastic oscillator",
            const { &[period("k", 14.0), smoothing("d", 3.0), smoothing("smooth_k", 3.0)] },
        )
    },
    Definition {
        outputs: &["k", "d"],
        ..row(
            Name::StochRsi,
            "STOCHRSI",
            "Stochastic of the relative strength index",
            const { &[period("length", 14.0), period("rsi_length", 14.0), smoothing("k", 3.0), smoothing("d", 3.0)] },
        )
    },
    Definition {
        outputs: &["macd", "signal", "hist"],
        order: Some(Order::Below(0, 1)),
        ..row(
            Name::Macd,
            "MACD",
            "Moving average convergence/divergence",
            const { &[period("fast", 12.0), period("slow", 26.0), smoothing("signal", 9.0)] },
        )
    },
    Definition {
        settled: const { &[Settled::only("c", 0.015).in_ids()] },
        ..row(Name::Cci, "CCI", "Commodity channel index", const { &[period("length", 20.0)] })
    },
    row(Name::Mom, "MOM", "Momentum", const { &[period("length", 10.0)] }),
    Definition {
        settled: &[PERCENT],
        ..row(Name::Roc, "ROC", "Rate of change in percent", const { &[period("length", 10.0)] })
    },
    Definition {
        outputs: &["tsi", "signal"],
        order: Some(Order::Below(0, 1)),
        settled: &[PERCENT],
        ..row(
            Name::Tsi,
            "TSI",
            "True strength index",
            const { &[period("fast", 13.0), period("slow", 25.0), smoothing("signal", 13.0)] },
        )
    },
    row(Name::WillR, "WILLR", "Williams %R", const { &[period("length", 14.0)] }),
    Definition {
        order: Some(Order::Below(0, 1)),
        ..row(Name::Ao, "AO", "Awesome oscillator", const { &[period("fast", 5.0), period("slow", 34.0)] })
    },
    Definition {
        outputs: &["ppo", "signal", "hist"],
        order: Some(Order::Below(0, 1)),
        settled: &[PERCENT],
        ..row(
            Name::Ppo,
            "PPO",
            "Percentage price oscillator, of exponential averages",
            const { &[period("fast", 12.0), period("slow", 26.0), smoothing("signal", 9.0)] },
        )
    },
    average(Name::Sma, "SMA", "Simple moving average"),
    average(Name::Ema, "EMA", "Exponential moving average"),
    average(Name::Wma, "WMA", "Weighted moving average"),
    average(Name::Hma, "HMA", "Hull moving average"),
    average(Name::Dema, "DEMA", "Double exponential moving average"),
    average(Name::Tema, "TEMA", "Triple exponential moving average"),
    Definition { needs_volume: true, ..average(Name::Vwma, "VWMA", "Volume-weighted moving average") },
    average(Name::Zlema, "ZLEMA", "Zero-lag exponential moving average"),
    Definition {
        order: Some(Order::Below(1, 2)),
        ..row(
            Name::Kama,
            "KAMA",
            "Kaufman's adaptive moving average",
            const { &[period("length", 10.0), smoothing("fast", 2.0), smoothing("slow", 30.0)] },
        )
    },
    Definition {
        outputs: &["mama", "fama"],
        order: Some(Order::AtMost(1, 0)),
        ..row(
            Name::Mama,
            "MAMA",
            "MESA adaptive moving average",
            const { &[decimal("fastlimit", 0.01, 0.99, 0.5), decimal("slowlimit", 0.01, 0.99, 0.05)] },
        )
    },
    row(
        Name::T3,
        "T3",
        "Tillson's T3 moving average",
        const { &[period("length", 10.0), decimal("a", 0.0, 1.0, 0.7)] },
    ),
    row(Name::Atr, "ATR", "Average true range", const { &[period("length", 14.0)] }),
    Definition {
        settled: &[PERCENT],
        ..row(Name::Natr, "NATR", "Average true range in percent", const { &[period("length", 14.0)] })
    },
    Definition {
        outputs: BANDS,
        ..row(
            Name::BBands,
            "BBANDS",
            "Bollinger bands",
            const { &[period("length", 20.0), multiplier("std", 2.0).halved("lower_std", "upper_std")] },
        )
    },
    Definition {
        outputs: BANDS,
        ..row(
            Name::Kc,
            "KC",
            "Keltner channels; with a third number, Wilder's average true range of that length",
            const {
                &[
                    period("length", 20.0),
                    multiplier("scalar", 2.0).also("multiplier"),
                    period("atr_length", 0.0).optional(),
                ]
            },
        )
    },
    Definition {
        outputs: BANDS,
        settled: const { &[Settled::same("length", 0).only_in_ids()] },
        ..row(
            Name::Dc,
            "DC",
            "Donchian channels",
            const { &[period("length", 20.0).halved("lower_length", "upper_length")] },
        )
    },
    Definition { needs_volume: true, ..row(Name::Obv, "OBV", "On-balance volume", &[]) },
    Definition { needs_volume: true, ..row(Name::Ad, "AD", "Accumulation/distribution", &[]) },
    Definition {
        outputs: &["adx", "plus_di", "minus_di"],
        settled: const { &[PERCENT, Settled::same("signal_length", 0)] },
        ..row(Name::Adx, "ADX", "Average directional index", const { &[period("length", 14.0)] })
    },
    Definition { needs_volume: true, ..row(Name::Vwap, "VWAP", "Volume-weighted average price of the session", &[]) },
    Definition { needs_volume: true, ..row(Name::Mfi, "MFI", "Money flow index", const { &[period("length", 14.0)] }) },
    Definition {
        outputs: &["psar", "direction"],
        settled: const { &[Settled::same("af0", 0)] },
        order: Some(Order::AtMost(0, 1)),
        ..row(
            Name::Psar,
            "PSAR",
            "Parabolic stop and reverse",
            const {
                &[
                    decimal("af", 0.0001, 1.0, 0.02).also("acceleration"),
                    decimal("max_af", 0.0001, 1.0, 0.2).also("maximum"),
                ]
            },
        )
    },
    Definition {
        outputs: &["supertrend", "direction"],
        settled: const { &[Settled::same("atr_length", 0)] },
        ..row(
            Name::SuperTrend,
            "SUPERTREND",
            "Supertrend",
            const { &[period("length", 10.0), multiplier("multiplier", 3.0)] },
        )
    },
    Definition {
        outputs: &["up", "down", "osc"],
        settled: &[PERCENT],
        ..row(Name::Aroon, "AROON", "Aroon", const { &[period("length", 14.0)] })
    },
    Definition {
        outputs: &["fisher", "signal"],
        ..row(Name::Fisher, "FISHER", "Fisher transform", const { &[period("length", 9.0), smoothing("signal", 1.0)] })
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_names() {
        for (index, row) in DEFINITIONS.iter().enumerate() {
            assert_eq!((row.name as usize, Name::find(row.text)), (index, Some(row.name)), "{}", row.text);
            assert!(row.parameters.len() <= 4 && (1..=3).contains(&row.outputs.len()), "{}", row.text);
        }
    }
}
