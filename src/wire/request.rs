//! What clients of `/ws/stream` say. A request that cannot be understood becomes a [`RequestError`] that names the
//! field and what is allowed there; unknown fields are ignored.

use super::encoding::Format;
use super::excerpt::excerpt;
use super::resume::{Cursor, MAX_CURSOR, ResumeRequest};
use crate::market::{InstrumentToken, Mode, When};
use crate::secret::Secret;
use simd_json::BorrowedValue;
use simd_json::prelude::{ValueAsArray, ValueAsObject, ValueAsScalar, ValueObjectAccess, Writable};
use std::collections::HashMap;

/// A message from a client.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// Replaces the connection's tokens, timeframes and delivery settings.
    Subscribe(Subscribe),
    /// Takes away what it names; everything when it names nothing.
    Unsubscribe(Selection),
    /// Every token there is, or (false) back to the subscribed ones.
    SetAll(bool),
    /// Asks for a pong.
    Ping,
    /// Tells who the client is, by a token or an API key.
    Auth(Secret),
    /// Replaces the connection's token by a newer one.
    Refresh(Secret),
    /// Takes up the session of an earlier connection.
    Resume(ResumeRequest),
    /// Asks for candles of the past.
    History(HistoryRequest),
    /// Asks to be told when something happens.
    RegisterAlert(RegisterAlert),
    /// Takes an alert back: its id.
    RemoveAlert(String),
}

/// The fields of a request for history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryRequest {
    /// Of which instrument.
    pub token: InstrumentToken,
    /// Of which timeframe, as the client wrote it.
    pub timeframe: String,
    /// How many candles.
    pub count: usize,
}

/// The fields of an alert.
#[derive(Clone, PartialEq, Debug)]
pub struct RegisterAlert {
    /// Its type, as the client wrote it.
    pub kind: String,
    /// Of which instrument.
    pub token: InstrumentToken,
    /// Of which timeframe, as the client wrote it.
    pub timeframe: Option<String>,
    /// The rest, which depends on the type.
    pub params: serde_json::Value,
}

/// Instruments and timeframes named in a request.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Selection {
    /// Symbols as the client wrote them: `RELIANCE`, `NSE:RELIANCE`.
    pub symbols: Vec<String>,
    /// Instrument tokens.
    pub tokens: Vec<InstrumentToken>,
    /// Timeframes as the client wrote them.
    pub timeframes: Vec<String>,
}

impl Selection {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty() && self.tokens.is_empty() && self.timeframes.is_empty()
    }
}

/// The fields of a subscription.
#[derive(Clone, PartialEq, Debug)]
pub struct Subscribe {
    /// What is wanted.
    pub selection: Selection,
    /// Least milliseconds between two messages of one token; 0 for none.
    pub throttle_ms: u32,
    /// Whether messages are collected into batches.
    pub batch: bool,
    /// How many messages fill a batch.
    pub batch_size: u32,
    /// How messages are written.
    pub format: Format,
    /// How much of each tick is sent.
    pub mode: Mode,
    /// Whether candles are sent while they form as well.
    pub live_candles: bool,
    /// Which ticks are worth sending, if not all are.
    pub when: Option<When>,
    /// Whether a resume token is wanted.
    pub resume: bool,
}

/// Most candles of one reply, and how many come when no count or none that is possible is named.
const MAX_HISTORY: u64 = 500;
const DEFAULT_HISTORY: u64 = 50;
/// Longest throttle: one hour.
const MAX_THROTTLE_MS: u64 = 3_600_000;
/// Largest batch.
const MAX_BATCH: u64 = 1_000;
/// What a client may ask for.
const ACTIONS: &str =
    "subscribe, unsubscribe, set_all, ping, auth, refresh, resume, history, register_alert, remove_alert";

/// Why a request was not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// The text is not JSON.
    #[error("Invalid JSON")]
    Json,
    /// It is JSON, but not an object.
    #[error("a request is a JSON object with an action ({ACTIONS})")]
    NotAnObject,
    /// No `action`, or one that is unknown.
    #[error("action: {given} is not known; allowed are {ACTIONS}")]
    Action {
        /// What stood there.
        given: String,
    },
    /// A field with a value that is not allowed.
    #[error("{field}: {given} is not allowed; {allowed}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What stood there, cut to a readable length.
        given: String,
        /// What may stand there.
        allowed: &'static str,
    },
}

impl RequestError {
    /// The field at fault, where one is.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Json | Self::NotAnObject => None,
            Self::Action { .. } => Some("action"),
            Self::Field { field, .. } => Some(field),
        }
    }
}

/// Parses one message. Working memory is not kept: there are many connections, and few of them ask at a time.
///
/// # Errors
/// Says which field is wrong and what it may be.
pub fn parse(text: &[u8]) -> Result<Request, RequestError> {
    let mut copy = text.to_vec();
    let value = simd_json::to_borrowed_value(&mut copy).map_err(|_| RequestError::Json)?;
    if value.as_object().is_none() {
        return Err(RequestError::NotAnObject);
    }
    request(&value)
}

fn request(value: &BorrowedValue<'_>) -> Result<Request, RequestError> {
    let Some(action) = value.get("action") else {
        return Err(RequestError::Action { given: "a missing action".into() });
    };
    match action.as_str() {
        Some("subscribe") => subscribe(value).map(Request::Subscribe),
        Some("unsubscribe") => selection(value).map(Request::Unsubscribe),
        Some("set_all") => boolean(value, "all", true).map(Request::SetAll),
        Some("ping") => Ok(Request::Ping),
        Some("auth") => credential(value).map(Request::Auth),
        Some("refresh") => credential(value).map(Request::Refresh),
        Some("resume") => resume(value).map(Request::Resume),
        Some("history") => history(value).map(Request::History),
        Some("register_alert") => alert(value).map(Request::RegisterAlert),
        Some("remove_alert") => text(value, "alert_id", "the id of an alert").map(Request::RemoveAlert),
        _ => Err(RequestError::Action { given: excerpt(&action.encode()) }),
    }
}

fn subscribe(value: &BorrowedValue<'_>) -> Result<Subscribe, RequestError> {
    let name = |field: &'static str, allowed: &'static str| match present(value, field) {
        None => Ok(None),
        Some(given) => given.as_str().map(Some).ok_or_else(|| wrong(field, given, allowed)),
    };
    const MODES: &str = "one of ltp, quote, full";
    const FORMATS: &str = "one of json, msgpack";
    let mode = match name("mode", MODES)? {
        None => Mode::Quote,
        Some(text) => Mode::parse(text).ok_or_else(|| wrong("mode", &value["mode"], MODES))?,
    };
    let format = match name("format", FORMATS)? {
        None => Format::Json,
        Some(text) => Format::parse(text).ok_or_else(|| wrong("format", &value["format"], FORMATS))?,
    };
    Ok(Subscribe {
        selection: selection(value)?,
        throttle_ms: number(value, "throttle_ms", 0, 0..=MAX_THROTTLE_MS, "milliseconds from 0 to 3600000")?,
        batch: boolean(value, "batch", false)?,
        batch_size: number(value, "batch_size", 1, 1..=MAX_BATCH, "a count from 1 to 1000")?,
        format,
        mode,
        live_candles: boolean(value, "live_candles", false)?,
        when: present(value, "when").map(|given| when(given, mode)).transpose()?,
        resume: boolean(value, "resume", false)?,
    })
}

/// Conditions; an unknown one is refused, since ticks would come that are not wanted.
fn when(value: &BorrowedValue<'_>, mode: Mode) -> Result<When, RequestError> {
    const WHEN: &str = "an object with move_pct, above, below or volume_above";
    let fields = value.as_object().ok_or_else(|| wrong("when", value, WHEN))?;
    let positive = |field: &'static str, allowed: &'static str| match present(value, field) {
        None => Ok(None),
        Some(given) => {
            let number = given.cast_f64().filter(|number| number.is_finite() && *number >= 0.0);
            number.map(Some).ok_or_else(|| wrong(field, given, allowed))
        }
    };
    if fields.keys().any(|key| !["move_pct", "above", "below", "volume_above"].contains(&key.as_ref())) {
        return Err(wrong("when", value, WHEN));
    }
    let volume_above = positive("volume_above", "a quantity")?;
    if volume_above.is_some() && mode == Mode::Ltp {
        return Err(wrong("volume_above", value, "mode quote or full, since mode ltp has no volume"));
    }
    Ok(When {
        move_pct: positive("move_pct", "percent, such as 0.2")?,
        above: positive("above", "a price")?,
        below: positive("below", "a price")?,
        volume_above: volume_above.map(|volume| volume as u32),
    })
}

fn resume(value: &BorrowedValue<'_>) -> Result<ResumeRequest, RequestError> {
    const CURSOR: &str = "an object with since (Unix seconds) and bars (starts of bars by TOKEN:TIMEFRAME)";
    let token = credential(value)?;
    let Some(given) = present(value, "cursor") else { return Ok(ResumeRequest { token, cursor: Cursor::default() }) };
    let wrong = || wrong("cursor", given, CURSOR);
    given.as_object().ok_or_else(wrong)?;
    let since = present(given, "since").map(|since| since.cast_f64().ok_or_else(wrong)).transpose()?;
    let mut bars = HashMap::new();
    if let Some(given) = present(given, "bars") {
        let given = given.as_object().filter(|bars| bars.len() <= MAX_CURSOR).ok_or_else(wrong)?;
        for (name, start) in given.iter() {
            bars.insert(name.to_string(), start.as_i64().ok_or_else(wrong)?);
        }
    }
    Ok(ResumeRequest { token, cursor: Cursor { since: since.filter(|since| since.is_finite()), bars } })
}

fn history(value: &BorrowedValue<'_>) -> Result<HistoryRequest, RequestError> {
    // The contract: from 1 to 500, else 50.
    let count =
        present(value, "count").and_then(ValueAsScalar::as_u64).filter(|count| (1..=MAX_HISTORY).contains(count));
    Ok(HistoryRequest {
        token: token(value, "token")?,
        timeframe: text(value, "timeframe", TIMEFRAME)?,
        count: count.unwrap_or(DEFAULT_HISTORY) as usize,
    })
}

fn alert(value: &BorrowedValue<'_>) -> Result<RegisterAlert, RequestError> {
    const ALERT: &str = "an object with type, token and params";
    let given = present(value, "alert");
    let Some(alert) = given.filter(|alert| alert.as_object().is_some()) else {
        return Err(missing("alert", given, ALERT));
    };
    let params = match present(alert, "params") {
        None => serde_json::Value::Null,
        // Both are JSON, so what one writes the other reads.
        Some(params) => serde_json::from_str(&params.encode()).unwrap_or_default(),
    };
    Ok(RegisterAlert {
        kind: text(alert, "type", "one of price_cross, volume_spike, indicator_cross")?,
        token: token(alert, "token")?,
        timeframe: present(alert, "timeframe").map(|_| text(alert, "timeframe", TIMEFRAME)).transpose()?,
        params,
    })
}

const TIMEFRAME: &str = "a string such as 1min, 5min or 1d";

/// A string that must be there.
fn text(value: &BorrowedValue<'_>, field: &'static str, allowed: &'static str) -> Result<String, RequestError> {
    let given = present(value, field);
    given.and_then(ValueAsScalar::as_str).map(str::to_owned).ok_or_else(|| missing(field, given, allowed))
}

/// An instrument token that must be there.
fn token(value: &BorrowedValue<'_>, field: &'static str) -> Result<InstrumentToken, RequestError> {
    let given = present(value, field);
    let token = given.and_then(number_of).ok_or_else(|| missing(field, given, "an instrument token"))?;
    Ok(InstrumentToken(token))
}

/// A token as a number or as a string of digits.
fn number_of(item: &BorrowedValue<'_>) -> Option<u32> {
    match (item.as_u64(), item.as_str()) {
        (Some(number), _) => u32::try_from(number).ok(),
        (None, Some(text)) => text.trim().parse().ok(),
        (None, None) => None,
    }
}

fn missing(field: &'static str, given: Option<&BorrowedValue<'_>>, allowed: &'static str) -> RequestError {
    match given {
        Some(given) => wrong(field, given, allowed),
        None => RequestError::Field { field, given: "a missing value".into(), allowed },
    }
}

fn selection(value: &BorrowedValue<'_>) -> Result<Selection, RequestError> {
    const TOKENS: &str = "a list of instrument tokens, as strings of digits or integers below 4294967296";
    let mut tokens = Vec::new();
    for item in items(value, "tokens", TOKENS)? {
        tokens.push(InstrumentToken(number_of(item).ok_or_else(|| wrong("tokens", item, TOKENS))?));
    }
    Ok(Selection {
        symbols: strings(value, "symbols", "a list of strings such as RELIANCE or NSE:RELIANCE")?,
        tokens,
        timeframes: strings(value, "timeframes", "a list of strings such as 1min, 5min or 1d")?,
    })
}

/// A token. What stood there instead is not shown: it may be a part of one.
fn credential(value: &BorrowedValue<'_>) -> Result<Secret, RequestError> {
    let text = value.get("token").and_then(|token| token.as_str()).filter(|text| !text.is_empty());
    let wrong =
        || RequestError::Field { field: "token", given: "what is there".into(), allowed: "a token or an API key" };
    text.map(Secret::new).ok_or_else(wrong)
}

/// The field, unless it is missing or null, which means the same.
fn present<'v>(value: &'v BorrowedValue<'_>, field: &str) -> Option<&'v BorrowedValue<'v>> {
    value.get(field).filter(|value| !matches!(value, BorrowedValue::Static(simd_json::StaticNode::Null)))
}

fn items<'v>(
    value: &'v BorrowedValue<'_>,
    field: &'static str,
    allowed: &'static str,
) -> Result<&'v [BorrowedValue<'v>], RequestError> {
    match present(value, field) {
        None => Ok(&[]),
        Some(given) => given.as_array().map(|items| &items[..]).ok_or_else(|| wrong(field, given, allowed)),
    }
}

fn strings(value: &BorrowedValue<'_>, field: &'static str, allowed: &'static str) -> Result<Vec<String>, RequestError> {
    items(value, field, allowed)?
        .iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong(field, item, allowed)))
        .collect()
}

fn number(
    value: &BorrowedValue<'_>,
    field: &'static str,
    default: u32,
    range: std::ops::RangeInclusive<u64>,
    allowed: &'static str,
) -> Result<u32, RequestError> {
    let Some(given) = present(value, field) else { return Ok(default) };
    let in_range = given.as_u64().filter(|number| range.contains(number));
    in_range.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| wrong(field, given, allowed))
}

fn boolean(value: &BorrowedValue<'_>, field: &'static str, default: bool) -> Result<bool, RequestError> {
    let Some(given) = present(value, field) else { return Ok(default) };
    given.as_bool().ok_or_else(|| wrong(field, given, "true or false"))
}

fn wrong(field: &'static str, given: &BorrowedValue<'_>, allowed: &'static str) -> RequestError {
    RequestError::Field { field, given: excerpt(&given.encode()), allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, RequestError> {
        super::parse(text.as_bytes())
    }

    #[test]
    fn a_subscription_takes_tokens_as_strings_or_integers_and_ignores_what_it_does_not_know() {
        let text = r#"{"action":"subscribe","symbols":["RELIANCE"],"tokens":["738561",257033],"timeframes":["1d"],
            "throttle_ms":250,"batch":true,"batch_size":10,"format":"msgpack","mode":"full","colour":"red"}"#;
        let Ok(Request::Subscribe(subscribe)) = parse(text) else { panic!() };
        assert_eq!(subscribe.selection.symbols, ["RELIANCE"]);
        assert_eq!(subscribe.selection.tokens, [InstrumentToken(738_561), InstrumentToken(257_033)]);
        assert_eq!((subscribe.throttle_ms, subscribe.batch, subscribe.batch_size), (250, true, 10));
        assert_eq!((subscribe.format, subscribe.mode), (Format::Msgpack, Mode::Full));
    }

    #[test]
    fn all_but_the_action_may_be_left_out() {
        let Ok(Request::Subscribe(subscribe)) = parse(r#"{"action":"subscribe","mode":null}"#) else { panic!() };
        assert_eq!((subscribe.mode, subscribe.format, subscribe.batch_size), (Mode::Quote, Format::Json, 1));
        assert!(subscribe.selection.is_empty());
        assert_eq!(parse(r#"{"action":"set_all"}"#), Ok(Request::SetAll(true)));
    }

    #[test]
    fn an_error_names_the_field_and_what_is_allowed() {
        let field = |text: &str| parse(text).unwrap_err().field();
        assert_eq!(parse("{nope"), Err(RequestError::Json));
        assert_eq!(parse("[1]"), Err(RequestError::NotAnObject));
        assert_eq!(field(r#"{"a":1}"#), Some("action"));
        assert_eq!(field(r#"{"action":"buy"}"#), Some("action"));
        assert_eq!(field(r#"{"action":"subscribe","tokens":["RELIANCE"]}"#), Some("tokens"));
        assert_eq!(field(r#"{"action":"subscribe","tokens":[4294967296]}"#), Some("tokens"));
        assert_eq!(field(r#"{"action":"subscribe","tokens":738561}"#), Some("tokens"));
        assert_eq!(field(r#"{"action":"subscribe","mode":"depth"}"#), Some("mode"));
        assert_eq!(field(r#"{"action":"subscribe","throttle_ms":-1}"#), Some("throttle_ms"));
        assert_eq!(field(r#"{"action":"subscribe","batch_size":0}"#), Some("batch_size"));
        assert_eq!(field(r#"{"action":"set_all","all":"yes"}"#), Some("all"));
        let text = parse(r#"{"action":"subscribe","mode":"depth"}"#).unwrap_err().to_string();
        assert_eq!(text, r#"mode: "depth" is not allowed; one of ltp, quote, full"#);
    }
}
