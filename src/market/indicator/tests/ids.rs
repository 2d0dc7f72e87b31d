//! Ids and objects of parameters.

use crate::market::indicator::{DEFINITIONS, IndicatorId, Name, Range};
use serde_json::{Value, json};

fn id(text: &str) -> String {
    match text.parse::<IndicatorId>() {
        Ok(id) => id.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

fn object(name: &str, parameters: Value) -> String {
    let Value::Object(parameters) = parameters else { panic!("no object") };
    match IndicatorId::from_parameters(name, &parameters) {
        Ok(id) => id.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn one_canonical_form() {
    for (written, canonical) in [
        ("rsi", "RSI_14"),
        ("Rsi_014", "RSI_14"),
        ("RSI_14.0", "RSI_14"),
        ("RSI_14_100", "RSI_14"),
        ("ROC_9_100.0", "ROC_9"),
        ("MACD", "MACD_12_26_9"),
        ("macd_5", "MACD_5_26_9"),
        ("PPO_12_26_9_100", "PPO_12_26_9"),
        ("BBANDS_20_2.0", "BBANDS_20_2"),
        ("BBANDS_20_2.50", "BBANDS_20_2.5"),
        ("BBANDS_20_0.0001", "BBANDS_20_0.0001"),
        ("KC", "KC_20_2"),
        ("KC_20_2.0_10", "KC_20_2_10"),
        ("DONCHIAN", "DC_20"),
        ("DC_20_20", "DC_20"),
        ("ZLMA_9", "ZLEMA_9"),
        ("SAR", "PSAR_0.02_0.2"),
        ("SUPERT_7_3.0", "SUPERTREND_7_3"),
        ("FISHERT", "FISHER_9_1"),
        ("CCI_14_0.015", "CCI_14"),
        ("STOCH_14_1_1", "STOCH_14_1_1"),
        ("MAMA_0.50", "MAMA_0.5_0.05"),
        ("T3_5_0", "T3_5_0"),
        ("obv", "OBV"),
        ("VWAP", "VWAP"),
    ] {
        assert_eq!(id(written), canonical, "{written}");
        assert_eq!(id(canonical), canonical);
    }
}

#[test]
fn what_cannot_be_meant_is_rejected_by_name() {
    for (written, error) in [
        ("", "an indicator id is a name and numbers"),
        ("RSI_", "an indicator id is"),
        ("RSI_1e2", "an indicator id is"),
        ("RSI_-5", "an indicator id is"),
        ("RSI 14", "an indicator id is"),
        ("RSI_14.", "an indicator id is"),
        ("RSI_١٤", "an indicator id is"),
        ("FOO_14", "there is no indicator FOO; there are RSI, STOCH,"),
        ("RSI_14_50", "RSI takes one number (length); 2 are too many"),
        ("MACD_12_26_9_4", "MACD takes up to 3 numbers (fast, slow, signal); 4 are too many"),
        ("OBV_14", "OBV takes no numbers; 1 are too many"),
        ("DC_20_10", "DC takes one number"),
        ("BBANDS_20_2_2", "BBANDS takes up to 2 numbers"),
        ("RSI_14.5", "RSI: length is a whole number from 2 to 1000; 14.5 is not allowed"),
        ("RSI_1", "RSI: length is a whole number from 2 to 1000; 1 is not allowed"),
        ("EMA_1001", "EMA: length is a whole number from 2 to 1000"),
        ("STOCH_14_0", "STOCH: d is a whole number from 1 to 1000; 0 is not allowed"),
        ("BBANDS_20_0", "BBANDS: std is a number above 0 and up to 100; 0 is not allowed"),
        ("SUPERTREND_10_100.5", "SUPERTREND: multiplier is a number above 0 and up to 100"),
        ("MACD_26_12", "MACD: fast is less than slow (12); 26 is not allowed"),
        ("MACD_26", "MACD: fast is less than slow (26)"),
        ("AO_34_5", "AO: fast is less than slow (5)"),
        ("KAMA_10_30_30", "KAMA: fast is less than slow (30)"),
        ("MAMA_0.05_0.5", "MAMA: slowlimit is at most fastlimit (0.05)"),
        ("PSAR_0.3_0.2", "PSAR: af is at most max_af (0.2)"),
        ("T3_10_1.5", "T3: a is a number from 0 to 1"),
    ] {
        assert!(id(written).starts_with(&format!("error: {error}")), "{written}: {}", id(written));
    }
    assert!(id(&"9".repeat(100_000)).len() < 200);
}

#[test]
fn objects_have_the_names_of_pandas_ta() {
    for (name, parameters, wanted) in [
        ("rsi", json!({}), "RSI_14"),
        ("RSI", json!({"length": 9, "scalar": 100}), "RSI_9"),
        ("macd", json!({"signal": 5}), "MACD_12_26_5"),
        ("STOCH", json!({"k": 5, "d": 4, "smooth_k": 2}), "STOCH_5_4_2"),
        ("STOCHRSI", json!({"rsi_length": 9, "k": 2}), "STOCHRSI_14_9_2_3"),
        ("BBANDS", json!({"length": 5, "std": 2.5}), "BBANDS_5_2.5"),
        ("bbands", json!({"lower_std": 1, "upper_std": 1}), "BBANDS_20_1"),
        ("kc", json!({"scalar": 1.5}), "KC_20_1.5"),
        ("kc", json!({"atr_length": 10, "multiplier": 2}), "KC_20_2_10"),
        ("donchian", json!({"lower_length": 9, "upper_length": 9}), "DC_9"),
        ("psar", json!({"af0": 0.03, "af": 0.03, "max_af": 0.3}), "PSAR_0.03_0.3"),
        ("PSAR", json!({"acceleration": 0.01, "maximum": null}), "PSAR_0.01_0.2"),
        ("supertrend", json!({"length": 7, "multiplier": 2.0, "atr_length": 7}), "SUPERTREND_7_2"),
        ("t3", json!({"a": -0.0}), "T3_10_0"),
        ("vwap", json!({}), "VWAP"),
        ("rsi", json!({"lenght": 9}), "error: RSI has no parameter \"lenght\"; it has length, scalar"),
        ("obv", json!({"length": 9}), "error: OBV has no parameter \"length\"; it has none"),
        ("rsi", json!({"length": "9"}), "error: RSI: length is a whole number from 2 to 1000; \"9\" is not allowed"),
        ("rsi", json!({"length": 9.5}), "error: RSI: length is a whole number from 2 to 1000; 9.5 is not allowed"),
        ("rsi", json!({"scalar": 1}), "error: RSI: scalar is 100 here; 1 is not allowed"),
        ("psar", json!({"af0": 0.1}), "error: PSAR: af0 is 0.02 here; 0.1 is not allowed"),
        (
            "kc",
            json!({"scalar": 2, "multiplier": 3}),
            "error: KC: multiplier is the same as scalar (2); 3 is not allowed",
        ),
        ("bbands", json!({"lower_std": 1}), "error: BBANDS: upper_std is the same as lower_std (1); 2 is not allowed"),
        ("macd", json!({"fast": 30}), "error: MACD: fast is less than slow (26); 30 is not allowed"),
        ("RSI_14", json!({}), "error: there is no indicator RSI_14"),
    ] {
        let got = object(name, parameters);
        assert!(got.starts_with(wanted), "{got} instead of {wanted}");
        assert!(got.starts_with("error") || got == wanted);
    }
}

#[test]
fn defaults_and_limits_of_all_can_be_computed() {
    for definition in &DEFINITIONS {
        let default = IndicatorId::of(definition.name);
        assert_eq!(default.to_string().parse(), Ok(default));
        assert_eq!(id(definition.text), default.to_string());
        // At both ends of every range TA-Lib must have a lookback; without one, a first value would come at once.
        for highest in [false, true] {
            let numbers = definition.parameters.iter().enumerate().map(|(index, parameter)| match parameter.range {
                Range::Period | Range::Smoothing if highest && definition.order.is_none() => "1000".to_owned(),
                Range::Period | Range::Smoothing if highest => (1000 - 3 + index).to_string(),
                Range::Period => (2 + index).to_string(),
                Range::Smoothing => (1 + index).to_string(),
                Range::Multiplier => (if highest { "100" } else { "0.001" }).to_owned(),
                Range::Decimal(low, high) => (if highest { high } else { low }).to_string(),
            });
            let written = std::iter::once(definition.text.to_owned()).chain(numbers).collect::<Vec<_>>().join("_");
            let id: IndicatorId = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
            super::steps::first_values(&id);
        }
    }
}

#[test]
fn history_wanted() {
    let wanted = |text: &str| text.parse::<IndicatorId>().unwrap().bars_wanted();
    assert_eq!([wanted("OBV"), wanted("RSI"), wanted("SMA_200"), wanted("MACD_12_260_9")], [500, 500, 2000, 2600]);
    assert_eq!(IndicatorId::of(Name::Vwap).longest_period(), 1);
}
