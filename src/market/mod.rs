//! What a market is: values and their arithmetic. No I/O, no threads, no clocks, no locks.

pub mod calendar;
pub mod candle;
pub mod demand;
pub mod indicator;
pub mod tick;
pub mod timeframe;
pub mod when;

pub use calendar::{Calendar, SegmentKind, Session};
pub use candle::Candle;
pub use demand::Demand;
pub use tick::{Depth, InstrumentToken, Layout, Level, Mode, Ohlc, Segment, Tick};
pub use timeframe::Timeframe;
pub use when::When;
