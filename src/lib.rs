//! tickfan: one Kite market-data feed for thousands of browser tabs.

pub mod assembly;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decode;
pub mod demand;
pub mod duty;
pub mod fanout;
pub mod feed;
pub mod gateway;
pub mod kite;
pub mod market;
pub mod record;
pub mod server;
pub mod session;
pub mod stats;
pub mod tape;
pub mod wire;
