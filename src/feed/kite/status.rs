//! How the upstream connection is doing, for the operator.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::Serialize;

/// What the connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum KiteState {
    /// An attempt is under way.
    Connecting,
    /// Open.
    Live,
    /// Waiting for the next attempt after a failure.
    BackingOff,
    /// Kite does not accept the access token; only another one helps.
    TokenRefused,
    /// Kite has too many sockets of ours; waiting for it to forget some.
    RateLimited,
    /// Not running: not yet started, or stopped for good.
    Stopped,
}

impl KiteState {
    const ALL: [Self; 6] =
        [Self::Connecting, Self::Live, Self::BackingOff, Self::TokenRefused, Self::RateLimited, Self::Stopped];
}

/// One look at a [`KiteStatus`].
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct KiteSnapshot {
    /// What the connection is doing.
    pub state: KiteState,
    /// Why it is doing that, in words. Holds no secret.
    pub reason: String,
    /// Unix seconds at which the open connection opened; `None` unless live.
    pub connected_since: Option<u64>,
    /// Milliseconds since the last message of any kind, heartbeats included; `None` before the first.
    pub last_message_age_ms: Option<u64>,
    /// Binary messages so far, over all connections.
    pub messages: u64,
    /// Payload bytes of those.
    pub bytes: u64,
    /// Text messages so far.
    pub texts: u64,
    /// Text messages lost because a channel was full.
    pub texts_dropped: u64,
    /// The last complaint of Kite's (its `error` text).
    pub last_error: Option<String>,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// Instruments subscribed on the open connection.
    pub subscribed: u64,
    /// Instruments refused because the connection has its `max_tokens`.
    pub refused: u64,
    /// Milliseconds to the next attempt; `None` when none is planned.
    pub next_attempt_in_ms: Option<u64>,
}

/// The live numbers, shared by both halves and whoever looks. Nobody ever waits on it.
///
/// State and reason belong to the control half, the counters to the duty half: each has one writer.
pub struct KiteStatus {
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    state: AtomicU8,
    reason: ArcSwap<String>,
    last_error: ArcSwapOption<String>,
    /// Unix seconds, 0 for none.
    connected_since: AtomicU64,
    connections: AtomicU64,
    /// On `clock`, 0 for none.
    next_attempt_ns: AtomicU64,
    last_message_ns: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) texts: AtomicU64,
    pub(super) texts_dropped: AtomicU64,
    pub(super) subscribed: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl fmt::Debug for KiteStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl KiteStatus {
    pub(super) fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            clock: Box::new(clock),
            state: AtomicU8::new(KiteState::Stopped as u8),
            reason: ArcSwap::from_pointee("not started".to_owned()),
            last_error: ArcSwapOption::empty(),
            connected_since: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            next_attempt_ns: AtomicU64::new(0),
            last_message_ns: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            texts: AtomicU64::new(0),
            texts_dropped: AtomicU64::new(0),
            subscribed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// What is the case now. The parts are read one after the other, so they may be an instant apart.
    pub fn snapshot(&self) -> KiteSnapshot {
        let now = (self.clock)();
        let given = |cell: &AtomicU64| Some(cell.load(Relaxed)).filter(|value| *value != 0);
        KiteSnapshot {
            state: KiteState::ALL.get(usize::from(self.state.load(Relaxed))).copied().unwrap_or(KiteState::Stopped),
            reason: self.reason.load().as_ref().clone(),
            connected_since: given(&self.connected_since),
            last_message_age_ms: given(&self.last_message_ns).map(|then| now.saturating_sub(then) / 1_000_000),
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            texts: self.texts.load(Relaxed),
            texts_dropped: self.texts_dropped.load(Relaxed),
            last_error: self.last_error.load().as_deref().cloned(),
            reconnects: self.connections.load(Relaxed).saturating_sub(1),
            subscribed: self.subscribed.load(Relaxed),
            refused: self.refused.load(Relaxed),
            next_attempt_in_ms: given(&self.next_attempt_ns).map(|then| then.saturating_sub(now) / 1_000_000),
        }
    }

    /// Any state but live; `next_attempt` is how far away the next attempt is, if one is planned.
    pub(super) fn set(&self, state: KiteState, reason: String, next_attempt: Option<Duration>) {
        let next = next_attempt.map_or(0, |wait| (self.clock)().saturating_add(wait.as_nanos() as u64).max(1));
        self.next_attempt_ns.store(next, Relaxed);
        self.connected_since.store(0, Relaxed);
        self.reason.store(Arc::new(reason));
        self.state.store(state as u8, Relaxed);
    }

    pub(super) fn set_live(&self) {
        self.set(KiteState::Live, "connected".to_owned(), None);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.connected_since.store(now.as_secs(), Relaxed);
        self.connections.fetch_add(1, Relaxed);
    }

    pub(super) fn set_last_error(&self, text: String) {
        self.last_error.store(Some(Arc::new(text)));
    }

    /// A message of any kind came at `now_ns`.
    pub(super) fn heard(&self, now_ns: u64) {
        self.last_message_ns.store(now_ns.max(1), Relaxed);
    }
}
