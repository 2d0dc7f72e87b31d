//! What a tab has missed, and when it was told.

use super::turn::Turn;
use crate::wire::{Format, push};

/// Least time between two notices of conflation.
const NOTICE_NS: u64 = 1_000_000_000;

/// See the module. **Thread**: the writer's.
#[derive(Debug, Default)]
pub struct Missed {
    /// Conflated values the tab has not been told of.
    untold: u64,
    /// When it was told last, monotonic; 0 for never.
    told_ns: u64,
}

impl Missed {
    /// Takes note of conflated values.
    pub const fn note(&mut self, values: u64) {
        self.untold += values;
    }

    /// Tells the tab how many values it missed, at most once a second. Returns when it wants to try again, monotonic, if that
    /// was less than a second ago.
    pub fn tell(&mut self, format: Format, turn: &mut Turn<'_>) -> Option<u64> {
        if self.untold == 0 {
            return None;
        }
        if self.told_ns != 0 && turn.now_ns < self.told_ns + NOTICE_NS {
            return Some(self.told_ns + NOTICE_NS);
        }
        let notice = serde_json::json!({"type": "conflated", "count": self.untold,
            "timestamp": turn.clock.unix_seconds()});
        turn.append_frame(|out| push::value_frame(out, format, &notice));
        self.untold = 0;
        self.told_ns = turn.now_ns;
        turn.counters.messages.add(1);
        None
    }
}
