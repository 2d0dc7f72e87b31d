//! What subscribers of candles and indicators get.

use super::encoding::Format;
use super::frame::Span;
use super::notation::Notation;
use super::push::written;
use crate::key;
use crate::market::calendar::Utc;
use crate::market::{Candle, InstrumentToken};

/// A candle for `/ws/stream`.
#[derive(Clone, Copy, Debug)]
pub struct CandleText<'a> {
    /// Its instrument.
    pub token: InstrumentToken,
    /// Its timeframe as the client wrote it.
    pub timeframe: &'a str,
    /// The candle.
    pub candle: &'a Candle,
    /// When it became so, Unix nanoseconds by the clock of the market.
    pub at_ns: u64,
}

/// Appends a candle as a frame. `partial` (something was missed), `revised` (told before, with other values) and
/// `sequence` (counts an instrument's closed bars of a timeframe) stand where they say something.
pub fn candle_frame(out: &mut Vec<u8>, format: Format, text: &CandleText<'_>) -> Span {
    written(out, format, |to| {
        let candle = text.candle;
        let extra = [candle.closed, candle.partial, candle.revised];
        to.map(6 + extra.into_iter().map(usize::from).sum::<usize>());
        to.key(key!("type"));
        to.plain("candle");
        to.key(key!("token"));
        to.token(text.token.0);
        to.key(key!("timeframe"));
        to.string(text.timeframe);
        to.key(key!("data"));
        write_candle(to, text.token, candle);
        to.key(key!("timestamp"));
        to.millionths((text.at_ns / 1_000).cast_signed());
        to.key(key!("closed"));
        to.bool(candle.closed);
        if candle.closed {
            to.key(key!("sequence"));
            to.unsigned(candle.sequence);
        }
        if candle.partial {
            to.key(key!("partial"));
            to.bool(true);
        }
        if candle.revised {
            to.key(key!("revised"));
            to.bool(true);
        }
        to.end_map();
    })
}

fn write_candle(to: &mut dyn Notation, token: InstrumentToken, candle: &Candle) {
    let decimals = token.segment().decimals();
    to.map(7);
    to.key(key!("open"));
    to.price(candle.open, decimals);
    to.key(key!("high"));
    to.price(candle.high, decimals);
    to.key(key!("low"));
    to.price(candle.low, decimals);
    to.key(key!("close"));
    to.price(candle.close, decimals);
    to.key(key!("volume"));
    to.unsigned(candle.volume);
    to.key(key!("start"));
    to.unsigned(candle.start.max(0).unsigned_abs());
    to.key(key!("end"));
    to.unsigned(candle.end.max(0).unsigned_abs());
    to.end_map();
}

/// A candle as the reply to `history` has it, with `partial` and `oi` where they say something.
pub fn candle_value(token: InstrumentToken, candle: &Candle) -> serde_json::Value {
    let divisor = token.segment().divisor() as f64;
    let price = |raw: i32| f64::from(raw) / divisor;
    let mut value = serde_json::json!({"open": price(candle.open), "high": price(candle.high), "low": price(candle.low),
        "close": price(candle.close), "volume": candle.volume, "start": candle.start, "end": candle.end});
    if candle.oi > 0 {
        value["oi"] = candle.oi.into();
    }
    if candle.partial {
        value["partial"] = true.into();
    }
    value
}

/// What an indicator says of a bar, for `/indicators/*`.
#[derive(Clone, Copy, Debug)]
pub struct IndicatorText<'a> {
    /// The symbol as the client wrote it.
    pub symbol: &'a str,
    /// The timeframe as the client wrote it.
    pub timeframe: &'a str,
    /// The canonical id.
    pub id: &'a str,
    /// Names of the outputs.
    pub names: &'a [&'static str],
    /// Their values; `None` where there is none.
    pub values: &'a [Option<f64>],
    /// When it was computed, Unix seconds by the clock of the market.
    pub at: i64,
    /// When its bar began, Unix seconds.
    pub bar: i64,
    /// Whether the bar is over.
    pub closed: bool,
    /// Whether as many bars went in that its seed has faded.
    pub warm: bool,
}

/// Appends an indicator's value as a frame.
pub fn indicator_frame(out: &mut Vec<u8>, format: Format, text: &IndicatorText<'_>) -> Span {
    written(out, format, |to| {
        to.map(9);
        to.key(key!("type"));
        to.plain("indicator_update");
        to.key(key!("symbol"));
        to.string(text.symbol);
        to.key(key!("timeframe"));
        to.string(text.timeframe);
        to.key(key!("indicator_id"));
        to.string(text.id);
        to.key(key!("value"));
        match text.values {
            [value] => optional(to, *value),
            // All outputs missing is no value at all.
            values if values.iter().all(Option::is_none) => to.null(),
            values => {
                to.map(values.len());
                for (name, value) in text.names.iter().zip(values) {
                    to.dynamic_key(name);
                    optional(to, *value);
                }
                to.end_map();
            }
        }
        to.key(key!("timestamp"));
        to.string(Utc(text.at).text().as_str());
        to.key(key!("candle_time"));
        to.string(Utc(text.bar).text().as_str());
        to.key(key!("closed"));
        to.bool(text.closed);
        to.key(key!("warm"));
        to.bool(text.warm);
        to.end_map();
    })
}

fn optional(to: &mut dyn Notation, value: Option<f64>) {
    match value {
        Some(value) => to.float(value),
        None => to.null(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(write: impl FnOnce(&mut Vec<u8>) -> Span) -> Value {
        let mut out = Vec::new();
        let span = write(&mut out);
        serde_json::from_slice(&out[span.body()]).unwrap()
    }

    #[test]
    fn a_closed_candle_has_its_number_and_a_forming_one_does_not() {
        let mut candle = Candle::historical(1_795_146_300, 1_795_146_600, 241_230, 241_500, 241_000, 241_235);
        (candle.volume, candle.sequence) = (4_200, 7);
        let token = InstrumentToken(738_561);
        let text = CandleText { token, timeframe: "5m", candle: &candle, at_ns: 1_795_146_601_500_000_000 };
        assert_eq!(
            read(|out| candle_frame(out, Format::Json, &text)),
            json!({"type": "candle", "token": "738561", "timeframe": "5m", "data": {"open": 2412.3, "high": 2415.0,
                "low": 2410.0, "close": 2412.35, "volume": 4200, "start": 1_795_146_300, "end": 1_795_146_600},
                "timestamp": 1_795_146_601.5, "closed": true, "sequence": 7})
        );
        let open = Candle { closed: false, partial: true, ..candle };
        let forming = read(|out| candle_frame(out, Format::Json, &CandleText { candle: &open, ..text }));
        assert_eq!((&forming["closed"], &forming["partial"]), (&json!(false), &json!(true)));
        assert!(forming.get("sequence").is_none() && forming.get("revised").is_none());
        assert_eq!(candle_value(token, &candle)["close"], 2412.35);
    }

    #[test]
    fn one_output_is_a_number_and_several_are_an_object() {
        let text = IndicatorText {
            symbol: "NIFTY50",
            timeframe: "5min",
            id: "RSI_14",
            names: &["value"],
            values: &[Some(63.2)],
            at: 1_762_257_900,
            bar: 1_762_257_600,
            closed: false,
            warm: true,
        };
        assert_eq!(
            read(|out| indicator_frame(out, Format::Json, &text)),
            json!({"type": "indicator_update", "symbol": "NIFTY50", "timeframe": "5min", "indicator_id": "RSI_14",
                "value": 63.2, "timestamp": "2025-11-04T12:05:00Z", "candle_time": "2025-11-04T12:00:00Z",
                "closed": false, "warm": true})
        );
        let names = &["macd", "signal", "hist"];
        let macd = |values: &[Option<f64>]| {
            read(|out| indicator_frame(out, Format::Json, &IndicatorText { names, values, ..text }))["value"].clone()
        };
        assert_eq!(macd(&[Some(1.5), None, None]), json!({"macd": 1.5, "signal": null, "hist": null}));
        assert_eq!(macd(&[None; 3]), Value::Null);
    }
}
