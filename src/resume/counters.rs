//! What is counted of sessions and their store.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a session was not resumed. Clients are told the same in every case but the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// No such session, or none any more.
    #[error("unknown or expired")]
    Unknown,
    /// The token was of a time before somebody else resumed.
    #[error("unknown or expired")]
    Spent,
    /// The token is good and the user is another: somebody has stolen it.
    #[error("unknown or expired")]
    Foreign,
    /// Sessions are not kept here.
    #[error("sessions are not kept by this gateway")]
    Off,
}

impl Refused {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Spent, Self::Foreign, Self::Off];

    /// The reason in the audit trail.
    pub const fn audit(self) -> &'static str {
        match self {
            Self::Unknown => "resume: unknown",
            Self::Spent => "resume: spent",
            Self::Foreign => "resume: stolen",
            Self::Off => "resume: off",
        }
    }

    /// The label for operators.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Spent => "spent",
            Self::Foreign => "foreign",
            Self::Off => "off",
        }
    }
}

/// See the module. Any thread.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions resumed.
    pub resumed: AtomicU64,
    /// Attempts refused, by reason.
    pub refused: [AtomicU64; Refused::ALL.len()],
    /// Open connections closed because their session was resumed elsewhere.
    pub superseded: AtomicU64,
    /// Sessions that had to make room for others before their time.
    pub evicted: AtomicU64,
    /// Records written to the store.
    pub written: AtomicU64,
    /// Attempts to reach the store that failed.
    pub failures: AtomicU64,
    /// Records of the store that were damaged, forged, or of another version, and ignored.
    pub ignored: AtomicU64,
}

impl Counters {
    /// Counts a refusal and hands it on.
    pub fn refuse(&self, refused: Refused) -> Refused {
        self.refused[refused as usize].fetch_add(1, Ordering::Relaxed);
        refused
    }
}
