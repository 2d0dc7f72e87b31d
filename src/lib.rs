//! tickfan: one Kite market-data feed for thousands of browser tabs.

pub mod config;
pub mod feed;
pub mod kite;
pub mod market;
