//! A file of faults: TOML, one `[[event]]` each. `tickfan market --help` describes it.

use super::fault::{Fault, Injection, Malformed, Reach};
use super::timeline::{Begin, Event};
use serde_json::json;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;
use toml::{Table, Value};

/// What a scenario may say, for `--help`.
pub const HELP: &str = r#"A scenario is a TOML file. At its top, when the time-line begins:
  begin = "at-once"             with the sandbox (default), or "first-connection"

Then one table for each fault:
  [[event]]
  at = "10s"                    from the begin: 1.5s, 200ms, 2m, or a number of seconds
  fault = "silence"             one of the names below
  for = "3s"                    how long; only for those that last, which without it go on to the end
  connections = "one"           "all" (default) or "one", by chance as the seed has it
  every = "60s"                 again and again from then on
  repeat = 5                    so many times in all; needs every

Faults that happen once:
  drop                          hang up without a word
  malformed                     kind = "wrong-count", "cut-packet", "odd-length", "empty" or "not-json"
  day-rollover                  volume and day prices start afresh, dates are a day further
  order                         a text about an order; text = "{...}" replaces the built-in one
Faults that last:
  refuse                        handshakes get status = 403 or 429; open connections stay
  silence                       the connection stays open and nothing is sent
  no-heartbeat                  ticks go on without heartbeats
  trickle                       bytes_per_second = 1 to 1000000
  duplicate                     every packet is sent twice
  late                          behind each frame come the values it replaced, old after new"#;

/// Faults on a time-line.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Scenario {
    /// When it begins to run.
    pub begin: Begin,
    /// In the order of the file.
    pub events: Vec<Event>,
}

/// What is wrong with a scenario.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// It is no TOML.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Where.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A key that is not there although it must be.
    #[error("{place}: {key} is missing; allowed is {allowed}")]
    Missing {
        /// `event 2`, counted from 1, or `top`.
        place: String,
        /// The key.
        key: &'static str,
        /// Its values.
        allowed: String,
    },
    /// A value that is not allowed.
    #[error("{place}: {key} = {value} is not allowed; allowed is {allowed}")]
    Bad {
        /// As above.
        place: String,
        /// The key.
        key: &'static str,
        /// The value as written.
        value: String,
        /// What could have been.
        allowed: String,
    },
    /// A key that means nothing there.
    #[error("{place}: {key} means nothing here; allowed are {allowed}")]
    Unknown {
        /// As above.
        place: String,
        /// The key.
        key: String,
        /// Those that do.
        allowed: String,
    },
}

const DURATION: &str = "a time such as 1.5s, 200ms or 2m, at most 24h";
const LONGEST_S: f64 = 86_400.0;

impl Scenario {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read or is not a scenario; the error names file, event and key.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let failed =
            |reason: &dyn Display| ScenarioError::File { path: path.display().to_string(), reason: reason.to_string() };
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        Self::parse(&text).map_err(|error| failed(&error))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is not a scenario; the error names event and key.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            ScenarioError::Syntax { line, reason: error.message().to_owned() }
        })?;
        let mut top = Fields::new("top".to_owned(), table);
        let begins = [("at-once", Begin::AtOnce), ("first-connection", Begin::FirstConnection)];
        let begin = top.word("begin", &begins)?.unwrap_or_default();
        let tables = match top.take("event") {
            None => Vec::new(),
            Some(Value::Array(tables)) => tables,
            Some(other) => return Err(top.bad("event", &other, "tables, each under [[event]]")),
        };
        let mut events = Vec::new();
        for (index, table) in tables.into_iter().enumerate() {
            let place = format!("event {}", index + 1);
            let Value::Table(table) = table else {
                return Err(top.bad("event", &table, "tables, each under [[event]]"));
            };
            events.push(event(Fields::new(place, table))?);
        }
        top.finish()?;
        Ok(Self { begin, events })
    }
}

fn event(mut fields: Fields) -> Result<Event, ScenarioError> {
    let at = fields.duration("at")?.ok_or_else(|| fields.missing("at", DURATION))?;
    let every = fields.duration("every")?;
    if every == Some(Duration::ZERO) {
        return Err(fields.bad("every", &Value::Integer(0), "a time above 0"));
    }
    let repeat = match every {
        Some(_) => fields.number("repeat", 1, u32::MAX)?,
        None => None,
    };
    let fault = fault(&mut fields)?;
    let length = if fault.lasts() { fields.duration("for")? } else { None };
    let reaches = [("all", Reach::All), ("one", Reach::One)];
    let reach = if fault.is_of_a_connection() { fields.word("connections", &reaches)? } else { None };
    fields.finish()?;
    Ok(Event { at, every, repeat, injection: Injection { fault, reach: reach.unwrap_or_default(), length } })
}

fn fault(fields: &mut Fields) -> Result<Fault, ScenarioError> {
    let names = Fault::NAMES.map(|name| (name, name));
    let name = fields.word("fault", &names)?.ok_or_else(|| fields.missing("fault", &words(&names)))?;
    Ok(match name {
        "drop" => Fault::Drop,
        "refuse" => {
            let allowed = "403 or 429";
            let status = fields.number("status", 0, u32::MAX)?.ok_or_else(|| fields.missing("status", allowed))?;
            if status != 403 && status != 429 {
                return Err(fields.bad("status", &Value::Integer(status.into()), allowed));
            }
            Fault::Refuse { status: status as u16 }
        }
        "silence" => Fault::Silence,
        "no-heartbeat" => Fault::NoHeartbeat,
        "malformed" => Fault::Malformed(
            fields.word("kind", &Malformed::ALL)?.ok_or_else(|| fields.missing("kind", &words(&Malformed::ALL)))?,
        ),
        "trickle" => {
            let rate = fields.number("bytes_per_second", 1, 1_000_000)?;
            let rate = rate.ok_or_else(|| fields.missing("bytes_per_second", "a whole number 1 to 1000000"))?;
            Fault::Trickle { bytes_per_second: rate }
        }
        "duplicate" => Fault::Duplicate,
        "late" => Fault::Late,
        "day-rollover" => Fault::DayRollover,
        _ => match fields.take("text") {
            None => Fault::Order { text: order_text() },
            Some(Value::String(text)) => Fault::Order { text },
            Some(other) => return Err(fields.bad("text", &other, "a text")),
        },
    })
}

/// An order update as Kite's postback has it.
pub(super) fn order_text() -> String {
    json!({"type": "order", "data": {
        "user_id": "SANDBOX", "order_id": "220303000308932", "exchange_order_id": "1000000001482421",
        "placed_by": "SANDBOX", "status": "COMPLETE", "status_message": null,
        "order_timestamp": "2022-03-03 09:24:25", "exchange_timestamp": "2022-03-03 09:24:25",
        "exchange_update_timestamp": "2022-03-03 09:24:25", "variety": "regular", "exchange": "NSE",
        "tradingsymbol": "SBIN", "instrument_token": 779_521, "order_type": "MARKET", "transaction_type": "BUY",
        "validity": "DAY", "product": "CNC", "quantity": 1, "disclosed_quantity": 0, "price": 0, "trigger_price": 0,
        "average_price": 470, "filled_quantity": 1, "pending_quantity": 0, "cancelled_quantity": 0, "meta": {},
    }})
    .to_string()
}

fn words<T>(allowed: &[(&str, T)]) -> String {
    allowed.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}

/// The keys of a table, taken one by one, so that in the end those left over are known to mean nothing.
struct Fields {
    place: String,
    table: Table,
    asked: Vec<&'static str>,
}

impl Fields {
    fn new(place: String, table: Table) -> Self {
        Self { place, table, asked: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.table.remove(key)
    }

    fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, ScenarioError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let seconds = match &value {
            Value::Integer(seconds) => Some(*seconds as f64),
            Value::Float(seconds) => Some(*seconds),
            Value::String(text) => seconds(text),
            _ => None,
        };
        match seconds.filter(|seconds| (0.0..=LONGEST_S).contains(seconds)) {
            Some(seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
            None => Err(self.bad(key, &value, DURATION)),
        }
    }

    fn number(&mut self, key: &'static str, least: u32, most: u32) -> Result<Option<u32>, ScenarioError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.bad(key, &value, &format!("a whole number {least} to {most}"))),
        }
    }

    fn word<T: Copy>(&mut self, key: &'static str, allowed: &[(&str, T)]) -> Result<Option<T>, ScenarioError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match allowed.iter().find(|(word, _)| value.as_str() == Some(word)) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => Err(self.bad(key, &value, &words(allowed))),
        }
    }

    fn missing(&self, key: &'static str, allowed: &str) -> ScenarioError {
        ScenarioError::Missing { place: self.place.clone(), key, allowed: allowed.to_owned() }
    }

    fn bad(&self, key: &'static str, value: &Value, allowed: &str) -> ScenarioError {
        // JSON's spelling of plain values is TOML's.
        let value = serde_json::to_string(value).unwrap_or_default().chars().take(60).collect();
        ScenarioError::Bad { place: self.place.clone(), key, value, allowed: allowed.to_owned() }
    }

    fn finish(self) -> Result<(), ScenarioError> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => {
                Err(ScenarioError::Unknown { place: self.place, key: key.clone(), allowed: self.asked.join(", ") })
            }
        }
    }
}

/// `1.5s`, `200ms`, `2m` or `1h` in seconds.
fn seconds(text: &str) -> Option<f64> {
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    number.trim().parse::<f64>().ok().map(|number| number * factor)
}
