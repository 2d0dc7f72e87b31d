//! How the upstream connections are doing, for the operator.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::Serialize;

use super::gate::Passed;
use super::keys::{KeySnapshot, Keys};

/// What a connection is doing.
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
    /// Not needed so far: the sockets before have room.
    Idle,
    /// Not running: not yet started, or stopped for good.
    Stopped,
}

impl KiteState {
    const ALL: [Self; 7] = [
        Self::Connecting,
        Self::Live,
        Self::BackingOff,
        Self::TokenRefused,
        Self::RateLimited,
        Self::Idle,
        Self::Stopped,
    ];

    /// The word for what is wrong, if anything: what an operator looks for first.
    pub const fn diagnosis(self) -> &'static str {
        match self {
            Self::Live | Self::Idle => "connected",
            Self::Connecting | Self::BackingOff => "network",
            Self::TokenRefused => "token rejected",
            Self::RateLimited => "rate limited",
            Self::Stopped => "stopped",
        }
    }

    /// Which of several is told for all: what needs a person comes first, what needs nothing last.
    const fn urgency(self) -> u8 {
        match self {
            Self::TokenRefused => 6,
            Self::RateLimited => 5,
            Self::BackingOff => 4,
            Self::Connecting => 3,
            Self::Stopped => 2,
            Self::Live => 1,
            Self::Idle => 0,
        }
    }
}

/// One look at a socket.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SocketSnapshot {
    /// The number of its API key, from 0 in the order of the settings.
    pub key: usize,
    /// What it is doing.
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
    /// Packets left out because nobody wants the instrument, or not from this socket.
    pub unwanted_packets: u64,
    /// Packets left out because they may be older than what is known.
    pub outdated_packets: u64,
    /// Text messages so far.
    pub texts: u64,
    /// Text messages lost because a channel was full.
    pub texts_dropped: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// Instruments subscribed on the open connection.
    pub subscribed: u64,
    /// Milliseconds to the next attempt; `None` when none is planned.
    pub next_attempt_in_ms: Option<u64>,
}

/// One look at a [`KiteStatus`]: the sums over all sockets, and each by itself.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct KiteSnapshot {
    /// What the socket in the greatest need is doing.
    pub state: KiteState,
    /// Why it is doing that, in words. Holds no secret.
    pub reason: String,
    /// `connected`, or what is wrong: `token rejected`, `rate limited`, `network`, `stopped`.
    pub diagnosis: &'static str,
    /// Unix seconds at which the oldest open connection opened.
    pub connected_since: Option<u64>,
    /// Milliseconds since the last message on any socket; `None` before the first.
    pub last_message_age_ms: Option<u64>,
    /// Binary messages so far.
    pub messages: u64,
    /// Payload bytes of those.
    pub bytes: u64,
    /// Packets left out because nobody wants the instrument, or not from that socket.
    pub unwanted_packets: u64,
    /// Packets left out because they may be older than what is known.
    pub outdated_packets: u64,
    /// Text messages so far.
    pub texts: u64,
    /// Text messages lost because a channel was full.
    pub texts_dropped: u64,
    /// The last complaint of Kite's (its `error` text).
    pub last_error: Option<String>,
    /// Connections opened after the first of each socket.
    pub reconnects: u64,
    /// Instruments subscribed upstream.
    pub subscribed: u64,
    /// Instruments that all sockets together can have.
    pub capacity: u64,
    /// Instruments refused because every socket has its `max_tokens`.
    pub refused: u64,
    /// Milliseconds to the next attempt of any socket; `None` when none is planned.
    pub next_attempt_in_ms: Option<u64>,
    /// The API keys, in the order of the settings.
    pub keys: Vec<KeySnapshot>,
    /// The sockets, those of the first key first.
    pub sockets: Vec<SocketSnapshot>,
}

type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The live numbers of one socket, shared by both halves and whoever looks. Nobody ever waits on it.
///
/// State and reason belong to the control half, the counters to the duty half: each has one writer.
pub(super) struct SocketStatus {
    now: Now,
    /// The number of its key.
    pub(super) key: usize,
    state: AtomicU8,
    reason: ArcSwap<String>,
    /// Unix seconds, 0 for none.
    connected_since: AtomicU64,
    connections: AtomicU64,
    /// On `now`, 0 for none.
    next_attempt_ns: AtomicU64,
    last_message_ns: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    unwanted: AtomicU64,
    outdated: AtomicU64,
    texts: AtomicU64,
    pub(super) texts_dropped: AtomicU64,
    pub(super) subscribed: AtomicU64,
}

impl SocketStatus {
    pub(super) fn new(key: usize, now: Now) -> Self {
        Self {
            now,
            key,
            state: AtomicU8::new(KiteState::Stopped as u8),
            reason: ArcSwap::from_pointee("not started".to_owned()),
            connected_since: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            next_attempt_ns: AtomicU64::new(0),
            last_message_ns: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            unwanted: AtomicU64::new(0),
            outdated: AtomicU64::new(0),
            texts: AtomicU64::new(0),
            texts_dropped: AtomicU64::new(0),
            subscribed: AtomicU64::new(0),
        }
    }

    fn snapshot(&self) -> SocketSnapshot {
        let now = (self.now)();
        let given = |cell: &AtomicU64| Some(cell.load(Relaxed)).filter(|value| *value != 0);
        // First, and acquire: pairs with the release in `enter`.
        let state = usize::from(self.state.load(Acquire));
        SocketSnapshot {
            key: self.key,
            state: KiteState::ALL.get(state).copied().unwrap_or(KiteState::Stopped),
            reason: self.reason.load().as_ref().clone(),
            connected_since: given(&self.connected_since),
            last_message_age_ms: given(&self.last_message_ns).map(|then| now.saturating_sub(then) / 1_000_000),
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            unwanted_packets: self.unwanted.load(Relaxed),
            outdated_packets: self.outdated.load(Relaxed),
            texts: self.texts.load(Relaxed),
            texts_dropped: self.texts_dropped.load(Relaxed),
            reconnects: self.connections.load(Relaxed).saturating_sub(1),
            subscribed: self.subscribed.load(Relaxed),
            next_attempt_in_ms: given(&self.next_attempt_ns).map(|then| then.saturating_sub(now) / 1_000_000),
        }
    }

    /// Any state but live; `next_attempt` is how far away the next attempt is, if one is planned.
    pub(super) fn set(&self, state: KiteState, reason: String, next_attempt: Option<Duration>) {
        let next = next_attempt.map_or(0, |wait| (self.now)().saturating_add(wait.as_nanos() as u64).max(1));
        self.next_attempt_ns.store(next, Relaxed);
        self.connected_since.store(0, Relaxed);
        self.enter(state, reason);
    }

    pub(super) fn set_live(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.connections.fetch_add(1, Relaxed);
        self.next_attempt_ns.store(0, Relaxed);
        self.connected_since.store(now.as_secs(), Relaxed);
        self.enter(KiteState::Live, "connected".to_owned());
    }

    fn enter(&self, state: KiteState, reason: String) {
        self.reason.store(Arc::new(reason));
        // Release: who sees the state sees what belongs to it.
        self.state.store(state as u8, Release);
    }

    /// Something came at `now_ns`. **Thread**: the feed's, as for the other counts.
    pub(super) fn heard(&self, now_ns: u64, messages: u64, bytes: u64) {
        self.last_message_ns.store(now_ns.max(1), Relaxed);
        add(&self.messages, messages);
        add(&self.bytes, bytes);
    }

    pub(super) fn count(&self, passed: Passed) {
        if passed.unwanted + passed.outdated > 0 {
            add(&self.unwanted, passed.unwanted);
            add(&self.outdated, passed.outdated);
        }
    }

    pub(super) fn count_text(&self) {
        add(&self.texts, 1);
    }
}

/// Adds to a counter that no other thread writes: a plain store is cheaper than a locked addition.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed) + amount, Relaxed);
}

/// The live numbers of all sockets. Nobody ever waits on it.
pub struct KiteStatus {
    pub(super) sockets: Vec<Arc<SocketStatus>>,
    keys: Arc<Keys>,
    capacity: u64,
    last_error: ArcSwapOption<String>,
    pub(super) refused: AtomicU64,
}

impl fmt::Debug for KiteStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl KiteStatus {
    pub(super) fn new(sockets: Vec<Arc<SocketStatus>>, keys: Arc<Keys>, capacity: usize) -> Self {
        let last_error = ArcSwapOption::empty();
        Self { sockets, keys, capacity: capacity as u64, last_error, refused: AtomicU64::new(0) }
    }

    /// What is the case now. The parts are read one after the other, so they may be an instant apart.
    pub fn snapshot(&self) -> KiteSnapshot {
        let sockets: Vec<_> = self.sockets.iter().map(|socket| socket.snapshot()).collect();
        let sum = |pick: fn(&SocketSnapshot) -> u64| sockets.iter().map(pick).sum();
        let neediest = sockets.iter().rev().max_by_key(|socket| socket.state.urgency());
        let state = neediest.map_or(KiteState::Stopped, |socket| socket.state);
        KiteSnapshot {
            state,
            reason: neediest.map(|socket| socket.reason.clone()).unwrap_or_default(),
            diagnosis: state.diagnosis(),
            connected_since: sockets.iter().filter_map(|socket| socket.connected_since).min(),
            last_message_age_ms: sockets.iter().filter_map(|socket| socket.last_message_age_ms).min(),
            messages: sum(|socket| socket.messages),
            bytes: sum(|socket| socket.bytes),
            unwanted_packets: sum(|socket| socket.unwanted_packets),
            outdated_packets: sum(|socket| socket.outdated_packets),
            texts: sum(|socket| socket.texts),
            texts_dropped: sum(|socket| socket.texts_dropped),
            last_error: self.last_error.load().as_deref().cloned(),
            reconnects: sum(|socket| socket.reconnects),
            subscribed: sum(|socket| socket.subscribed),
            capacity: self.capacity,
            refused: self.refused.load(Relaxed),
            next_attempt_in_ms: sockets.iter().filter_map(|socket| socket.next_attempt_in_ms).min(),
            keys: self.keys.snapshot(),
            sockets,
        }
    }

    pub(super) fn set_last_error(&self, text: String) {
        self.last_error.store(Some(Arc::new(text)));
    }
}
