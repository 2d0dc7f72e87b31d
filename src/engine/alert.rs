//! Alerts: a condition, and the one connection that is told, once, when it comes true.

use super::counters::EngineCounters;
use super::message::post;
use crate::fanout::slot::Inbox;
use crate::market::indicator::{IndicatorId, Outputs};
use crate::market::{Candle, InstrumentToken, Timeframe};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// See the module. It is over once it has fired.
#[derive(Debug)]
pub struct Alert {
    /// Its id.
    pub id: Arc<str>,
    /// Who is told.
    pub inbox: Arc<Inbox>,
    /// The instrument it watches.
    pub token: InstrumentToken,
    /// The bars it watches and how the client wrote them; `None` for one that watches ticks.
    pub timeframe: Option<(Timeframe, String)>,
    /// What it waits for.
    pub condition: Condition,
    /// As the client wrote them, given back when it fires.
    pub params: Value,
}

/// What an alert waits for.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition {
    /// The last price crosses a threshold.
    Price(Crossing),
    /// The volume of a bar, closed or forming, is unusual.
    Volume(Spike),
    /// An output of an indicator crosses a threshold from one closed bar to the next.
    Indicator {
        /// Which indicator.
        id: IndicatorId,
        /// Which of its outputs.
        output: usize,
        /// The threshold.
        crossing: Crossing,
    },
}

/// In which direction a threshold is crossed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From below it to it or above.
    Above,
    /// From above it to it or below.
    Below,
    /// Either.
    Either,
}

/// A threshold and a direction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Crossing {
    /// The threshold; a price in rupees.
    pub threshold: f64,
    /// The direction.
    pub direction: Direction,
    /// The value before; the first one is only compared with.
    pub last: Option<f64>,
}

impl Crossing {
    /// Takes a value; true when it has crossed.
    pub fn take(&mut self, now: f64) -> bool {
        let Some(before) = self.last.replace(now) else { return false };
        let above = before < self.threshold && now >= self.threshold;
        let below = before > self.threshold && now <= self.threshold;
        match self.direction {
            Direction::Above => above,
            Direction::Below => below,
            Direction::Either => above || below,
        }
    }
}

/// A volume that is so many times the mean of the closed bars before, or so much.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Spike {
    /// At least this quantity in one bar.
    Absolute(u64),
    /// At least `times` the mean of the last `bars` closed bars, of which there must be as many.
    Relative {
        /// How many times.
        times: f64,
        /// Of how many bars.
        bars: usize,
    },
}

impl Spike {
    /// Whether `bar` is one, after the closed bars `before`, the oldest first.
    pub fn is_met<'a>(&self, bar: &Candle, before: impl DoubleEndedIterator<Item = &'a Candle>) -> bool {
        match *self {
            Self::Absolute(threshold) => bar.volume >= threshold,
            Self::Relative { times, bars } => {
                let recent = before.rev().filter(|other| other.start < bar.start).take(bars);
                let (count, sum) = recent.fold((0, 0), |(count, sum), bar| (count + 1, sum + bar.volume));
                count == bars && sum > 0 && bar.volume as f64 * bars as f64 >= times * sum as f64
            }
        }
    }
}

/// Why a description is no condition: a field and what may stand there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {allowed}")]
pub struct AlertError {
    /// The field.
    pub field: &'static str,
    /// What is allowed.
    pub allowed: String,
}

/// The kinds there are.
const KINDS: &str = "one of price_cross, volume_spike, indicator_cross";
/// Most bars a volume is compared with.
const MOST_BARS: u64 = 500;

impl Condition {
    /// Reads the condition that a client describes by a type and its `params`.
    ///
    /// # Errors
    /// Names the field and what may stand there.
    pub fn parse(kind: &str, params: &Value) -> Result<Self, AlertError> {
        let empty = Map::new();
        let params = match params {
            Value::Null => &empty,
            Value::Object(params) => params,
            _ => return wrong("params", "an object"),
        };
        match kind {
            "price_cross" => Ok(Self::Price(crossing(params, true)?)),
            "volume_spike" => spike(params).map(Self::Volume),
            "indicator_cross" => {
                let Some(id) = params.get("indicator").and_then(Value::as_str) else {
                    return wrong("params.indicator", "an id such as RSI_14");
                };
                let id = id
                    .parse::<IndicatorId>()
                    .map_err(|error| AlertError { field: "params.indicator", allowed: error.to_string() })?;
                let names = id.definition().outputs;
                let output = match params.get("output") {
                    None | Some(Value::Null) => Some(0),
                    Some(name) => names.iter().position(|own| name.as_str() == Some(own)),
                };
                let Some(output) = output else {
                    return wrong("params.output", &format!("one of {}", names.join(", ")));
                };
                Ok(Self::Indicator { id, output, crossing: crossing(params, false)? })
            }
            _ => wrong("type", KINDS),
        }
    }

    /// The type in requests and messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Price(_) => "price_cross",
            Self::Volume(_) => "volume_spike",
            Self::Indicator { .. } => "indicator_cross",
        }
    }
}

fn wrong<T>(field: &'static str, allowed: &str) -> Result<T, AlertError> {
    Err(AlertError { field, allowed: allowed.to_owned() })
}

fn crossing(params: &Map<String, Value>, price: bool) -> Result<Crossing, AlertError> {
    let finite = params.get("threshold").and_then(Value::as_f64).filter(|threshold| threshold.is_finite());
    let Some(threshold) = finite.filter(|threshold| !price || *threshold > 0.0) else {
        return wrong("params.threshold", if price { "a price above 0" } else { "a number" });
    };
    let direction = match params.get("direction").map(|direction| direction.as_str().unwrap_or("")) {
        None | Some("either") => Direction::Either,
        Some("above") => Direction::Above,
        Some("below") => Direction::Below,
        Some(_) => return wrong("params.direction", "one of above, below, either"),
    };
    Ok(Crossing { threshold, direction, last: None })
}

fn spike(params: &Map<String, Value>) -> Result<Spike, AlertError> {
    if let Some(threshold) = params.get("threshold").filter(|threshold| !threshold.is_null()) {
        return match threshold.as_f64().filter(|threshold| *threshold >= 1.0) {
            Some(threshold) => Ok(Spike::Absolute(threshold.ceil() as u64)),
            None => wrong("params.threshold", "a quantity of at least 1"),
        };
    }
    let times = match params.get("multiplier") {
        None | Some(Value::Null) => Some(2.0),
        Some(given) => given.as_f64().filter(|times| *times > 0.0 && *times <= 1e6),
    };
    let bars = match params.get("lookback") {
        None | Some(Value::Null) => Some(20),
        Some(given) => given.as_u64().filter(|bars| (1..=MOST_BARS).contains(bars)),
    };
    let Some(times) = times else { return wrong("params.multiplier", "a number above 0") };
    let Some(bars) = bars else { return wrong("params.lookback", "a count of bars from 1 to 500") };
    Ok(Spike::Relative { times, bars: bars as usize })
}

impl Alert {
    /// Tells its owner, and counts that it waits no more. `data` is what made it fire.
    pub fn fire(&self, data: Value, counters: &EngineCounters) {
        counters.fired.add(1);
        counters.alerts.sub(1);
        let message = json!({
            "type": "alert",
            "alert_id": &*self.id,
            "alert_type": self.condition.name(),
            "token": self.token.to_string(),
            "timeframe": self.timeframe.as_ref().map(|(_, text)| text),
            "data": data,
            "params": self.params,
        });
        post(&self.inbox, &message);
    }

    /// Takes a closed bar's outputs; true when it has come true.
    pub fn take_outputs(&mut self, of: &IndicatorId, before: Option<&Outputs>, now: &Outputs) -> bool {
        let Condition::Indicator { id, output, crossing } = &mut self.condition else { return false };
        if id != of {
            return false;
        }
        let value = |outputs: &Outputs| outputs.values().get(*output).copied().flatten();
        // The bar before is that of the computation, so an alert that was set after it is not a bar late.
        crossing.last = before.and_then(value);
        value(now).is_some_and(|now| crossing.take(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes(volumes: &[u64]) -> Vec<Candle> {
        let bar = |(at, volume): (usize, &u64)| {
            let start = at as i64 * 60;
            Candle { volume: *volume, ..Candle::historical(start, start + 60, 1, 1, 1, 1) }
        };
        volumes.iter().enumerate().map(bar).collect()
    }

    #[test]
    fn a_crossing_wants_a_value_on_either_side() {
        let fired = |direction, values: &[f64]| {
            let mut crossing = Crossing { threshold: 100.0, direction, last: None };
            values.iter().position(|value| crossing.take(*value))
        };
        assert_eq!(fired(Direction::Above, &[101.0, 102.0, 99.0, 100.0]), Some(3));
        assert_eq!(fired(Direction::Above, &[99.0, 99.5, 98.0]), None);
        assert_eq!(fired(Direction::Below, &[99.0, 101.0, 100.0]), Some(2));
        assert_eq!(fired(Direction::Either, &[99.0, 101.0]), Some(1));
        assert_eq!(fired(Direction::Either, &[100.0, 101.0]), None);
    }

    #[test]
    fn a_spike_is_measured_against_the_bars_before() {
        let spike = Spike::Relative { times: 3.0, bars: 2 };
        let met = |list: &[u64]| {
            let bars = volumes(list);
            spike.is_met(&bars[bars.len() - 1], bars[..bars.len() - 1].iter())
        };
        assert!(met(&[500, 10, 20, 45]) && !met(&[500, 10, 20, 44]));
        assert!(!met(&[10, 100]), "too few bars to compare with");
        assert!(!met(&[0, 0, 100]), "nothing to compare with");
        assert!(Spike::Absolute(5).is_met(&volumes(&[5])[0], [].iter()));
    }

    #[test]
    fn conditions_are_read_and_refused_by_field() {
        let parse = |kind, params: Value| Condition::parse(kind, &params);
        let Ok(Condition::Price(crossing)) = parse("price_cross", json!({"threshold": 2500, "direction": "above"}))
        else {
            panic!()
        };
        assert_eq!((crossing.threshold, crossing.direction), (2500.0, Direction::Above));
        assert_eq!(parse("volume_spike", Value::Null), Ok(Condition::Volume(Spike::Relative { times: 2.0, bars: 20 })));
        let Ok(Condition::Indicator { output, .. }) =
            parse("indicator_cross", json!({"indicator": "macd", "output": "hist", "threshold": 0}))
        else {
            panic!()
        };
        assert_eq!(output, 2);
        let field = |kind, params| parse(kind, params).unwrap_err().field;
        assert_eq!(field("moon", Value::Null), "type");
        assert_eq!(field("price_cross", json!([])), "params");
        assert_eq!(field("price_cross", json!({"threshold": "x"})), "params.threshold");
        assert_eq!(field("price_cross", json!({"threshold": 1, "direction": "up"})), "params.direction");
        assert_eq!(field("volume_spike", json!({"lookback": 0})), "params.lookback");
        assert_eq!(field("volume_spike", json!({"multiplier": -1})), "params.multiplier");
        assert_eq!(field("indicator_cross", json!({"threshold": 1})), "params.indicator");
        assert_eq!(
            field("indicator_cross", json!({"indicator": "RSI_14", "output": "hist", "threshold": 1})),
            "params.output"
        );
    }
}
