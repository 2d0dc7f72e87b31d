//! Who is let in, and what ends it: over real sockets where clients see it, at the gate where a clock or a table is needed.

mod door;
mod lasting;
mod open;
mod published;
#[path = "../support/mod.rs"]
mod support;
mod threats;
mod tokens;

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::Value;
use support::client::Client;
use support::gateway::{Running, settings, start_behind};
use support::keys::now;
use support::script::Script;
use tickfan::clock::Clock;
use tickfan::identity::gate::{Gate, GateSettings, Policy};
use tickfan::identity::issuer::IssuerSettings;
use tickfan::identity::principal::Principal;
use tickfan::identity::refusal::Refusal;
use tickfan::secret::Secret;

fn gateway(gate: GateSettings) -> (Running, Script) {
    let script = Script::default();
    (start_behind(gate, settings(), script.source(&[])), script)
}

/// A tab with a token in the query.
#[track_caller]
fn tab(gateway: &Running, token: &str) -> Client {
    Client::knock(gateway.address, &format!("/ws/stream?token={token}"), &[]).unwrap()
}

/// A gate whose clock the test moves.
struct Bench {
    gate: Gate,
    clock: Clock,
    runtime: tokio::runtime::Runtime,
    tries: std::cell::Cell<u32>,
}

impl Bench {
    fn new(gate: GateSettings) -> Self {
        let clock = Clock::manual(now() * 1_000_000_000);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { gate: Gate::new(gate, clock.clone()), clock, runtime, tries: Default::default() }
    }

    fn of(issuers: Vec<IssuerSettings>) -> Self {
        Self::new(GateSettings { policy: Policy::Required, issuers, ..GateSettings::default() })
    }

    /// Its second, which is not the machine's any more.
    fn now(&self) -> u64 {
        self.clock.unix_seconds() as u64
    }

    /// From a new address each time, so that no limit on failures is met.
    fn identify(&self, token: &str) -> Result<Principal, Refusal> {
        self.tries.set(self.tries.get() + 1);
        let peer = IpAddr::V4(self.tries.get().into());
        // The limit of all addresses together lets 1,000 failures a second through.
        self.clock.advance(Duration::from_millis(5));
        self.runtime.block_on(self.gate.identify(&Secret::new(token), peer))
    }

    #[track_caller]
    fn refuses(&self, token: &str, refusal: Refusal) {
        assert_eq!(self.identify(token), Err(refusal));
    }
}

/// A token put together by hand: its signature is whatever it is.
fn token_of(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), BASE64.encode(signature))
}
