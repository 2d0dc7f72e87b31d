//! On one gateway: a tab loses its connection and comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tickfan::clock::Clock;
use tickfan::gateway::{Past, SessionStore};
use tickfan::identity::gate::GateSettings;
use tickfan::identity::permissions::Permissions;
use tickfan::identity::principal::Principal;
use tickfan::identity::revocation::Revocation;
use tickfan::resume::counters::Refused;
use tickfan::resume::{Sessions, SessionsSettings, Ticket};
use tickfan::secret::Secret;

use crate::support::client::{Client, get};
use crate::support::gateway::{Running, settings, start_behind_with};
use crate::support::keys::shared;
use crate::support::script::Script;
use crate::support::ticks::{INFY, NIFTY_50, RELIANCE, full};
use crate::{gateway, is_refused, resume, tab, tab_at, token_of};

fn refused(gateway: &Running, reason: Refused) -> u64 {
    gateway.app.context.sessions.counters.refused[reason as usize].load(Ordering::Relaxed)
}

#[test]
fn a_tab_that_comes_back_has_what_it_had() {
    let (gateway, script) = gateway(SessionStore::Memory);
    let mut first = tab(&gateway, "ann@x");
    let more = json!({"timeframes": ["5m"], "throttle_ms": 1, "mode": "full", "when": {"above": 1.0}});
    let token = token_of(&first.subscribe(&[INFY, RELIANCE], more));
    assert_eq!(token_of(&first.subscribe(&[INFY, RELIANCE, NIFTY_50], json!({"mode": "full"}))), token);
    first.say(&json!({"action": "unsubscribe", "tokens": [RELIANCE]}));
    first.until("unsubscribed");
    first.vanish();
    gateway.until_empty_but_for_the_linger();

    let mut second = tab(&gateway, "ann@x");
    let reply = resume(&mut second, &token);
    assert_eq!((&reply["type"], &reply["mode"], &reply["gap"]), (&json!("resumed"), &json!("full"), &json!(false)));
    assert_eq!(reply["tokens"], json!([NIFTY_50.to_string(), INFY.to_string()]));
    script.push(&[full(INFY, 1), full(RELIANCE, 1)]);
    assert_eq!(second.until("tick")["token"], INFY.to_string());
    // The token holds once.
    let mut third = tab(&gateway, "ann@x");
    is_refused(&resume(&mut third, &token));
    assert_eq!(refused(&gateway, Refused::Spent), 1);
    // And by the query, with the token that was given instead.
    let path = format!("/ws/stream?token={}&resume={}", shared("ann@x", json!({})), token_of(&reply));
    let mut fourth = Client::knock(gateway.address, &path, &[]).unwrap();
    assert_eq!(fourth.next()["type"], "resumed");
    assert_eq!(second.until_closed().0, 4409, "one live owner");
}

#[test]
fn clients_that_know_nothing_of_it_see_nothing_of_it() {
    let script = Script::default();
    let open = GateSettings::default();
    let gateway = start_behind_with(open, settings(), script.source(&[]), Past::default());
    let mut tab = gateway.client();
    assert!(tab.subscribe(&[INFY], json!({})).get("resume_token").is_none());
    let token = token_of(&tab.subscribe(&[INFY], json!({"resume": true})));
    assert_eq!(resume(&mut tab, &token)["type"], "error", "only on a new connection");
    tab.close();
    // Without authentication the token alone opens it.
    assert_eq!(resume(&mut gateway.client(), &token)["type"], "resumed");
    is_refused(&resume(&mut gateway.client(), "rs_nonsense"));
}

#[test]
fn a_stolen_token_is_worth_nothing_and_is_told() {
    let (gateway, _script) = gateway(SessionStore::Memory);
    let mut ann = tab(&gateway, "ann@x");
    let token = token_of(&ann.subscribe(&[INFY], json!({})));
    is_refused(&resume(&mut tab(&gateway, "eve@x"), &token));
    assert_eq!(refused(&gateway, Refused::Foreign), 1);
    assert!(get(gateway.address, "/metrics").body.contains("tickfan_resume_refused_total{reason=\"foreign\"} 1"));
    ann.expect_silence();
    drop(ann);
    assert_eq!(resume(&mut tab(&gateway, "ann@x"), &token)["type"], "resumed", "its owner has lost nothing");
}

#[test]
fn of_many_who_resume_at_once_one_wins() {
    let (gateway, _script) = gateway(SessionStore::Memory);
    let mut first = tab(&gateway, "ann@x");
    let token = token_of(&first.subscribe(&[INFY], json!({})));
    let mut tabs: Vec<_> = (0..8).map(|_| tab(&gateway, "ann@x")).collect();
    tabs.iter_mut().for_each(|tab| tab.say(&json!({"action": "resume", "token": token})));
    let won = tabs.iter_mut().filter_map(|tab| (tab.next()["type"] == "resumed").then_some(())).count();
    assert_eq!((won, first.until_closed().0), (1, 4409));
}

#[test]
fn entitlements_are_checked_again() {
    let (gateway, _script) = gateway(SessionStore::Memory);
    let all = json!({"permissions": ["stream:all", "segment:*", "mode:full"]});
    let mut wide = tab_at(gateway.address, &shared("ann@x", all));
    let reply = wide.subscribe(&[INFY, NIFTY_50], json!({"mode": "full"}));
    assert_eq!(wide.ask(&json!({"action": "set_all", "all": true}))["all"], true);
    let token = token_of(&reply);
    wide.vanish();
    let mut narrow = tab_at(gateway.address, &shared("ann@x", json!({"permissions": ["segment:INDICES", "mode:ltp"]})));
    let reply = resume(&mut narrow, &token);
    assert_eq!((&reply["mode"], &reply["all"]), (&json!("ltp"), &json!(false)));
    assert_eq!(reply["tokens"], json!([NIFTY_50.to_string()]));
    assert_eq!(reply["unknown_tokens"], json!([INFY.to_string()]));
    // A revoked token opens nothing at all.
    let gate = &gateway.app.context.gate;
    gate.revoke(&[Revocation::Token { jti: "jti-ann@x".into() }]).unwrap();
    assert_eq!(narrow.until_closed().0, 4403);
    let path = format!("/ws/stream?token={}&resume={}", shared("ann@x", json!({})), token_of(&reply));
    assert_eq!(Client::knock(gateway.address, &path, &[]).unwrap().until_closed().0, 4403);
}

#[test]
fn sessions_end_in_time_and_make_room() {
    let clock = Clock::manual(1_000_000_000_000);
    let settings = SessionsSettings { on: true, expiry_s: 60.0, most: 2 };
    let sessions = Arc::new(Sessions::new(settings, clock.clone(), Vec::new(), None, "memory"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ann = Principal::anonymous(Permissions::ALL);
    let begin = || {
        let mut ticket = Ticket::new(Arc::clone(&sessions));
        ticket.issue(&ann).cloned().map(|token| (token, ticket))
    };
    let resume = |token: &Secret| runtime.block_on(Ticket::new(Arc::clone(&sessions)).restore(token, &ann)).map(|_| ());
    let (one, ticket) = begin().unwrap();
    clock.advance(Duration::from_secs(100));
    drop(ticket);
    clock.advance(Duration::from_secs(59));
    assert_eq!(resume(&one), Ok(()), "counted from the end of its connection");
    let (two, ticket) = begin().unwrap();
    drop(ticket);
    let (_three, _ticket) = begin().unwrap();
    assert_eq!(sessions.counters.evicted.load(Ordering::Relaxed), 1);
    let (_four, _ticket) = begin().unwrap();
    assert!(begin().is_none(), "nobody is put out who is connected");
    assert_eq!(resume(&two), Err(Refused::Unknown));
}
