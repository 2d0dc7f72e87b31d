//! What pages and upgrades are made from.

use super::accept::Edge;
use super::admin::AdminSettings;
use crate::feed::kite::Keys;
use crate::market::Calendar;
use crate::session::context::Context;
use crate::stats::{Collector, DutyCounters, FeedCounters, WriterCounters};
use serde_json::Value;
use std::sync::{Arc, PoisonError};

#[expect(clippy::disallowed_types, reason = "control side: the data plane hands histograms over without it")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// Tells the state of the feed: its name, and what `GET /ws/test` shows.
#[derive(Clone)]
pub struct FeedStatus(pub Arc<dyn Fn() -> Value + Send + Sync>);

/// See the module. Control side.
pub struct App {
    /// What connections share.
    pub context: Arc<Context>,
    /// The feed's state.
    pub feed: FeedStatus,
    /// Stops 1 to 6.
    pub feed_counters: Arc<FeedCounters>,
    /// Stops 7 and 8, a thread each.
    pub writer_counters: Vec<Arc<WriterCounters>>,
    /// The data plane's threads.
    pub duty_counters: Vec<Arc<DutyCounters>>,
    /// The hours of the exchanges.
    pub hours: Calendar,
    /// What guards operators' pages.
    pub admin: AdminSettings,
    /// The limits of the public listener.
    pub edge: Arc<Edge>,
    /// The upstream's API keys, whose access tokens can be swapped; `None` for a feed that has none.
    pub keys: Option<Arc<Keys>>,
    /// When the program started, Unix seconds.
    pub started_at: f64,
    collector: ColdMutex<Collector>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl App {
    /// Puts the parts together.
    #[expect(clippy::too_many_arguments, reason = "each part once, in one place")]
    pub fn new(
        context: Arc<Context>,
        feed: FeedStatus,
        feed_counters: Arc<FeedCounters>,
        writer_counters: Vec<Arc<WriterCounters>>,
        duty_counters: Vec<Arc<DutyCounters>>,
        collector: Collector,
        hours: Calendar,
        admin: AdminSettings,
        edge: Arc<Edge>,
        keys: Option<Arc<Keys>>,
    ) -> Self {
        let started_at = context.clock.unix_seconds();
        Self {
            context,
            feed,
            feed_counters,
            writer_counters,
            duty_counters,
            hours,
            admin,
            edge,
            keys,
            started_at,
            collector: collector.into(),
        }
    }

    /// Takes the histograms that threads have handed over.
    pub fn collect(&self) {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner).collect();
    }

    /// Looks at the histograms.
    pub fn with_histograms<T>(&self, look: impl FnOnce(&Collector) -> T) -> T {
        look(&self.collector.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
