//! The load client: an upstream that publishes on schedule, tabs that check every tick, and a report.
//!
//! The parts in the order a tick meets them: [`upstream`] writes a [`stamp`] into it, the gateway under test carries it,
//! [`fleet`] reads it through [`frame`] and [`scan`], [`ledger`] judges its sequence number, [`report`] tells.

pub mod clock;
pub mod fleet;
pub mod frame;
pub mod gateway;
pub mod ledger;
pub mod percentiles;
pub mod report;
pub mod requests;
pub mod scan;
pub mod stamp;
pub mod universe;
pub mod upstream;
