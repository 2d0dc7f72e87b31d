//! The edge: who may connect, how long he may take, how connections end, what operators see, and what is written down.

mod account;
mod door;
mod ends;
mod frames;
mod operators;
mod process;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::client::request;
use support::eventually_true;
use support::gateway::{Running, settings, start};
use support::script::Script;
use support::ticks::{INFY, full};
use tickfan::gateway::Settings;
use tickfan::session::vigil::VigilSettings;

/// The operators' key.
const KEY: &str = "an-admin-key-of-some-length";

fn with(change: impl FnOnce(&mut Settings)) -> (Running, Script) {
    let mut settings = settings();
    change(&mut settings);
    let script = Script::default();
    (start(settings, script.source(&[])), script)
}

/// Whether the other side has ended it, without an answer.
#[track_caller]
fn ends_unanswered(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest)),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

fn quick(settings: &mut Settings) {
    settings.vigil = VigilSettings {
        ping: Duration::from_millis(100),
        // Whoever answers pings must be able to, and whoever is slow must be found to be that first, on a busy machine too.
        stale: Duration::from_secs(10),
        slow: Some(Duration::from_millis(500)),
    };
    settings.accept.send_buffer = Some(8_192);
}

/// Publishes until something is so: a tab that does not read stays full meanwhile.
#[track_caller]
fn press(what: &str, script: &Script, mut done: impl FnMut() -> bool) {
    let mut number = 0;
    eventually_true(what, || {
        if script.waiting() < 100 {
            (0..50).for_each(|step| script.push(&[full(INFY, number + step)]));
            number += 50;
        }
        done()
    });
}

/// Publishes until a tab has been evicted as too slow.
#[track_caller]
fn evict(gateway: &Running, script: &Script) {
    let slow = &gateway.app.context.vigil.counters.slow;
    press("it is evicted", script, || slow.load(Ordering::Relaxed) == 1);
}

fn ask(address: SocketAddr, method: &str, path: &str, more: &str) -> support::client::Answer {
    request(address, &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n"))
}
