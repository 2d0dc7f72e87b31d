//! The gateway's account of what happened: who came, wanted what and left ([`audit`]), and what is wanted most
//! ([`analytics`]). Control side only; no thread of the data plane knows of it.

pub mod analytics;
pub mod audit;
pub mod journal;
pub mod tally;

use crate::clock::Clock;
use analytics::Analytics;
use audit::Audit;

/// Both accounts, for those who report to them.
#[derive(Debug)]
pub struct Account {
    /// Events, one by one.
    pub audit: Audit,
    /// Sums over time.
    pub analytics: Analytics,
}

impl Account {
    /// An account with this audit log.
    pub fn new(audit: Audit, clock: Clock) -> Self {
        Self { audit, analytics: Analytics::new(clock) }
    }
}
