//! How long what was given out or withdrawn holds.

use std::time::Duration;

use serde_json::json;
use tickfan::gateway::Past;
use tickfan::identity::api_key::ApiKeys;
use tickfan::identity::archive::Archive;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::identity::refusal::Refusal;
use tickfan::identity::revocation::Revocation;
use tickfan::secret::Secret;

use crate::support::client::{Client, get, post};
use crate::support::gateway::{settings, start_behind_with};
use crate::support::keys::{by_secret, key_of, now, shared};
use crate::support::script::Script;
use crate::{Bench, gateway, tab};

/// A gate that knows one key, of the client `desk`.
fn with_key() -> (String, GateSettings) {
    let (key, entry) = key_of("desk", None);
    (key, GateSettings { api_keys: ApiKeys::new([entry]).unwrap(), ..by_secret(Policy::Required) })
}

#[test]
fn a_client_whose_keys_are_revoked_stays_out() {
    let (key, gate) = with_key();
    let bench = Bench::new(GateSettings { issuers: Vec::new(), ..gate });
    assert_eq!(&*bench.identify(&key).unwrap().user, "desk");
    bench.gate.revoke(&[Revocation::User { user: "desk".into(), issued_before: u64::MAX }]).unwrap();
    for _ in 0..30 {
        bench.refuses(&key, Refusal::Revoked);
        bench.clock.advance(Duration::from_secs(86_400));
    }
}

#[test]
fn what_was_revoked_stays_so_over_a_restart() {
    const KEY: &str = "an-admin-key-of-some-length";
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let revocations = Some(Archive::open(&dir.path().join("revocations.jsonl"), now()).unwrap());
        let mut settings = settings();
        settings.admin.key = Some(Secret::new(KEY));
        let past = Past { revocations, ..Past::default() };
        start_behind_with(by_secret(Policy::Required), settings, Script::default().source(&[]), past)
    };
    let token = |user: &str, jti: &str| shared(user, json!({"jti": jti}));
    // Issued before it is revoked: of a user, later tokens are good.
    let bob = token("bob@x", "c");
    let before = start();
    let body = r#"{"revocations": [{"jti": "a"}, {"user": "bob@x"}]}"#;
    let answer = post(before.address, "/auth/revocations", &format!("Authorization: Bearer {KEY}\r\n"), body);
    assert_eq!(answer.status, 200, "{answer:?}");
    before.stop();
    let after = start();
    assert_eq!(tab(&after, &token("ann@x", "a")).until_closed().0, 4403);
    assert_eq!(tab(&after, &bob).until_closed().0, 4403);
    tab(&after, &token("ann@x", "b")).expect_silence();
}

#[test]
fn a_ticket_ends_with_its_token() {
    let bench = Bench::new(by_secret(Policy::Required));
    let ticket = |seconds| {
        let who = bench.identify(&shared("ann@x", json!({"exp": bench.now() + seconds}))).unwrap();
        bench.gate.issue_ticket(who).unwrap()
    };
    let (brief, long) = (ticket(1), ticket(60));
    // Past the first token's end and what clocks may differ by, and within a ticket's own ten seconds.
    bench.clock.advance(Duration::from_secs(8));
    bench.refuses(brief.reveal(), Refusal::Expired);
    assert_eq!(&*bench.identify(long.reveal()).unwrap().user, "ann@x");
}

#[test]
fn a_ticket_makes_no_other_and_a_question_does_not_use_it_up() {
    let (key, gate) = with_key();
    let (gateway, _script) = gateway(gate);
    let ask = |shown: &str| post(gateway.address, "/auth/ticket", &format!("Authorization: Bearer {shown}\r\n"), "");
    let ticket_for = |shown: &str| ask(shown).json()["ticket"].as_str().unwrap().to_owned();
    let ticket = ticket_for(&shared("ann@x", json!({})));
    assert_eq!(ask(&ticket).status, 401);
    assert_eq!(get(gateway.address, &format!("/auth/verify?token={ticket}")).status, 401);
    tab(&gateway, &ticket).expect_silence();
    // One made of a key is good where a key is needed, one made of a token is not.
    let path = |shown: &str| format!("/indicators/stream?token={shown}");
    let client = Client::knock(gateway.address, &path(&ticket_for(&key)), &[]);
    assert_eq!(client.unwrap().next()["data"]["client_id"], "desk");
    let path = path(&ticket_for(&shared("ann@x", json!({}))));
    assert_eq!(Client::knock(gateway.address, &path, &[]).unwrap().until_closed(), (1008, "Invalid API key".into()));
}
