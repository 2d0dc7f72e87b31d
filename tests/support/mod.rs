//! What several tests need. Each test file takes what it uses, so the rest is not dead code.
#![allow(dead_code)]

pub mod client;
pub mod exchange;
pub mod gateway;
pub mod keys;
pub mod kite_bench;
pub mod kite_client;
pub mod kite_server;
pub mod msgpack;
pub mod program;
pub mod redis;
pub mod sandbox;
pub mod script;
pub mod ticks;

use std::time::{Duration, Instant};

/// After this long a test has waited in vain. Generous: it is only ever spent by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `done` gives something, for states that nobody announces.
#[track_caller]
pub fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// [`eventually`], for a condition.
#[track_caller]
pub fn eventually_true(what: &str, mut done: impl FnMut() -> bool) {
    eventually(what, || done().then_some(()));
}

/// A size that the environment may set, for tests that are larger where there is time for it.
#[track_caller]
pub fn size(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}
