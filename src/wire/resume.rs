//! What a client that comes back says: which session is its own, and what it has.

use crate::secret::Secret;
use std::collections::HashMap;

/// Most bars of a cursor: as many as a connection may have tracks at all, and more than a message holds.
pub const MAX_CURSOR: usize = 100_000;

/// The fields of a resumption.
#[derive(Clone, PartialEq, Debug)]
pub struct ResumeRequest {
    /// The resume token.
    pub token: Secret,
    /// What the client has.
    pub cursor: Cursor,
}

/// What a client has of closed bars.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Cursor {
    /// Everything that was told by then, Unix seconds.
    pub since: Option<f64>,
    /// The starts (Unix seconds) of the newest bars it has, by `TOKEN:TIMEFRAME` or `SYMBOL:TIMEFRAME` as it wrote them.
    pub bars: HashMap<String, i64>,
}
