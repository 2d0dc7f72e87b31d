//! Which trading hours the instruments of a table have.

use super::table::{Instrument, Instruments};
use crate::market::SegmentKind;
use crate::market::calendar::Listing;
use rustc_hash::FxHashSet;

impl Instruments {
    /// The shares that have futures, by their symbol: the underlyings of the futures on NFO and BFO. Options come with
    /// futures, on both exchanges.
    pub fn derivative_underlyings(&self) -> FxHashSet<&str> {
        let future = |row: &&Instrument| &*row.instrument_type == "FUT" && matches!(&*row.exchange, "NFO" | "BFO");
        self.iter().filter(future).map(|row| &*row.name).collect()
    }
}

impl Instrument {
    /// The hours of the instrument, given [`Instruments::derivative_underlyings`].
    pub fn kind(&self, underlyings: &FxHashSet<&str>) -> SegmentKind {
        SegmentKind::of(&Listing {
            token: self.token,
            exchange: &self.exchange,
            name: &self.name,
            has_derivatives: underlyings.contains(&*self.symbol),
        })
    }
}
