//! What is wrong with an id, in words for whoever wrote it.

use super::definition::{DEFINITIONS, Definition, Name};

/// Bytes of what was written that an error repeats.
const REPEATED: usize = 64;

/// Why an id or an object of parameters is none.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum IdError {
    /// Not a name and numbers.
    #[error("an indicator id is a name and numbers, as in MACD_12_26_9; {0:?} is not")]
    Syntax(String),
    /// No such name.
    #[error("there is no indicator {0}; there are {names}", names = names())]
    UnknownName(String),
    /// More numbers than parameters.
    #[error("{name} takes {takes}; {given} are too many", takes = takes(name))]
    TooMany {
        /// Of the indicator.
        name: &'static str,
        /// How many there are.
        given: usize,
    },
    /// A value outside its range.
    #[error("{name}: {parameter} is {allowed}; {given} is not allowed")]
    Value {
        /// Of the indicator.
        name: &'static str,
        /// Its parameter.
        parameter: &'static str,
        /// As it was written.
        given: String,
        /// What would be good.
        allowed: String,
    },
    /// No such parameter.
    #[error("{name} has no parameter {parameter:?}; it has {known}", known = known(name))]
    UnknownParameter {
        /// Of the indicator.
        name: &'static str,
        /// As it was written.
        parameter: String,
    },
}

impl IdError {
    pub(super) fn syntax(id: &str) -> Self {
        Self::Syntax(beginning(id))
    }

    pub(super) fn unknown_name(name: &str) -> Self {
        Self::UnknownName(beginning(name))
    }

    pub(super) fn unknown_parameter(of: &Definition, parameter: &str) -> Self {
        Self::UnknownParameter { name: of.text, parameter: beginning(parameter) }
    }

    pub(super) fn value(of: &Definition, parameter: &'static str, given: &str, allowed: String) -> Self {
        Self::Value { name: of.text, parameter, given: beginning(given), allowed }
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(REPEATED).collect()
}

fn names() -> String {
    DEFINITIONS.iter().map(|row| row.text).collect::<Vec<_>>().join(", ")
}

fn takes(name: &str) -> String {
    let parameters = Name::find(name).map_or(&[][..], |name| name.definition().parameters);
    let names = parameters.iter().map(|parameter| parameter.name).collect::<Vec<_>>().join(", ");
    match parameters.len() {
        0 => "no numbers".to_owned(),
        1 => format!("one number ({names})"),
        count => format!("up to {count} numbers ({names})"),
    }
}

fn known(name: &str) -> String {
    let Some(definition) = Name::find(name).map(Name::definition) else { return String::new() };
    let own = definition.parameters.iter().flat_map(|parameter| [Some(parameter.name), parameter.also]);
    let halves = definition.parameters.iter().flat_map(|parameter| parameter.halves.into_iter().flatten());
    let settled = definition.settled.iter().filter(|settled| settled.named).map(|settled| settled.name);
    let all = own.flatten().chain(halves).chain(settled).collect::<Vec<_>>();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
