//! The endpoint for Kite's own clients, byte by byte. The real Python and Node clients have their turn in tests/clients.

#[path = "../support/mod.rs"]
mod support;

mod anything;
mod connection;
mod handshake;
mod request;
mod tick;
mod upstream;

use support::gateway::{Running, settings, start};
use support::script::Script;
use tickfan::kite::packet;
use tickfan::market::{Mode, Tick};

/// A token that tells that everything before it has come.
const SENTINEL: u32 = 257;

fn gateway() -> (Script, Running) {
    let script = Script::default();
    let running = start(settings(), script.source(&[]));
    (script, running)
}

fn bytes(tick: &Tick) -> Vec<u8> {
    let mut out = Vec::new();
    packet::encode(tick, &mut out);
    out
}

fn name(mode: Mode) -> String {
    mode.name().to_owned()
}

/// Waits until what a client has asked for has reached the board.
#[track_caller]
fn until_wanted(script: &Script, wanted: &[(u32, Mode)]) {
    script.until_wanted(&wanted.iter().copied().collect());
}

fn handshake(target: &str) -> String {
    // Python writes the name of the protocol with a capital.
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
         Cache-Control: no-cache\r\nSec-WebSocket-Version: 13\r\nX-Kite-Version: 3\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    )
}
