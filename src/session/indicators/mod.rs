//! `/indicators/*`: what indicators say, to those who asked and nobody else.
//!
//! Two protocols with the same messages. On `/indicators/v2/stream` a connection is a session of its own; on
//! `/indicators/stream` all connections of an API key's client share one set of [`subscriptions`]. What is the same for
//! both is computed and written once, in the engine.

pub mod clients;
pub mod instrument;
pub mod ledger;
pub mod problem;
pub mod question;
pub mod reply;
pub mod stream;
pub mod subscriptions;

use clients::Clients;
use ledger::Ledger;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndicatorLimits {
    /// Indicators of one connection; of one client, where its connections share them.
    pub per_connection: usize,
    /// Different indicators of one user over all its connections.
    pub per_user: usize,
}

/// Questions by HTTP that are worked on at a time.
const QUESTIONS: usize = 64;

/// What the endpoints of indicators share.
#[derive(Debug)]
pub struct Indicators {
    /// Who has what.
    pub ledger: Arc<Ledger>,
    /// The sets of clients with several connections.
    pub clients: Clients,
    /// Bounds.
    pub limits: IndicatorLimits,
    questions: Semaphore,
}

impl Indicators {
    /// Nobody has anything yet.
    pub fn new(limits: IndicatorLimits) -> Self {
        Self { ledger: Arc::default(), clients: Clients::default(), limits, questions: Semaphore::new(QUESTIONS) }
    }
}
