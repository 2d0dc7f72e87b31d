//! What Kite's clients say: `{"a":"subscribe","v":[…]}`, `unsubscribe`, and `{"a":"mode","v":["full",[…]]}`.
//!
//! The official clients put spaces where they like and their keys in any order. Tokens are numbers; decimal strings are
//! taken too, which Kite itself refuses.

use super::excerpt::excerpt;
use crate::market::{InstrumentToken, Mode};
use rustc_hash::FxHashSet;
use serde_json::Value;

/// A request. Its tokens are in the client's order, each once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KiteRequest {
    /// These too; in mode quote those that are new.
    Subscribe(Vec<InstrumentToken>),
    /// These no more.
    Unsubscribe(Vec<InstrumentToken>),
    /// These in that mode; those that are new are subscribed.
    Mode(Mode, Vec<InstrumentToken>),
}

/// Why a request was not understood: the text of the error that the client is sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KiteRequestError {
    /// No JSON object.
    #[error("Invalid request: not a JSON object with a (subscribe, unsubscribe, mode) and v")]
    NotAnObject,
    /// `a` is missing or unknown.
    #[error("Invalid action a: {0}; allowed are subscribe, unsubscribe, mode")]
    Action(String),
    /// `v` is no list of tokens.
    #[error("Invalid value v: {0}; allowed is a list of instrument tokens")]
    Tokens(String),
    /// `v` of a mode is something else.
    #[error("Invalid value v: {0}; allowed is a list of a mode and a list of instrument tokens")]
    ModeValue(String),
    /// The mode is unknown.
    #[error("Invalid mode: {0}; allowed are ltp, quote, full")]
    Mode(String),
    /// A token is no number below 2^32.
    #[error("Error parsing instrument token: {0}")]
    Token(String),
}

/// Parses one message.
///
/// # Errors
/// Says what is wrong and what it may be; then nothing of the request counts.
pub fn parse(text: &[u8]) -> Result<KiteRequest, KiteRequestError> {
    let value: Value = serde_json::from_slice(text).map_err(|_| KiteRequestError::NotAnObject)?;
    let request = value.as_object().ok_or(KiteRequestError::NotAnObject)?;
    let (action, operand) = (request.get("a").unwrap_or(&Value::Null), request.get("v").unwrap_or(&Value::Null));
    match action.as_str() {
        Some("subscribe") => tokens(operand).map(KiteRequest::Subscribe),
        Some("unsubscribe") => tokens(operand).map(KiteRequest::Unsubscribe),
        Some("mode") => match operand.as_array().map(Vec::as_slice) {
            Some([mode, list]) => {
                let unknown = || KiteRequestError::Mode(excerpt(&mode.to_string()));
                let mode = mode.as_str().and_then(Mode::parse).ok_or_else(unknown)?;
                Ok(KiteRequest::Mode(mode, tokens(list)?))
            }
            _ => Err(KiteRequestError::ModeValue(excerpt(&operand.to_string()))),
        },
        _ => Err(KiteRequestError::Action(excerpt(&action.to_string()))),
    }
}

fn tokens(list: &Value) -> Result<Vec<InstrumentToken>, KiteRequestError> {
    let items = list.as_array().ok_or_else(|| KiteRequestError::Tokens(excerpt(&list.to_string())))?;
    let mut seen = FxHashSet::default();
    let mut tokens = Vec::with_capacity(items.len());
    for item in items {
        let number = match item {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|number| u32::try_from(number).ok()),
        };
        let token = number.map(InstrumentToken).ok_or_else(|| KiteRequestError::Token(excerpt(&item.to_string())))?;
        if seen.insert(token) {
            tokens.push(token);
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(numbers: &[u32]) -> Vec<InstrumentToken> {
        numbers.iter().copied().map(InstrumentToken).collect()
    }

    #[test]
    fn requests_are_understood_as_every_official_client_writes_them() {
        for (text, expected) in [
            // Python, JS, Java's other order of keys, .NET's spaces.
            (r#"{"a": "subscribe", "v": [408065, 884737]}"#, KiteRequest::Subscribe(tokens(&[408_065, 884_737]))),
            (r#"{"a":"unsubscribe","v":[408065]}"#, KiteRequest::Unsubscribe(tokens(&[408_065]))),
            (r#"{"v":["full",[408065]],"a":"mode"}"#, KiteRequest::Mode(Mode::Full, tokens(&[408_065]))),
            (r#"{"a":"mode","v":["ltp", [408065 , 1]]}"#, KiteRequest::Mode(Mode::Ltp, tokens(&[408_065, 1]))),
            (r#"{"a":"subscribe","v":["408065",408065,1],"x":0}"#, KiteRequest::Subscribe(tokens(&[408_065, 1]))),
            (r#"{"a":"subscribe","v":[]}"#, KiteRequest::Subscribe(Vec::new())),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_error_says_what_is_wrong_and_what_is_allowed() {
        for (text, expected) in [
            ("", KiteRequestError::NotAnObject),
            ("[1]", KiteRequestError::NotAnObject),
            ("null", KiteRequestError::NotAnObject),
            (r#"{"v":[1]}"#, KiteRequestError::Action("null".into())),
            (r#"{"a":"buy","v":[1]}"#, KiteRequestError::Action("\"buy\"".into())),
            (r#"{"a":"subscribe"}"#, KiteRequestError::Tokens("null".into())),
            (r#"{"a":"subscribe","v":["INFY"]}"#, KiteRequestError::Token("\"INFY\"".into())),
            (r#"{"a":"subscribe","v":[4294967296]}"#, KiteRequestError::Token("4294967296".into())),
            (r#"{"a":"subscribe","v":[-1]}"#, KiteRequestError::Token("-1".into())),
            (r#"{"a":"mode","v":["depth",[1]]}"#, KiteRequestError::Mode("\"depth\"".into())),
            (r#"{"a":"mode","v":["full"]}"#, KiteRequestError::ModeValue("[\"full\"]".into())),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(expected), "{text}");
        }
    }
}
