//! The requests of Kite's ticker protocol, as its server reads them.

use serde_json::Value;
use tickfan::market::Mode;

/// What a ticker client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Send these; in quote mode, as Kite does before a mode is set.
    Subscribe(Vec<u32>),
    /// Send these no more.
    Unsubscribe(Vec<u32>),
    /// Send these in that mode; a token that was not subscribed becomes so.
    SetMode(Mode, Vec<u32>),
}

/// The request in `text`; `None` for anything else, which Kite ignores.
pub fn parse(text: &[u8]) -> Option<Request> {
    let request: Value = serde_json::from_slice(text).ok()?;
    let value = &request["v"];
    match request["a"].as_str()? {
        "subscribe" => Some(Request::Subscribe(tokens(value))),
        "unsubscribe" => Some(Request::Unsubscribe(tokens(value))),
        "mode" => Some(Request::SetMode(Mode::parse(value[0].as_str()?)?, tokens(&value[1]))),
        _ => None,
    }
}

fn tokens(list: &Value) -> Vec<u32> {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| u32::try_from(item.as_u64()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_requests_and_nonsense() {
        assert_eq!(parse(br#"{"a":"subscribe","v":[1,2]}"#), Some(Request::Subscribe(vec![1, 2])));
        assert_eq!(parse(br#"{"a":"unsubscribe","v":[1]}"#), Some(Request::Unsubscribe(vec![1])));
        assert_eq!(parse(br#"{"a":"mode","v":["full",[7]]}"#), Some(Request::SetMode(Mode::Full, vec![7])));
        assert_eq!(parse(br#"{"a":"mode","v":["deep",[7]]}"#), None);
        assert_eq!(parse(b"nonsense"), None);
    }
}
