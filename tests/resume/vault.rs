//! Sessions in Redis, shared by several gateways.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use tickfan::clock::Clock;
use tickfan::gateway::SessionStore;
use tickfan::identity::permissions::Permissions;
use tickfan::identity::principal::Principal;
use tickfan::resume::vault::{self, Vault};
use tickfan::resume::{IndicatorState, SessionState, Sessions, SessionsSettings, Ticket};
use tickfan::secret::Secret;

use crate::support::client::{Client, get};
use crate::support::eventually_true;
use crate::support::keys::{SESSION_KEY, shared};
use crate::support::program::{Program, program};
use crate::support::redis::RedisServer;
use crate::support::ticks::{INFY, RELIANCE, full};
use crate::{gateway, is_refused, resume, tab, token_of};

#[test]
fn gateways_share_sessions_through_redis_and_one_has_it() {
    let Some(server) = RedisServer::start() else { return };
    let ((a, _a), (b, _b)) = (gateway(server.session_store()), gateway(server.session_store()));
    b.until_kept();
    let listeners = || server.ask::<(String, i64)>(&["PUBSUB", "NUMSUB", "tickfan:claimed"]).1;
    eventually_true("each hears what the other takes over", || listeners() == 2);
    let mut first = tab(&a, "ann@x");
    let token = token_of(&first.subscribe(&[INFY], json!({})));
    // What it subscribed to is noted behind the reply.
    first.expect_silence();
    a.until_kept();
    is_refused(&resume(&mut tab(&b, "eve@x"), &token));
    let mut second = tab(&b, "ann@x");
    let reply = resume(&mut second, &token);
    assert_eq!(reply["tokens"], json!([INFY.to_string()]), "{reply}");
    assert_eq!(first.until_closed().0, 4409);
    // Nobody who can write to Redis can make a session, or change one.
    drop(second);
    b.until_kept();
    let [key] = &server.until_keys("tickfan:session:*", 1)[..] else { panic!() };
    assert!(server.ask::<i64>(&["TTL", key]) > 3_000);
    let _: i64 = server.ask(&["HSET", key, "fence", "99", "value", "{\"version\":1}"]);
    let (c, _c) = gateway(server.session_store());
    c.until_kept();
    is_refused(&resume(&mut tab(&c, "ann@x"), &token_of(&reply)));
    assert_eq!(c.app.context.sessions.counters.ignored.load(Ordering::Relaxed), 1);
}

#[test]
fn a_gateway_that_has_said_nothing_to_redis_yet_finds_a_session_there() {
    let Some(server) = RedisServer::start() else { return };
    let (gateway, _script) = gateway(server.session_store());
    let mut tab = tab(&gateway, "ann@x");
    let token = token_of(&tab.subscribe(&[INFY], json!({})));
    tab.expect_silence();
    gateway.until_kept();
    let SessionStore::Redis(settings) = server.session_store() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let restored = runtime.block_on(async {
        let vault = Some(Arc::new(Vault::new(&settings).unwrap()));
        let settings = SessionsSettings { on: true, expiry_s: 3_600.0, most: 10 };
        let sessions = Arc::new(Sessions::new(settings, Clock::system(), Vec::new(), vault, "redis"));
        // Nobody asks whether Redis is there, as in the first moment after a restart.
        let jwt = Secret::new(shared("ann@x", json!({})));
        let ann = gateway.app.context.gate.identify(&jwt, [127, 0, 0, 1].into()).await.unwrap();
        Ticket::new(sessions).restore(&Secret::new(token), &ann).await
    });
    assert_eq!(restored.map(|_| ()), Ok(()));
}

#[test]
fn without_redis_streaming_goes_on_and_afterwards_all_is_written_again() {
    let Some(mut server) = RedisServer::start() else { return };
    let (gateway, script) = gateway(server.session_store());
    gateway.until_kept();
    let health = || get(gateway.address, "/health").json()["sessions"]["state"].clone();
    let mut one = tab(&gateway, "ann@x");
    let first = token_of(&one.subscribe(&[INFY], json!({})));
    gateway.until_kept();
    for (round, outage) in ["killed", "frozen"].into_iter().enumerate() {
        let price = 100 + round as u32;
        if outage == "killed" {
            server.kill()
        } else {
            server.signal("STOP")
        }
        eventually_true("the outage is told", || health() == "down");
        let mut two = tab(&gateway, "bob@x");
        let token = token_of(&two.subscribe(&[RELIANCE], json!({})));
        script.push(&[full(INFY, price), full(RELIANCE, price)]);
        assert_eq!(two.until("tick")["token"], RELIANCE.to_string());
        assert_eq!(one.until("tick")["token"], INFY.to_string());
        two.vanish();
        let mut again = tab(&gateway, "bob@x");
        let reply = again.ask(&json!({"action": "resume", "token": token}));
        assert_eq!(reply["type"], "resumed", "from memory, {outage}");
        if outage == "killed" {
            assert!(server.begin())
        } else {
            server.signal("CONT")
        }
        eventually_true("its return is told", || health() == "ok");
        gateway.until_kept();
    }
    // The server came back empty, and has everything all the same.
    assert_eq!(server.ask::<Vec<String>>(&["KEYS", "tickfan:session:*"]).len(), 3);
    let (other, _script) = crate::gateway(server.session_store());
    other.until_kept();
    assert_eq!(resume(&mut tab(&other, "ann@x"), &first)["type"], "resumed");
}

#[test]
fn operators_find_connections_by_indicator() {
    let Some(server) = RedisServer::start() else { return };
    let SessionStore::Redis(settings) = server.session_store() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sessions = runtime.block_on(async {
        let vault = Arc::new(Vault::new(&settings).unwrap());
        let settings = SessionsSettings { on: true, expiry_s: 3_600.0, most: 10 };
        let sessions =
            Arc::new(Sessions::new(settings, Clock::system(), Vec::new(), Some(Arc::clone(&vault)), "redis"));
        tokio::spawn(vault::keep(vault, Arc::clone(&sessions)));
        sessions
    });
    let state = |connection: &str, ids: &[&str]| SessionState {
        connection: connection.into(),
        indicators: vec![IndicatorState {
            symbol: "NIFTY50".into(),
            timeframe: "5min".into(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        }],
        ..SessionState::default()
    };
    let (rsi, sma) = ("indicator_subscribers:NIFTY50:5min:RSI_14", "indicator_subscribers:NIFTY50:5min:SMA_20");
    let members = |key: &str| {
        let mut members: Vec<String> = server.ask(&["SMEMBERS", key]);
        members.sort();
        members
    };
    // A ghost of a program that was killed.
    let _: i64 = server.ask(&["SADD", rsi, "ws_ghost"]);
    let mut one = Ticket::new(Arc::clone(&sessions));
    let mut two = Ticket::new(Arc::clone(&sessions));
    for ticket in [&mut one, &mut two] {
        ticket.issue(&Principal::anonymous(Permissions::ALL)).unwrap();
    }
    one.note(state("ws_one", &["RSI_14", "SMA_20"]));
    two.note(state("ws_two", &["RSI_14"]));
    eventually_true("both stand there, and no ghost", || members(rsi) == ["ws_one", "ws_two"]);
    assert_eq!(members(sma), ["ws_one"]);
    assert!(server.ask::<i64>(&["TTL", rsi]) > 0);
    one.note(state("ws_one", &["RSI_14"]));
    eventually_true("what is unsubscribed is gone", || members(sma).is_empty());
    drop(two);
    eventually_true("who has left is gone", || members(rsi) == ["ws_one"]);
}

#[test]
fn redis_over_tls_is_believed_only_with_a_trusted_certificate() {
    let Some(server) = RedisServer::start_with_tls() else { return };
    let gateway = |trusted: &str| {
        let mut command = program();
        command.args(["--listen=127.0.0.1:0", "--log=error", "--data-dir=none"]);
        command.arg(format!("--session-store={}", server.tls_address()));
        command.env("TICKFAN_SESSION_KEY", SESSION_KEY);
        command.env("SSL_CERT_FILE", format!("{}/tests/data/tls/{trusted}.crt", env!("CARGO_MANIFEST_DIR")));
        Program::start(&mut command)
    };
    let sessions = |program: &Program| get(program.address, "/health").json()["sessions"].clone();
    let (good, bad) = (gateway("a"), gateway("b"));
    for program in [&good, &bad] {
        Client::connect(program.address).subscribe(&[INFY], json!({"resume": true}));
    }
    eventually_true("the session is written", || {
        let sessions = sessions(&good);
        sessions["state"] == "ok" && sessions["kept"] == 1 && sessions["unwritten"] == 0
    });
    assert_eq!(server.until_keys("tickfan:session:*", 1).len(), 1);
    eventually_true("a server that cannot be trusted is not there", || sessions(&bad)["state"] == "down");
}
