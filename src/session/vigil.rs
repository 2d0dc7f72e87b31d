//! Ends connections that have no reason to stay: half-open ones, those that do not take what they are sent, and all of
//! them, one after the other, when the program is about to stop.

use super::registry::SessionInfo;
use crate::clock::Clock;
use crate::wire::close::Close;
use crate::wire::frame::{self, Opcode};
use rand::Rng;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// When connections are ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VigilSettings {
    /// Time between two pings.
    pub ping: Duration,
    /// How long a connection may be silent, pongs included.
    pub stale: Duration,
    /// How old what a connection has not taken may become; `None` for no limit.
    pub slow: Option<Duration>,
}

impl Default for VigilSettings {
    fn default() -> Self {
        Self { ping: Duration::from_secs(25), stale: Duration::from_secs(300), slow: Some(Duration::from_secs(60)) }
    }
}

impl VigilSettings {
    /// How long the system itself waits for a peer to take data (`TCP_USER_TIMEOUT`): longer than we do, so that a tab
    /// that is too slow hears of it.
    pub fn user_timeout(&self) -> Duration {
        self.slow.unwrap_or(self.stale) + Duration::from_secs(30)
    }
}

/// What came of it, for operators. Any thread.
#[derive(Debug, Default)]
pub struct VigilCounters {
    /// Connections ended because they did not take what they were sent.
    pub slow: AtomicU64,
    /// Connections ended because nothing came from them.
    pub stale: AtomicU64,
    /// Connections told that the program stops.
    pub drained: AtomicU64,
    /// Connections ended by an operator.
    pub dismissed: AtomicU64,
    /// Connections ended for fragments without end, or messages without one.
    pub abuses: AtomicU64,
}

/// Why a connection is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It did not take what it was sent.
    Slow,
    /// Nothing came from it.
    Stale,
    /// The program stops; come back after so many tenths of a second.
    Drained(u32),
    /// An operator wants it so.
    Dismissed,
}

impl End {
    /// For logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "too slow",
            Self::Stale => "stale",
            Self::Drained(_) => "drained",
            Self::Dismissed => "dismissed",
        }
    }

    /// How the client is told.
    pub const fn close(self) -> Close {
        match self {
            Self::Slow => Close::TooSlow,
            Self::Stale => Close::Policy("nothing came for too long"),
            Self::Drained(_) => Close::GoingAway,
            Self::Dismissed => Close::Policy("closed by the operator"),
        }
    }

    /// The frame that tells it.
    pub fn frame(self) -> Vec<u8> {
        let Self::Drained(tenths) = self else { return self.close().frame() };
        let hint = format!("{}; retry after {}.{} s", Close::GoingAway.reason(), tenths / 10, tenths % 10);
        Close::GoingAway.frame_with(&hint)
    }
}

/// An empty ping.
pub fn ping() -> Vec<u8> {
    let mut out = Vec::with_capacity(2);
    frame::append(&mut out, Opcode::Ping, &[]);
    out
}

/// See the module. Control side, shared by all connections.
#[derive(Debug)]
pub struct Vigil {
    settings: VigilSettings,
    clock: Clock,
    /// What came of it.
    pub counters: VigilCounters,
    /// Over which time the connections are to end, once they are.
    drain: OnceLock<Duration>,
}

/// When a client is asked to come back, tenths of a second: spread, so that they do not all come at once.
const RETRY: std::ops::Range<u32> = 10..50;

impl Vigil {
    /// Keeps watch by these settings.
    pub fn new(settings: VigilSettings, clock: Clock) -> Self {
        Self { settings, clock, counters: VigilCounters::default(), drain: OnceLock::new() }
    }

    /// Ends all connections, each at a random moment within `spread`, as soon as they are
    /// [woken](super::registry::Registry::dismiss_all); connections that come later end by themselves.
    pub fn drain(&self, spread: Duration) {
        let _ = self.drain.set(spread);
    }

    /// Whether connections are being ended: new ones are not wanted.
    pub fn is_draining(&self) -> bool {
        self.drain.get().is_some()
    }

    /// Until the connection must end, which gives how, or a ping is due; `next_ping_ns` remembers when that is.
    pub async fn call(&self, info: &SessionInfo, next_ping_ns: &mut u64) -> Option<End> {
        let end = tokio::select! {
            end = self.dismissed(info) => end,
            end = self.due(info, next_ping_ns) => end?,
        };
        let counter = match end {
            End::Slow => &self.counters.slow,
            End::Stale => &self.counters.stale,
            End::Drained(_) => &self.counters.drained,
            End::Dismissed => &self.counters.dismissed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Some(end)
    }

    /// Until an operator ends it, or the program stops.
    async fn dismissed(&self, info: &SessionInfo) -> End {
        if !self.is_draining() {
            info.dismissal.notified().await;
        }
        let Some(spread) = self.drain.get() else { return End::Dismissed };
        let (wait, retry) = {
            let mut random = rand::rng();
            (spread.mul_f64(random.random_range(0.0..1.0)), random.random_range(RETRY))
        };
        // On the heap: every open connection would carry it in its task otherwise.
        Box::pin(tokio::time::sleep(wait)).await;
        End::Drained(retry)
    }

    /// The times kept by the clock. It looks at nothing before it can be due: an idle connection wakes only for its pings.
    async fn due(&self, info: &SessionInfo, next_ping_ns: &mut u64) -> Option<End> {
        let ns = |time: Duration| time.as_nanos() as u64;
        loop {
            let now = self.clock.now_ns();
            let stale_at = info.last_seen_ns.load(Ordering::Relaxed) + ns(self.settings.stale);
            let slow_at = match (self.settings.slow, info.stats.blocked_since_ns.get()) {
                (None, _) => u64::MAX,
                (Some(slow), 0) => now + ns(slow),
                (Some(slow), since) => since + ns(slow),
            };
            if slow_at <= now {
                return Some(End::Slow);
            }
            if stale_at <= now {
                return Some(End::Stale);
            }
            if *next_ping_ns <= now {
                *next_ping_ns = now + ns(self.settings.ping);
                return None;
            }
            let wake_at = slow_at.min(stale_at).min(*next_ping_ns);
            tokio::time::sleep(Duration::from_nanos(wake_at - now)).await;
        }
    }

    /// When the first ping of a new connection is due.
    pub fn first_ping_ns(&self) -> u64 {
        self.clock.now_ns() + self.settings.ping.as_nanos() as u64
    }
}
