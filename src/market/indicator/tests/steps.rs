//! Every indicator, bar by bar.

use super::bars;
use crate::market::indicator::{Bar, DEFINITIONS, Definition, Indicator, IndicatorId, Name, Outputs, Range};
use proptest::prelude::*;

/// The id with those parameters, each drawn from its range by a number from 0 to 1 (long periods being rare).
fn drawn(definition: &Definition, draws: &[f64]) -> IndicatorId {
    let numbers = definition.parameters.iter().zip(draws).map(|(parameter, draw)| match parameter.range {
        Range::Period => (2.0 + 60.0 * draw.powi(3)).floor(),
        Range::Smoothing => (1.0 + 20.0 * draw.powi(3)).floor(),
        Range::Multiplier => (draw * 50.0 + 0.1).floor() / 10.0 + 0.1,
        Range::Decimal(low, high) => low + (high - low) * draw,
    });
    let numbers: Vec<f64> = numbers.collect();
    let written = |numbers: &[f64]| {
        let numbers = numbers.iter().map(|number| format!("_{number}")).collect::<String>();
        format!("{}{numbers}", definition.text).parse().ok()
    };
    // The optional one only sometimes, and what is out of order not at all.
    let count = if draws[3] < 0.5 { numbers.len() } else { numbers.len().min(2) };
    written(&numbers)
        .filter(|_| count == numbers.len())
        .or_else(|| written(&numbers[..count]))
        .unwrap_or(IndicatorId::of(definition.name))
}

fn bits(outputs: Outputs) -> Vec<Option<u64>> {
    outputs.values().iter().map(|value| value.map(f64::to_bits)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn looking_changes_nothing_and_says_what_closing_will(
        bars in bars(160),
        others in bars(30),
        draws in prop::array::uniform4(0.0f64..1.0),
    ) {
        for definition in &DEFINITIONS {
            let id = drawn(definition, &draws);
            let (mut watched, mut alone) = (Indicator::new(&id), Indicator::new(&id));
            for (index, bar) in bars.iter().enumerate() {
                for other in others.iter().cycle().skip(index).take(2) {
                    for value in watched.peek(other).values() {
                        prop_assert!(value.is_none_or(f64::is_finite), "{id}: {value:?}");
                    }
                }
                let (looked, closed) = (watched.peek(bar), watched.update(bar));
                prop_assert_eq!(bits(looked), bits(closed), "{} at {}", id, index);
                prop_assert_eq!(bits(alone.update(bar)), bits(closed), "{} at {}", id, index);
                for ((name, value), first) in closed.iter().zip(id.first()) {
                    prop_assert!(value.is_none_or(f64::is_finite), "{id} {name} at {index}: {value:?}");
                    let defined = index >= first && !matches!(id.name(), Name::Vwap | Name::Vwma);
                    prop_assert!(value.is_some() || !defined, "{id} {name} at {index}: none");
                    prop_assert!(value.is_none() || index >= first, "{id} {name} at {index}: {value:?}");
                }
            }
        }
    }
}

/// Each output has its first value where [`IndicatorId::first`] says, in a series that moves.
pub(super) fn first_values(id: &IndicatorId) {
    let mut indicator = Indicator::new(id);
    let last = id.first().into_iter().max().unwrap_or(0);
    for index in 0..=last {
        let close = 100.0 + (index * 7919 % 101) as f64 * 0.05;
        let (start, session) = (index as i64, 0);
        let bar = Bar { start, open: 100.0, high: close + 1.0, low: close - 1.0, close, volume: 10.0, session };
        let closed = indicator.update(&bar);
        for ((name, value), first) in closed.iter().zip(id.first()) {
            assert_eq!(value.is_some(), index >= first, "{id} {name} at {index}");
        }
    }
}

#[test]
fn a_bar_that_is_not_finite_is_none() {
    let bar = Bar { start: 0, open: 10.0, high: 12.0, low: 9.0, close: 11.0, volume: 5.0, session: 1 };
    for definition in &DEFINITIONS {
        let (mut indicator, mut other) = (Indicator::new(&IndicatorId::of(definition.name)), None);
        for index in 0..80 {
            let bar = Bar { close: 10.0 + f64::from(index % 3), ..bar };
            for broken in [Bar { close: f64::NAN, ..bar }, Bar { volume: f64::INFINITY, ..bar }] {
                assert!(indicator.peek(&broken).values().iter().all(Option::is_none));
                assert!(indicator.update(&broken).values().iter().all(Option::is_none));
            }
            let clean = other.get_or_insert_with(|| indicator.clone());
            assert_eq!(bits(clean.update(&bar)), bits(indicator.update(&bar)));
        }
        assert!(indicator.bars() == 80 && !indicator.is_warm());
    }
}

#[test]
fn without_movement() {
    let bar = Bar { start: 0, open: 412.4, high: 412.4, low: 412.4, close: 412.4, volume: 0.0, session: 1 };
    for (id, wanted) in [
        ("RSI_14", [Some(50.0), None, None]),
        ("STOCH_14_3_3", [Some(0.0), Some(0.0), None]),
        ("STOCHRSI_14_14_3_3", [Some(0.0), Some(0.0), None]),
        ("CCI_20", [Some(0.0), None, None]),
        ("WILLR_14", [Some(0.0), None, None]),
        ("TSI_13_25_13", [Some(0.0), Some(0.0), None]),
        ("MFI_14", [Some(0.0), None, None]),
        ("ADX_14", [Some(0.0); 3]),
        ("AROON_14", [Some(100.0), Some(100.0), Some(0.0)]),
        ("FISHER_9_1", [Some(0.0), Some(0.0), None]),
        ("KAMA_5_3_20", [Some(412.4), None, None]),
        ("VWAP", [None; 3]),
        ("VWMA_20", [None; 3]),
    ] {
        let mut indicator = Indicator::new(&id.parse().unwrap());
        let last = (0..100).map(|_| indicator.update(&bar)).last().unwrap();
        for (got, wanted) in last.values().iter().zip(wanted) {
            let near = got.zip(wanted).is_some_and(|(got, wanted)| (got - wanted).abs() < 1e-9);
            assert!(near || *got == wanted, "{id}: {got:?}");
        }
    }
}

#[test]
fn vwap_begins_anew_with_the_session() {
    let bar = |price: f64, volume, session| Bar {
        start: 0,
        open: price,
        high: price,
        low: price,
        close: price,
        volume,
        session,
    };
    let mut vwap = Indicator::new(&IndicatorId::of(Name::Vwap));
    let values = [bar(10.0, 1.0, 1), bar(20.0, 1.0, 1), bar(30.0, 0.0, 2), bar(40.0, 2.0, 2)];
    let values: Vec<_> = values.iter().map(|bar| vwap.update(bar).get("value")).collect();
    assert_eq!(values, [Some(10.0), Some(15.0), None, Some(40.0)]);
}
