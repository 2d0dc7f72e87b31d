//! Who is connected: for operators. Control side only.

use super::outlet::TabStats;
use crate::clock::Clock;
use crate::fanout::slot::Inbox;
use crate::identity::principal::Principal;
use crate::market::InstrumentToken;
use crate::wire::Format;
use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use tokio::sync::Notify;

#[expect(clippy::disallowed_types, reason = "control side: never met by a writer or a publisher")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// What a connection asked for, as operators see it.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Filter {
    /// Instrument tokens, as strings.
    pub tokens: Vec<String>,
    /// Timeframes as the client wrote them.
    pub timeframes: Vec<String>,
    /// Whether it gets every token.
    pub all: bool,
    /// Least milliseconds between two messages of one token.
    pub throttle_ms: u32,
    /// Whether messages are batched.
    pub batch: bool,
    /// How many make a batch.
    pub batch_size: u32,
    /// `json`, `msgpack` or `kite`.
    pub format: &'static str,
    /// `ltp`, `quote` or `full`; `mixed` where tokens have modes of their own and they differ.
    pub mode: &'static str,
}

impl Filter {
    /// Takes over the tokens.
    pub fn set_tokens(&mut self, tokens: impl IntoIterator<Item = InstrumentToken>) {
        let mut tokens: Vec<u32> = tokens.into_iter().map(|token| token.0).collect();
        tokens.sort_unstable();
        self.tokens = tokens.iter().map(u32::to_string).collect();
    }
}

/// One connection.
#[derive(Debug)]
pub struct SessionInfo {
    /// Its own id.
    pub id: Arc<str>,
    /// Whose it is, as far as it has told; an anonymous user has a fresh UUID.
    pub principal: ArcSwap<Principal>,
    /// Where it comes from.
    pub peer: String,
    /// Since when, Unix seconds.
    pub connected_at: f64,
    /// When anything came from it last, monotonic.
    pub last_seen_ns: AtomicU64,
    /// What it asked for.
    pub filter: ColdMutex<Filter>,
    /// What its writer counts.
    pub stats: Arc<TabStats>,
    /// Whether it speaks Kite's protocol.
    pub kite: bool,
    /// Its inbox, once it has subscribed.
    pub inbox: OnceLock<Arc<Inbox>>,
    /// Rung when an operator wants it to end, or the program stops.
    pub dismissal: Notify,
}

impl SessionInfo {
    /// Changes what operators see of the filter.
    pub fn update_filter(&self, change: impl FnOnce(&mut Filter)) {
        change(&mut self.filter.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn describe(&self, clock: &Clock) -> Value {
        let now_ns = clock.now_ns();
        let last_seen_ns = self.last_seen_ns.load(Ordering::Relaxed);
        let principal = self.principal.load();
        let blocked_ns = self.stats.blocked_since_ns.get();
        json!({
            "id": self.id,
            "user": principal.user,
            "proof": principal.proof.name(),
            "session_id": principal.session_id,
            "expires_at": principal.expires_at,
            "peer": self.peer,
            "connected": true,
            "connected_at": self.connected_at,
            "last_heartbeat": clock.unix_ns(last_seen_ns) as f64 / 1e9,
            "heartbeat_age": now_ns.saturating_sub(last_seen_ns) as f64 / 1e9,
            "filter": *self.filter.lock().unwrap_or_else(PoisonError::into_inner),
            "delivered": self.stats.delivered.get(),
            "conflated": self.stats.conflated.get(),
            // Operators chart it: nothing is dropped here but by conflation, where a newer value takes the place.
            "dropped": 0,
            "bytes_sent": self.stats.bytes.get(),
            "queue_depth": self.inbox.get().map_or(0, |inbox| inbox.ring.depth()),
            "unsent_bytes": self.stats.unsent.get(),
            "answered_in_seconds": self.inbox.get().and_then(|inbox| inbox.pong.took_ns()).map(|took_ns| took_ns as f64 / 1e9),
            "blocked_seconds": if blocked_ns == 0 { 0.0 } else { now_ns.saturating_sub(blocked_ns) as f64 / 1e9 },
        })
    }
}

/// All connections, by id.
#[derive(Debug, Default)]
pub struct Registry(ColdMutex<BTreeMap<Arc<str>, Arc<SessionInfo>>>);

impl Registry {
    /// Adds one.
    pub fn insert(&self, session: Arc<SessionInfo>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&session.id), session);
    }

    /// Removes one.
    pub fn remove(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Has a connection end; false when there is none with this id.
    pub fn dismiss(&self, id: &str) -> bool {
        let session = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        session.map(|session| session.dismissal.notify_one()).is_some()
    }

    /// Has all connections look whether they must end.
    pub fn dismiss_all(&self) {
        for session in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            session.dismissal.notify_one();
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inboxes of the Kite clients that `allowed` lets through; of those that have one.
    pub fn kite_inboxes(&self, allowed: impl Fn(&Principal) -> bool) -> Vec<Arc<Inbox>> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = sessions.values().filter(|session| session.kite && allowed(&session.principal.load()));
        chosen.filter_map(|session| session.inbox.get().cloned()).collect()
    }

    /// All of them, for `GET /ws/connections`.
    pub fn describe(&self, clock: &Clock) -> Vec<Value> {
        let sessions: Vec<_> = self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        sessions.iter().map(|session| session.describe(clock)).collect()
    }
}

/// The filter of a connection that has not subscribed yet.
pub fn filter_of(format: Format) -> Filter {
    Filter { format: format.name(), mode: "quote", batch_size: 1, ..Filter::default() }
}
