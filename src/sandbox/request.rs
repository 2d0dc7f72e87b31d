//! What clients say.

use crate::market::Mode;
use serde_json::Value;

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request {
    Subscribe(Vec<u32>),
    Unsubscribe(Vec<u32>),
    Mode(Mode, Vec<u32>),
}

impl Request {
    /// Reads a request, or says what Kite would complain about.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let request: Value = serde_json::from_slice(text).map_err(|_| "Invalid JSON".to_owned())?;
        let value = &request["v"];
        match request["a"].as_str() {
            Some("subscribe") => Ok(Self::Subscribe(tokens(value)?)),
            Some("unsubscribe") => Ok(Self::Unsubscribe(tokens(value)?)),
            Some("mode") => {
                let mode = value[0].as_str().and_then(Mode::parse).ok_or("Invalid mode")?;
                Ok(Self::Mode(mode, tokens(&value[1])?))
            }
            _ => Err("Invalid action".to_owned()),
        }
    }
}

/// Numbers only: Kite takes no strings.
fn tokens(value: &Value) -> Result<Vec<u32>, String> {
    let wrong = || "Error parsing instrument token".to_owned();
    let list = value.as_array().ok_or_else(wrong)?;
    list.iter().map(|token| token.as_u64().and_then(|token| u32::try_from(token).ok()).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_clients_write_them() {
        let parse = |text: &str| Request::parse(text.as_bytes());
        assert_eq!(parse(r#"{"a": "subscribe", "v": [1, 2]}"#), Ok(Request::Subscribe(vec![1, 2])));
        assert_eq!(parse(r#"{"v":[3],"a":"unsubscribe"}"#), Ok(Request::Unsubscribe(vec![3])));
        assert_eq!(parse(r#"{"a":"mode","v":["full", [4]]}"#), Ok(Request::Mode(Mode::Full, vec![4])));
        assert_eq!(parse(r#"{"a":"subscribe","v":["408065"]}"#).unwrap_err(), "Error parsing instrument token");
        assert_eq!(parse(r#"{"a":"mode","v":["depth",[4]]}"#).unwrap_err(), "Invalid mode");
        assert_eq!(parse("{").unwrap_err(), "Invalid JSON");
        assert_eq!(parse("null").unwrap_err(), "Invalid action");
    }
}
