//! tickfan: one Kite market-data feed for thousands of browser tabs.

pub mod clock;
pub mod config;
pub mod demand;
pub mod duty;
pub mod fanout;
pub mod decode;
pub mod feed;
pub mod gateway;
pub mod kite;
pub mod market;
pub mod server;
pub mod session;
pub mod stats;
pub mod wire;
pub mod tape;
