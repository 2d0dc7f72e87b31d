//! What is kept of a session.

use super::token::{Fingerprint, SessionId};
use crate::identity::principal::{Principal, Proof};
use crate::market::When;
use serde::{Deserialize, Serialize};

/// What a client has asked for, so that it can be asked for again in its name.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionState {
    /// What it has of `/ws/stream`; `None` for a session of another protocol.
    pub stream: Option<StreamState>,
    /// The connection's own id where it has indicators (`ws_` and 12 hex digits); else empty.
    pub connection: String,
    /// Its indicators, a group for each symbol and timeframe.
    pub indicators: Vec<IndicatorState>,
    /// When these were changed last, Unix seconds; 0 for never.
    pub changed_at: f64,
}

/// The fields of the last `subscribe` on `/ws/stream`, and what was changed since.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamState {
    /// Instrument tokens, also those of symbols.
    pub tokens: Vec<u32>,
    /// Timeframes as the client wrote them.
    pub timeframes: Vec<String>,
    /// Timeframes and no token: those of every instrument.
    pub every: bool,
    /// Every token there is.
    pub all: bool,
    /// Least milliseconds between two messages of one token.
    pub throttle_ms: u32,
    /// Whether messages are collected into batches.
    pub batch: bool,
    /// How many fill a batch.
    pub batch_size: u32,
    /// `json` or `msgpack`.
    pub format: String,
    /// `ltp`, `quote` or `full`.
    pub mode: String,
    /// Whether candles are sent while they form.
    pub live_candles: bool,
    /// Which ticks are worth sending, if not all are.
    pub when: Option<When>,
}

/// Indicators of one symbol and timeframe, all as the client wrote them.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct IndicatorState {
    /// The symbol.
    pub symbol: String,
    /// The timeframe.
    pub timeframe: String,
    /// Ids such as `RSI_14`.
    pub ids: Vec<String>,
}

/// The version of [`Record`] in stores; a record of another one is ignored.
pub const VERSION: u32 = 1;

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// Which session.
    pub id: SessionId,
    /// Of the secret that opens it.
    pub secret: Fingerprint,
    /// Of whoever may open it: see [`owner`].
    pub owner: Fingerprint,
    /// How often it was opened: of two with different numbers the higher one counts.
    pub fence: u64,
    /// When its last connection ended, Unix seconds; `None` while it has one, or when nobody was left to tell.
    pub seen_at: Option<f64>,
    /// When anything came from its client last, Unix seconds, once its connection has ended: what was sent later may not
    /// have arrived.
    pub heard_at: Option<f64>,
    /// When this was written, Unix seconds.
    pub written_at: f64,
    /// What it has.
    pub state: SessionState,
}

impl Record {
    /// When its last connection ended, as far as is known, Unix seconds.
    pub fn last_seen(&self) -> f64 {
        self.seen_at.unwrap_or(self.written_at)
    }

    /// When the client last had everything, as far as is known, Unix seconds.
    pub fn had_until(&self) -> f64 {
        self.heard_at.unwrap_or(self.last_seen())
    }

    /// Operators' names of its indicators, as long as a connection has them.
    pub fn indicator_keys(&self) -> Vec<String> {
        if self.seen_at.is_some() || self.state.connection.is_empty() {
            return Vec::new();
        }
        let groups = self.state.indicators.iter();
        groups
            .flat_map(|group| {
                group.ids.iter().map(|id| format!("indicator_subscribers:{}:{}:{id}", group.symbol, group.timeframe))
            })
            .collect()
    }
}

/// Who owns a session: the subject and how it was proved. Without authentication everybody is the same nobody, and the
/// token alone opens it.
pub fn owner(principal: &Principal) -> Fingerprint {
    let subject = if principal.proof == Proof::Anonymous { "" } else { &principal.sub };
    Fingerprint::of(format!("{}:{subject}", principal.proof.name()).as_bytes())
}
