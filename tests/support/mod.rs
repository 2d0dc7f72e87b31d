//! What several tests need. Each test file takes what it uses, so the rest is not dead code.
#![allow(dead_code)]
#![expect(clippy::disallowed_types, reason = "a test server is no hot path")]

pub mod kite_bench;
pub mod kite_server;
