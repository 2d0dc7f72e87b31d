//! What Kite says in text messages.

use serde_json::Value;

/// A text message, understood as far as its type is known.
#[derive(Clone, PartialEq, Debug)]
pub enum Notice {
    /// An order of this user changed, on any platform. The text as it came: clients parse its dates each in their own way.
    Order(String),
    /// The list of instruments is another than the last time: fetch it again.
    Instruments {
        /// Entries in the new list.
        count: u64,
        /// Its entity tag.
        etag: String,
    },
    /// Kite's greeting, with its own time.
    AppCode {
        /// RFC 3339.
        timestamp: String,
    },
    /// A word of the broker's to the user.
    Message(String),
    /// Kite did not do something it was asked; the connection stays.
    Error(String),
    /// Anything else, as it came.
    Unknown(String),
}

impl Notice {
    /// Reads a text message. Any text gives a notice: clients that trusted the shape of these have crashed over it.
    pub fn parse(text: &str) -> Self {
        let unknown = || Self::Unknown(text.to_owned());
        let Ok(mut message) = serde_json::from_str::<Value>(text) else { return unknown() };
        let data = message.get_mut("data").map(Value::take);
        let string = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let words = || data.as_ref().map(|data| string(Some(data)).unwrap_or_else(|| data.to_string()));
        let notice = match message.get("type").and_then(Value::as_str) {
            Some("order") => data.map(|_| Self::Order(text.to_owned())),
            Some("instruments_meta") => data.and_then(|data| {
                let count = data.get("count").and_then(Value::as_u64)?;
                Some(Self::Instruments { count, etag: string(data.get("etag"))? })
            }),
            Some("app_code") => string(message.get("timestamp")).map(|timestamp| Self::AppCode { timestamp }),
            Some("message") => words().map(Self::Message),
            Some("error") => words().map(Self::Error),
            _ => None,
        };
        notice.unwrap_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_types_are_read() {
        let parse = Notice::parse;
        assert_eq!(
            parse(r#"{"type":"instruments_meta","data":{"count":90517,"etag":"W/\"a\""}}"#),
            Notice::Instruments { count: 90_517, etag: "W/\"a\"".to_owned() }
        );
        assert_eq!(
            parse(r#"{"type":"app_code","timestamp":"2025-08-04T13:50:28+05:30"}"#),
            Notice::AppCode { timestamp: "2025-08-04T13:50:28+05:30".to_owned() }
        );
        assert_eq!(parse(r#"{"type":"error","data":"no"}"#), Notice::Error("no".to_owned()));
        assert_eq!(parse(r#"{"type":"error","data":{"a":1}}"#), Notice::Error(r#"{"a":1}"#.to_owned()));
        assert_eq!(parse(r#"{"type":"message","data":"hi"}"#), Notice::Message("hi".to_owned()));
        let order = r#"{ "type":"order", "data":{"order_id":"1", "price":1.50}}"#;
        assert_eq!(parse(order), Notice::Order(order.to_owned()));
    }

    #[test]
    fn everything_else_is_kept_as_it_came() {
        for text in
            ["", "null", "[]", "{}", "{\"type\":7}", "{\"type\":\"order\"}", "{\"type\":\"new\",\"data\":1}", "{"]
        {
            assert_eq!(Notice::parse(text), Notice::Unknown(text.to_owned()));
        }
    }
}
