//! What the subscribers together want from upstream.

use super::tick::{InstrumentToken, Mode};

/// One change of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Demand {
    /// Which instrument.
    pub token: InstrumentToken,
    /// The highest mode anybody wants now; `None` when the last subscriber has gone.
    pub mode: Option<Mode>,
}
