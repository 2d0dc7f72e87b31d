//! What is composed or written here against the same of TA-Lib, where that offers it.

use super::bars;
use crate::market::indicator::leg::Step;
use crate::market::indicator::own::Kama;
use crate::market::indicator::{Bar, Indicator};
use proptest::prelude::*;
use ta_lib::{Core, MAType};

/// The output `name` of `id` over all bars, from its first value.
fn computed(id: &str, name: &str, bars: &[Bar]) -> Vec<f64> {
    let mut indicator = Indicator::new(&id.parse().unwrap());
    bars.iter().filter_map(|bar| indicator.update(bar).get(name)).collect()
}

/// The last values are equal; which is the first may differ.
fn alike(ours: &[f64], theirs: &[f64], scale: f64) -> Result<(), TestCaseError> {
    prop_assert!(ours.len() >= theirs.len());
    for (index, (our, their)) in ours.iter().rev().zip(theirs.iter().rev()).enumerate() {
        prop_assert!(
            (our - their).abs() <= 1e-9 * (their.abs() + scale),
            "{} from the end: {} and {}",
            index,
            our,
            their
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn macd(bars in bars(150), fast in 2i32..20, more in 1i32..20, signal in 1i32..12) {
        let slow = fast + more;
        let close: Vec<f64> = bars.iter().map(|bar| bar.close).collect();
        let highest = close.iter().copied().fold(0.0, f64::max);
        let mut out = [vec![0.0; close.len()], vec![0.0; close.len()], vec![0.0; close.len()]];
        let [line, average, histogram] = &mut out;
        let range = Core::new().macd(0, close.len() - 1, &close, fast, slow, signal, line, average, histogram).unwrap();
        for (name, theirs) in ["macd", "signal", "hist"].into_iter().zip(&out) {
            let ours = computed(&format!("MACD_{fast}_{slow}_{signal}"), name, &bars);
            alike(&ours, &theirs[..range.count], highest)?;
        }
    }

    #[test]
    fn stoch(bars in bars(150), k in 2i32..20, d in 1i32..8, smooth in 1i32..8) {
        let column = |of: fn(&Bar) -> f64| bars.iter().map(of).collect::<Vec<f64>>();
        let (high, low, close) = (column(|bar| bar.high), column(|bar| bar.low), column(|bar| bar.close));
        let mut out = [vec![0.0; close.len()], vec![0.0; close.len()]];
        let [slow_k, slow_d] = &mut out;
        let range = Core::new()
            .stoch(0, close.len() - 1, &high, &low, &close, k, smooth, MAType::SMA, d, MAType::SMA, slow_k, slow_d)
            .unwrap();
        for (name, theirs) in ["k", "d"].into_iter().zip(&out) {
            alike(&computed(&format!("STOCH_{k}_{d}_{smooth}"), name, &bars), &theirs[..range.count], 100.0)?;
        }
    }

    #[test]
    fn kama(bars in bars(150), length in 2i32..30) {
        let mut own = Kama::new(length as usize, 2.0, 30.0);
        let ours: Vec<f64> = bars.iter().filter_map(|bar| (&mut own).step(bar.close)).collect();
        let theirs = computed(&format!("KAMA_{length}"), "value", &bars);
        prop_assert_eq!(ours.len(), theirs.len());
        alike(&ours, &theirs, 0.0)?;
    }
}
