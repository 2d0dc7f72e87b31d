//! What a market is: values and their arithmetic. No I/O, no threads, no clocks, no locks.

pub mod demand;
pub mod indicator;
pub mod tick;

pub use demand::Demand;
pub use tick::{Depth, InstrumentToken, Layout, Level, Mode, Ohlc, Segment, Tick};
