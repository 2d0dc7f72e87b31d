//! Sessions survive a lost connection, a killed gateway and a lost Redis; and nobody gets another's.
//!
//! `TICKFAN_RESUME_SESSIONS` and `TICKFAN_RESUME_RATE` set the size of the tests that kill the program (50 sessions,
//! 500 ticks/s).

mod kill;
mod lost;
#[path = "../support/mod.rs"]
mod support;
mod vault;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::client::Client;
use support::gateway::{Running, settings, start_behind_with};
use support::keys::{by_secret, shared};
use support::script::Script;
use tickfan::gateway::{Keeping, Past, SessionStore};
use tickfan::identity::gate::Policy;

fn gateway(store: SessionStore) -> (Running, Script) {
    let script = Script::default();
    let past = Past { sessions: Keeping { store, expiry_s: 3_600 }, ..Past::default() };
    (start_behind_with(by_secret(Policy::Required), settings(), script.source(&[]), past), script)
}

fn tab_at(address: SocketAddr, jwt: &str) -> Client {
    Client::knock(address, &format!("/ws/stream?token={jwt}"), &[]).unwrap()
}

fn tab(gateway: &Running, user: &str) -> Client {
    tab_at(gateway.address, &shared(user, json!({})))
}

fn resume(tab: &mut Client, token: &str) -> Value {
    tab.ask(&json!({"action": "resume", "token": token}))
}

fn token_of(reply: &Value) -> String {
    reply["resume_token"].as_str().unwrap_or_else(|| panic!("no resume token: {reply}")).to_owned()
}

#[track_caller]
fn is_refused(reply: &Value) {
    assert_eq!(
        *reply,
        json!({"type": "error", "error": "resume: unknown or expired; subscribe anew", "field": "token",
        "code": "resume_refused"})
    );
}
