//! Why a request for indicators is not granted.

use crate::engine::command::Full;
use crate::wire::indicator_request::Fault;
use serde_json::{Value, json};

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Subscriptions.
    Subscribe,
    /// Their end.
    Unsubscribe,
    /// Something else.
    Other,
}

/// What kind of trouble it is: the status of an HTTP answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A request that makes no sense.
    Bad,
    /// It may not be had.
    Forbidden,
    /// It does not exist, or may not be had either.
    Unknown,
    /// A limit was met.
    Limit,
    /// Not now.
    Busy,
}

impl Kind {
    /// The status of an HTTP answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Bad => 400,
            Self::Forbidden => 403,
            Self::Unknown => 404,
            Self::Limit => 429,
            Self::Busy => 503,
        }
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    /// What kind.
    pub kind: Kind,
    /// For people; begins with the field.
    pub text: String,
    /// The field at fault.
    pub field: Option<&'static str>,
    /// The limit that was met.
    pub limit: Option<usize>,
    /// The code on the wire, where it does not depend on what was asked for.
    code: Option<&'static str>,
}

impl Problem {
    /// A problem of a field.
    pub fn of(kind: Kind, field: &'static str, text: impl std::fmt::Display) -> Self {
        Self { kind, text: format!("{field}: {text}"), field: Some(field), limit: None, code: None }
    }

    /// A limit was met; the text names its setting.
    pub fn limit(field: &'static str, limit: usize, text: impl std::fmt::Display) -> Self {
        Self { limit: Some(limit), ..Self::of(Kind::Limit, field, text) }
    }

    /// An indicator that cannot be had of this instrument.
    pub fn indicator(text: impl std::fmt::Display) -> Self {
        Self { code: Some("INVALID_INDICATOR"), ..Self::of(Kind::Bad, "indicators", text) }
    }

    /// A token that is not taken.
    pub fn token(text: impl std::fmt::Display) -> Self {
        Self { code: Some("AUTH_ERROR"), ..Self::of(Kind::Forbidden, "token", text) }
    }

    /// A session that is not resumed.
    pub fn resume(text: impl std::fmt::Display) -> Self {
        let text = format!("resume: {text}; subscribe anew");
        Self { kind: Kind::Forbidden, text, field: Some("token"), limit: None, code: Some("RESUME_REFUSED") }
    }

    /// The engine computes as much as it may.
    pub fn full(full: Full) -> Self {
        Self { kind: Kind::Busy, ..Self::limit("indicators", full.0, format!("{full} (max_indicators)")) }
    }

    /// The engine has stopped, because the gateway does.
    pub fn stopping() -> Self {
        Self::of(Kind::Busy, "action", "the gateway is stopping")
    }

    /// The code on the wire.
    pub fn code(&self, asked: Asked) -> &'static str {
        self.code.unwrap_or(match asked {
            Asked::Subscribe => "SUBSCRIBE_ERROR",
            Asked::Unsubscribe => "UNSUBSCRIBE_ERROR",
            Asked::Other => "VALIDATION_ERROR",
        })
    }

    /// As clients read it.
    pub fn message(&self, asked: Asked) -> Value {
        let mut message = json!({"type": "error", "message": self.text, "error_code": self.code(asked)});
        if let Some(field) = self.field {
            message["field"] = field.into();
        }
        if let Some(limit) = self.limit {
            message["limit"] = limit.into();
        }
        message
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let limit = matches!(fault, Fault::TooMany(_)).then_some(crate::wire::indicator_request::MAX_INDICATORS);
        Self { kind: Kind::Bad, text: fault.to_string(), field: fault.field(), limit, code: Some(fault.code()) }
    }
}
