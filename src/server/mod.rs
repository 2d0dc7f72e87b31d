//! The downstream edge: accepting connections, HTTP beside the sockets, what operators read.

pub mod accept;
pub mod app;
pub mod auth;
pub mod http;
pub mod kite_login;
pub mod latency;
pub mod market_hours;
pub mod metrics;
pub mod upgrade;
