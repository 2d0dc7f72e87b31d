//! Ids of indicators: `NAME_number_number…`, as in `MACD_12_26_9`.
//!
//! One computation has one canonical id, so that all who want it share it: upper case, defaults written out, no
//! trailing zeros. What cannot be meant is rejected, never repaired.

use super::definition::{Definition, Name, Order};
use super::error::IdError;
use super::parameter::{Parameter, Range, SettledValue};
use serde_json::{Map, Value};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Longest id that is looked at, in bytes; the longest sensible one has half of it.
const LONGEST: usize = 64;

/// Parameters that an indicator has at most.
const MOST: usize = 4;

/// An indicator and its parameters, all within their ranges.
#[derive(Clone, Copy, PartialEq)]
pub struct IndicatorId {
    name: Name,
    /// In the order of the [definition](Definition::parameters); those beyond `count` are 0.
    values: [f64; MOST],
    count: u8,
}

impl IndicatorId {
    /// With its defaults.
    pub fn of(name: Name) -> Self {
        let mut id = Self { name, values: [0.0; MOST], count: 0 };
        for default in name.definition().parameters.iter().map_while(|parameter| parameter.default) {
            id.push(default);
        }
        id
    }

    /// From an object of parameters with pandas-ta's names; what it lacks, or has as `null`, gets its default.
    ///
    /// # Errors
    /// When there is no indicator `name` (without numbers), or a parameter is unknown, no number, or out of range.
    pub fn from_parameters(name: &str, parameters: &Map<String, Value>) -> Result<Self, IdError> {
        let definition = definition(name)?;
        let mut id = Self { name: definition.name, values: [0.0; MOST], count: 0 };
        for parameter in definition.parameters {
            match named(definition, parameter, parameters)?.or(parameter.default) {
                Some(value) => id.push(value),
                // Only the last parameter can be without a default.
                None => break,
            }
        }
        for settled in definition.settled.iter().filter(|settled| settled.named) {
            if let Some(given) = parameters.get(settled.name).filter(|given| !given.is_null()) {
                id.settle(settled.name, settled.value, given.as_f64(), || given.to_string())?;
            }
        }
        match parameters.keys().find(|key| !definition.has(key)) {
            Some(key) => Err(IdError::unknown_parameter(definition, key)),
            None => id.ordered(),
        }
    }

    /// Which indicator.
    pub fn name(&self) -> Name {
        self.name
    }

    /// What is known of it without its parameters.
    pub fn definition(&self) -> &'static Definition {
        self.name.definition()
    }

    /// Its parameters, in the order of ids.
    pub fn values(&self) -> &[f64] {
        &self.values[..usize::from(self.count)]
    }

    /// The longest of its periods, in bars; 1 when it has none.
    pub fn longest_period(&self) -> usize {
        let periods = self.definition().parameters.iter().zip(self.values()).filter(|(of, _)| of.range.is_bars());
        periods.map(|(_, value)| *value as usize).max().unwrap_or(1)
    }

    fn push(&mut self, value: f64) {
        // No -0: it would be another id for the same.
        self.values[usize::from(self.count)] = value + 0.0;
        self.count += 1;
    }

    /// Checks a value that must be what we compute with anyway.
    fn settle(
        &self,
        name: &'static str,
        value: SettledValue,
        given: Option<f64>,
        written: impl Fn() -> String,
    ) -> Result<(), IdError> {
        let only = match value {
            SettledValue::Only(value) => value,
            SettledValue::Same(position) => self.values[position],
        };
        if given == Some(only) {
            Ok(())
        } else {
            Err(IdError::value(self.definition(), name, &written(), format!("{only} here")))
        }
    }

    fn ordered(self) -> Result<Self, IdError> {
        let (lesser, greater, allowed) = match self.definition().order {
            Some(Order::Below(lesser, greater)) if self.values[lesser] >= self.values[greater] => {
                (lesser, greater, "less than")
            }
            Some(Order::AtMost(lesser, greater)) if self.values[lesser] > self.values[greater] => {
                (lesser, greater, "at most")
            }
            _ => return Ok(self),
        };
        let parameters = self.definition().parameters;
        let allowed = format!("{allowed} {} ({})", parameters[greater].name, self.values[greater]);
        Err(IdError::value(self.definition(), parameters[lesser].name, &self.values[lesser].to_string(), allowed))
    }
}

impl FromStr for IndicatorId {
    type Err = IdError;

    fn from_str(id: &str) -> Result<Self, IdError> {
        let syntax = || IdError::syntax(id);
        let mut parts = id.split('_');
        let name = parts.next().unwrap_or_default();
        if id.len() > LONGEST || name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(syntax());
        }
        let definition = definition(name)?;
        let numbers: Vec<&str> = parts.collect();
        if !numbers.iter().copied().all(is_number) {
            return Err(syntax());
        }
        let settled: Vec<_> = definition.settled.iter().filter(|settled| settled.positional).collect();
        let most = definition.parameters.len() + settled.len();
        if numbers.len() > most {
            return Err(IdError::TooMany { name: definition.text, given: numbers.len() });
        }
        let mut id = Self::of(definition.name);
        for (position, (parameter, written)) in definition.parameters.iter().zip(&numbers).enumerate() {
            let value = written.parse().unwrap_or(f64::NAN);
            if !parameter.range.allows(value) {
                return Err(IdError::value(definition, parameter.name, written, parameter.range.to_string()));
            }
            id.values[position] = value;
            id.count = id.count.max(position as u8 + 1);
        }
        for (settled, written) in settled.iter().zip(numbers.iter().skip(definition.parameters.len())) {
            let known = id.settle(settled.name, settled.value, written.parse().ok(), || (*written).to_owned());
            known.map_err(|_| IdError::TooMany { name: definition.text, given: numbers.len() })?;
        }
        id.ordered()
    }
}

impl Definition {
    fn has(&self, key: &str) -> bool {
        let of_parameters = self.parameters.iter().any(|parameter| {
            parameter.name == key
                || parameter.also == Some(key)
                || parameter.halves.is_some_and(|halves| halves.contains(&key))
        });
        of_parameters || self.settled.iter().any(|settled| settled.named && settled.name == key)
    }
}

fn definition(name: &str) -> Result<&'static Definition, IdError> {
    Name::find(name).map(Name::definition).ok_or_else(|| IdError::unknown_name(name))
}

/// The value of a parameter by any of its names, which must agree.
fn named(of: &Definition, parameter: &Parameter, parameters: &Map<String, Value>) -> Result<Option<f64>, IdError> {
    let mut value: Option<(&str, f64)> = None;
    let mut agree = |name: &'static str, given: Option<f64>| match (value, given) {
        (Some((first, one)), Some(other)) if one != other => {
            Err(IdError::value(of, name, &other.to_string(), format!("the same as {first} ({one})")))
        }
        (None, Some(given)) => {
            value = Some((name, given));
            Ok(())
        }
        _ => Ok(()),
    };
    for name in [Some(parameter.name), parameter.also].into_iter().flatten() {
        agree(name, number(of, parameters, name, parameter.range)?)?;
    }
    if let Some(names) = parameter.halves {
        let [one, other] = names.map(|name| number(of, parameters, name, parameter.range));
        let (one, other) = (one?, other?);
        // With pandas-ta, half of it given leaves the other at its default.
        if one.is_some() || other.is_some() {
            agree(names[0], one.or(parameter.default))?;
            agree(names[1], other.or(parameter.default))?;
        }
    }
    Ok(value.map(|(_, value)| value))
}

/// The number of that name, if there is one.
fn number(
    of: &Definition,
    parameters: &Map<String, Value>,
    name: &'static str,
    range: Range,
) -> Result<Option<f64>, IdError> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(given) => match given.as_f64().filter(|value| range.allows(*value)) {
            None => Err(IdError::value(of, name, &given.to_string(), range.to_string())),
            some => Ok(some),
        },
    }
}

/// Digits, and perhaps a point and digits.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    }
}

impl fmt::Display for IndicatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.definition().text)?;
        self.values().iter().try_for_each(|value| write!(f, "_{value}"))
    }
}

impl fmt::Debug for IndicatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// Values are never NaN nor -0, so equal ids have equal bits.
impl Eq for IndicatorId {}

impl Hash for IndicatorId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.values().iter().for_each(|value| value.to_bits().hash(state));
    }
}
