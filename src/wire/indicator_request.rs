//! What clients of `/indicators/*` say, over a WebSocket or by HTTP. Unknown fields are ignored.

use super::excerpt::excerpt;
use super::resume::{Cursor, MAX_CURSOR, ResumeRequest};
use crate::market::Timeframe;
use crate::market::calendar::Utc;
use crate::market::indicator::{IdError, IndicatorId};
use crate::secret::Secret;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Most indicators one request may name.
pub const MAX_INDICATORS: usize = 100;
/// Longest symbol, bytes: `EXCHANGE:SYMBOL` has half of it.
const MAX_SYMBOL: usize = 64;
/// What a client may ask for.
const ACTIONS: &str = "subscribe, unsubscribe, ping, auth, refresh, resume";

/// A message from a client.
#[derive(Clone, PartialEq, Debug)]
pub enum IndicatorRequest {
    /// These indicators of an instrument's timeframe, in place of those it had of it.
    Subscribe(Wanted),
    /// No more of what it names.
    Unsubscribe(Unwanted),
    /// Asks for a pong.
    Ping,
    /// Tells who the client is.
    Auth(Secret),
    /// Replaces the connection's token by a newer one.
    Refresh(Secret),
    /// Takes up the session of an earlier connection.
    Resume(ResumeRequest),
}

/// Indicators of one timeframe of an instrument.
#[derive(Clone, PartialEq, Debug)]
pub struct Wanted {
    /// The symbol as the client wrote it.
    pub symbol: String,
    /// The timeframe.
    pub timeframe: Timeframe,
    /// The timeframe as the client wrote it.
    pub timeframe_text: String,
    /// Which indicators: at least one, each once, in the client's order.
    pub indicators: Vec<IndicatorId>,
}

/// What is to be taken away; what is not named is meant in every value it has.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Unwanted {
    /// Of this instrument only.
    pub symbol: Option<String>,
    /// Of this timeframe only.
    pub timeframe: Option<Timeframe>,
    /// These indicators only; empty for all.
    pub indicators: Vec<IndicatorId>,
}

impl Unwanted {
    /// Whether it means everything.
    pub fn is_everything(&self) -> bool {
        self.symbol.is_none() && self.timeframe.is_none() && self.indicators.is_empty()
    }
}

/// Indicators of several timeframes of an instrument.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// The symbol as the client wrote it.
    pub symbol: String,
    /// The timeframes, each once, with how the client wrote them.
    pub timeframes: Vec<(Timeframe, String)>,
    /// Which indicators, each once.
    pub indicators: Vec<IndicatorId>,
}

/// Why a request was not understood.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Fault {
    /// The text is not JSON.
    #[error("Invalid JSON")]
    Json,
    /// It is JSON, but not an object.
    #[error("a request is a JSON object with an action ({ACTIONS})")]
    NotAnObject,
    /// No `action`, or one that is unknown.
    #[error("Unknown action: {given}; allowed are {ACTIONS}")]
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
        allowed: String,
    },
    /// An indicator that does not exist, or not with such parameters.
    #[error("indicators: {0}")]
    Indicator(IdError),
    /// More indicators than one request may name.
    #[error("indicators: {0} are too many; at most {MAX_INDICATORS} in one request")]
    TooMany(usize),
}

impl Fault {
    /// The code on the wire.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Json => "JSON_ERROR",
            Self::Action { .. } => "UNKNOWN_ACTION",
            Self::Indicator(_) => "INVALID_INDICATOR",
            Self::NotAnObject | Self::Field { .. } | Self::TooMany(_) => "VALIDATION_ERROR",
        }
    }

    /// The field at fault, where one is.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Json | Self::NotAnObject => None,
            Self::Action { .. } => Some("action"),
            Self::Field { field, .. } => Some(field),
            Self::Indicator(_) | Self::TooMany(_) => Some("indicators"),
        }
    }

    /// A field whose value is not allowed.
    pub fn field_of(field: &'static str, given: Option<&str>, allowed: impl Into<String>) -> Self {
        let given = given.map_or_else(|| "nothing".to_owned(), |given| excerpt(&format!("{given:?}")));
        Self::Field { field, given, allowed: allowed.into() }
    }

    fn wrong(field: &'static str, given: &Value, allowed: impl Into<String>) -> Self {
        let given = if given.is_null() { "nothing".to_owned() } else { excerpt(&given.to_string()) };
        Self::Field { field, given, allowed: allowed.into() }
    }
}

/// Parses one message.
///
/// # Errors
/// Says what is wrong and what it may be; then nothing of the request counts.
pub fn parse(text: &[u8]) -> Result<IndicatorRequest, Fault> {
    let value = object(text)?;
    let token = || match value["token"].as_str() {
        Some(token) if !token.is_empty() => Ok(Secret::new(token)),
        // Whatever stands there may be secret.
        _ => Err(Fault::field_of("token", None, "a token is needed")),
    };
    match value["action"].as_str() {
        Some("subscribe") => wanted(&value).map(IndicatorRequest::Subscribe),
        Some("unsubscribe") => unwanted(&value).map(IndicatorRequest::Unsubscribe),
        Some("ping") => Ok(IndicatorRequest::Ping),
        Some("auth") => token().map(IndicatorRequest::Auth),
        Some("refresh") => token().map(IndicatorRequest::Refresh),
        Some("resume") => {
            Ok(IndicatorRequest::Resume(ResumeRequest { token: token()?, cursor: cursor(&value["cursor"])? }))
        }
        Some(other) => Err(Fault::Action { given: excerpt(other) }),
        None => Err(Fault::Action { given: "a missing action".into() }),
    }
}

/// A JSON object.
///
/// # Errors
/// When it is no JSON, or something else.
pub fn object(text: &[u8]) -> Result<Value, Fault> {
    let value: Value = serde_json::from_slice(text).map_err(|_| Fault::Json)?;
    if value.is_object() { Ok(value) } else { Err(Fault::NotAnObject) }
}

/// The fields of a subscription.
///
/// # Errors
/// Names the first field that is wrong.
pub fn wanted(value: &Value) -> Result<Wanted, Fault> {
    let (timeframe, timeframe_text) = timeframe(&value["timeframe"], "timeframe")?;
    let (symbol, indicators) = (symbol(&value["symbol"])?, indicators(&value["indicators"])?);
    Ok(Wanted { symbol, timeframe, timeframe_text, indicators })
}

/// What a client has; without a cursor that is for others to know.
fn cursor(value: &Value) -> Result<Cursor, Fault> {
    const CURSOR: &str = "an object with since (a time) and bars (starts of bars by SYMBOL:TIMEFRAME); times are Unix \
                          seconds or such as 2025-11-04T12:05:00Z";
    let wrong = || Fault::wrong("cursor", value, CURSOR);
    let time = |given: &Value| match given {
        Value::String(text) => Utc::parse(text).map(|utc| utc.0 as f64).ok_or_else(wrong),
        other => other.as_f64().ok_or_else(wrong),
    };
    if !(value.is_null() || value.is_object()) {
        return Err(wrong());
    }
    let since = Some(&value["since"]).filter(|since| !since.is_null()).map(time).transpose()?;
    let bars = match &value["bars"] {
        Value::Null => HashMap::new(),
        Value::Object(bars) if bars.len() <= MAX_CURSOR => {
            let bar = |(name, start): (&String, &Value)| Ok((name.clone(), time(start)? as i64));
            bars.iter().map(bar).collect::<Result<_, Fault>>()?
        }
        _ => return Err(wrong()),
    };
    Ok(Cursor { since, bars })
}

/// The fields of an end of subscriptions.
///
/// # Errors
/// Names the first field that is wrong.
pub fn unwanted(value: &Value) -> Result<Unwanted, Fault> {
    let there = |name: &str| Some(&value[name]).filter(|value| !value.is_null());
    Ok(Unwanted {
        symbol: there("symbol").map(symbol).transpose()?,
        timeframe: there("timeframe").map(|given| timeframe(given, "timeframe")).transpose()?.map(|found| found.0),
        indicators: there("indicators").map(indicators).transpose()?.unwrap_or_default(),
    })
}

/// The fields of a request for several timeframes of one instrument.
///
/// # Errors
/// Names the first field that is wrong.
pub fn batch(value: &Value) -> Result<Batch, Fault> {
    const TIMEFRAMES: &str = "a list of one to eight timeframes such as 5min";
    let (symbol, indicators) = (symbol(&value["symbol"])?, indicators(&value["indicators"])?);
    let given = value["timeframes"].as_array().filter(|list| (1..=Timeframe::ALL.len()).contains(&list.len()));
    let given = given.ok_or_else(|| Fault::wrong("timeframes", &value["timeframes"], TIMEFRAMES))?;
    let mut timeframes: Vec<(Timeframe, String)> = Vec::new();
    for item in given {
        let found = timeframe(item, "timeframes")?;
        if timeframes.iter().all(|(known, _)| *known != found.0) {
            timeframes.push(found);
        }
    }
    match timeframes.len() * indicators.len() {
        total if total > MAX_INDICATORS => Err(Fault::TooMany(total)),
        _ => Ok(Batch { symbol, timeframes, indicators }),
    }
}

/// A symbol as a client may write it; whether anything is called so is another question.
///
/// # Errors
/// When it is no text, empty, or too long.
pub fn symbol(value: &Value) -> Result<String, Fault> {
    let good = |text: &&str| (1..=MAX_SYMBOL).contains(&text.trim().len()) && text.len() <= MAX_SYMBOL;
    let text = value.as_str().filter(good);
    text.map(str::to_owned).ok_or_else(|| Fault::wrong("symbol", value, "a symbol such as NIFTY50 or NSE:INFY"))
}

/// A timeframe and how it was written.
fn timeframe(value: &Value, field: &'static str) -> Result<(Timeframe, String), Fault> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => return Err(Fault::wrong(field, other, TIMEFRAMES)),
    };
    timeframe_of(&text).map(|timeframe| (timeframe, text)).map_err(|_| Fault::wrong(field, value, TIMEFRAMES))
}

const TIMEFRAMES: &str = "there are 1min, 3min, 5min, 10min, 15min, 30min, 60min and 1day";

/// A timeframe.
///
/// # Errors
/// When there is none of that name.
pub fn timeframe_of(text: &str) -> Result<Timeframe, Fault> {
    text.parse().map_err(|_| Fault::field_of("timeframe", Some(text), TIMEFRAMES))
}

/// Indicators: a list of ids (`"RSI_14"`) and of objects (`{"name":"RSI","params":{"length":14}}`).
fn indicators(value: &Value) -> Result<Vec<IndicatorId>, Fault> {
    const LIST: &str =
        "a list of at least one indicator such as \"RSI_14\" or {\"name\":\"RSI\",\"params\":{\"length\":14}}";
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| Fault::wrong("indicators", value, LIST))?;
    each_once(
        list.len(),
        list.iter().map(|item| {
            indicator(item).map_err(|fault| fault.unwrap_or_else(|| Fault::wrong("indicators", item, LIST)))
        }),
    )
}

/// Indicators as a query has them: ids with commas between.
///
/// # Errors
/// When one does not exist, or there are none or too many.
pub fn indicator_list(text: &str) -> Result<Vec<IndicatorId>, Fault> {
    let ids = || text.split(',').map(str::trim).filter(|id| !id.is_empty());
    match ids().count() {
        0 => Err(Fault::field_of("indicators", Some(text), "ids with commas between, such as RSI_14,SMA_20")),
        count => each_once(count, ids().map(|id| id.parse().map_err(Fault::Indicator))),
    }
}

fn each_once(count: usize, all: impl Iterator<Item = Result<IndicatorId, Fault>>) -> Result<Vec<IndicatorId>, Fault> {
    if count > MAX_INDICATORS {
        return Err(Fault::TooMany(count));
    }
    let mut ids = Vec::with_capacity(count);
    for id in all {
        let id = id?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// One indicator; `Err(None)` for what has not its shape.
fn indicator(value: &Value) -> Result<IndicatorId, Option<Fault>> {
    let known = |id: Result<IndicatorId, IdError>| id.map_err(|error| Some(Fault::Indicator(error)));
    let none = Map::new();
    match value {
        Value::String(id) => known(id.parse()),
        Value::Object(fields) => {
            let name = fields.get("name").and_then(Value::as_str).ok_or(None)?;
            let parameters = match fields.get("params") {
                None | Some(Value::Null) => &none,
                Some(Value::Object(parameters)) => parameters,
                Some(_) => return Err(None),
            };
            // Without parameters the name may as well be an id.
            known(if parameters.is_empty() { name.parse() } else { IndicatorId::from_parameters(name, parameters) })
        }
        _ => Err(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(request: &Value) -> Result<IndicatorRequest, Fault> {
        parse(request.to_string().as_bytes())
    }

    #[test]
    fn ids_and_objects_say_the_same() {
        let objects = json!([{"name": "RSI", "params": {"length": 14}}, {"name": "sma", "params": null}, {"name": "MACD"},
            {"name": "RSI_14"}]);
        let ids = json!(["rsi_14", "SMA_20", "MACD_12_26_9"]);
        for (timeframe, indicators) in [(json!("5min"), objects), (json!(5), ids)] {
            let request = json!({"action": "subscribe", "symbol": "NIFTY50", "timeframe": timeframe,
                "indicators": indicators, "more": 1});
            let Ok(IndicatorRequest::Subscribe(wanted)) = read(&request) else { panic!("{request}") };
            let names: Vec<_> = wanted.indicators.iter().map(IndicatorId::to_string).collect();
            assert_eq!(names, ["RSI_14", "SMA_20", "MACD_12_26_9"]);
            assert_eq!((wanted.symbol.as_str(), wanted.timeframe), ("NIFTY50", Timeframe::Min5));
            assert_eq!(json!(wanted.timeframe_text.trim_end_matches("min")), json!("5"));
        }
        assert_eq!(read(&json!({"action": "ping"})), Ok(IndicatorRequest::Ping));
        let Ok(IndicatorRequest::Unsubscribe(all)) = read(&json!({"action": "unsubscribe", "symbol": null})) else {
            panic!("unsubscribe")
        };
        assert!(all.is_everything());
        assert_eq!(indicator_list("RSI_14, sma_20,RSI").unwrap().len(), 2);
    }

    #[test]
    fn a_cursor_has_times_in_either_notation() {
        let resume = |cursor: Value| read(&json!({"action": "resume", "token": "rs_x", "cursor": cursor}));
        let bars = json!({"NIFTY50:5min": "2025-11-04T12:00:00Z", "NSE:INFY:1": 1_762_257_600});
        let Ok(IndicatorRequest::Resume(request)) = resume(json!({"since": 1_762_257_900.5, "bars": bars})) else {
            panic!("resume")
        };
        assert_eq!(request.cursor.since, Some(1_762_257_900.5));
        assert_eq!(request.cursor.bars["NIFTY50:5min"], request.cursor.bars["NSE:INFY:1"]);
        let Ok(IndicatorRequest::Resume(request)) = resume(Value::Null) else { panic!("resume") };
        assert_eq!((request.token.reveal(), request.cursor), ("rs_x", Cursor::default()));
        for wrong in
            [json!("x"), json!([]), json!({"since": "noon"}), json!({"bars": [1]}), json!({"bars": {"a": null}})]
        {
            let fault = resume(wrong.clone()).unwrap_err();
            assert_eq!((fault.code(), fault.field()), ("VALIDATION_ERROR", Some("cursor")), "{wrong}");
        }
    }

    #[test]
    fn an_error_has_its_code_and_names_its_field() {
        let subscribe = |symbol: Value, timeframe: Value, indicators: Value| json!({"action": "subscribe", "symbol": symbol, "timeframe": timeframe, "indicators": indicators});
        let (symbol, timeframe, rsi) = (json!("INFY"), json!("5min"), json!(["RSI_14"]));
        let long = json!("X".repeat(65));
        for (request, code, field) in [
            (json!({"action": "dance"}), "UNKNOWN_ACTION", Some("action")),
            (json!({}), "UNKNOWN_ACTION", Some("action")),
            (json!([1]), "VALIDATION_ERROR", None),
            (subscribe(json!(null), timeframe.clone(), rsi.clone()), "VALIDATION_ERROR", Some("symbol")),
            (subscribe(long, timeframe.clone(), rsi.clone()), "VALIDATION_ERROR", Some("symbol")),
            (subscribe(symbol.clone(), json!("7min"), rsi.clone()), "VALIDATION_ERROR", Some("timeframe")),
            (subscribe(symbol.clone(), json!([5]), rsi), "VALIDATION_ERROR", Some("timeframe")),
            (subscribe(symbol.clone(), timeframe.clone(), json!([])), "VALIDATION_ERROR", Some("indicators")),
            (subscribe(symbol.clone(), timeframe.clone(), json!([7])), "VALIDATION_ERROR", Some("indicators")),
            (
                subscribe(symbol.clone(), timeframe.clone(), json!(vec!["RSI"; 101])),
                "VALIDATION_ERROR",
                Some("indicators"),
            ),
            (subscribe(symbol.clone(), timeframe.clone(), json!(["MOON_1"])), "INVALID_INDICATOR", Some("indicators")),
            (
                subscribe(symbol, timeframe, json!([{"name": "RSI", "params": {"length": 1e9}}])),
                "INVALID_INDICATOR",
                Some("indicators"),
            ),
            (json!({"action": "refresh"}), "VALIDATION_ERROR", Some("token")),
        ] {
            let fault = read(&request).unwrap_err();
            assert_eq!((fault.code(), fault.field()), (code, field), "{request}: {fault}");
        }
        assert_eq!(parse(b"{\"action\":").unwrap_err().code(), "JSON_ERROR");
        let many = json!({"symbol": "INFY", "timeframes": ["1min", "5min"],
            "indicators": (2..60).map(|length| format!("SMA_{length}")).collect::<Vec<_>>()});
        assert_eq!(batch(&many), Err(Fault::TooMany(116)));
    }
}
