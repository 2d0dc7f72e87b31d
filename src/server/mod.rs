//! The downstream edge: accepting connections, HTTP beside the sockets, what operators read.

pub mod accept;
pub mod admin;
pub mod app;
pub mod auth;
pub mod counters;
pub mod http;
pub mod indicators;
pub mod kite_login;
pub mod latency;
pub mod lobby;
pub mod market_hours;
pub mod metrics;
pub mod peer;
pub mod revocations;
pub mod shuttle;
pub mod tls;
pub mod upgrade;
