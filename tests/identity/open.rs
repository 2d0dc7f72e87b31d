//! What becomes of connections that are open.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use tickfan::gateway::Settings;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::identity::rate::Rate;
use tickfan::identity::refusal::Refusal;
use tickfan::identity::revocation::Revocation;
use tickfan::identity::roster::Caps;

use crate::support::client::{Client, Raw, client_frame};
use crate::support::eventually_true;
use crate::support::gateway::{settings, start_behind};
use crate::support::keys::{by_secret, now, shared, shared_issuer};
use crate::support::script::Script;
use crate::support::ticks::{INFY, NIFTY_50, RELIANCE, full, index};
use crate::{Bench, gateway, tab};

#[test]
fn an_open_connection_ends_with_its_token() {
    let (gateway, _script) = gateway(by_secret(Policy::Required));
    // It ends after five seconds of leeway.
    let mut client = tab(&gateway, &shared("ann", json!({"exp": now()})));
    assert_eq!(client.until_closed(), (4402, "Token expired".into()));
    gateway.until_empty();
    assert_eq!(gateway.app.context.gate.counters.expired.load(Ordering::Relaxed), 1);
}

#[test]
fn a_revocation_ends_what_it_names_and_nothing_else() {
    let (gateway, _script) = gateway(by_secret(Policy::Required));
    let gate = &gateway.app.context.gate;
    let token = |user: &str, jti: &str| shared(user, json!({"jti": jti, "iat": now() - 100}));
    let mut ann = [tab(&gateway, &token("ann", "a1")), tab(&gateway, &token("ann", "a2"))];
    let mut bob = tab(&gateway, &token("bob", "b1"));
    assert_eq!(gate.revoke(&[Revocation::Token { jti: "a1".into() }]), Ok(1));
    assert_eq!(ann[0].until_closed(), (4403, "Token revoked".into()));
    assert_eq!(tab(&gateway, &token("ann", "a1")).until_closed().0, 4403);
    ann[1].expect_silence();
    // 10,000 at once disturb nobody.
    let many: Vec<_> = (0..10_000).map(|at| Revocation::Token { jti: format!("x{at}") }).collect();
    assert_eq!(gate.revoke(&many), Ok(0));
    bob.expect_silence();
    assert_eq!(gate.revoke(&[Revocation::User { user: "ann".into(), issued_before: now() }]), Ok(1));
    assert_eq!(ann[1].until_closed().0, 4403);
    assert_eq!(tab(&gateway, &token("ann", "a3")).until_closed().0, 4403);
    let newer = shared("ann", json!({"jti": "a4", "iat": now() + 1}));
    tab(&gateway, &newer).expect_silence();
    bob.expect_silence();
    // Nobody's connection is kept by a revoked token in place of its own.
    let reply = bob.ask(&json!({"action": "refresh", "token": token("bob", "x7")}));
    assert_eq!((&reply["type"], &reply["error"]), (&json!("error"), &json!("token: Token revoked")));
    bob.expect_silence();
}

#[test]
fn a_refresh_keeps_the_user_and_narrows_at_once() {
    let (gateway, script) = gateway(by_secret(Policy::Required));
    let token = |user: &str, exp: u64, words: &[&str]| shared(user, json!({"exp": exp, "permissions": words}));
    let wide = ["stream:all", "mode:full"];
    let mut ann = tab(&gateway, &token("ann", now() + 60, &wide));
    ann.subscribe(&[RELIANCE, INFY, NIFTY_50], json!({"mode": "full"}));
    let refused = ann.ask(&json!({"action": "refresh", "token": token("bob", now() + 60, &wide)}));
    assert_eq!((&refused["error"], &refused["field"]), (&json!("token: Token of another user"), &json!("token")));
    let end = now() + 600;
    let reply = ann.ask(&json!({"action": "refresh", "token": token("ann", end, &wide)}));
    assert_eq!(
        (&reply["type"], &reply["unsubscribed"], &reply["mode"]),
        (&json!("refreshed"), &json!([]), &json!("full"))
    );
    assert!(reply["expires_at"].as_u64().unwrap() >= end, "{reply}");
    let params = json!({"threshold": 1.0, "direction": "above"});
    let alert = json!({"type": "price_cross", "token": NIFTY_50, "params": params});
    let alert = ann.ask(&json!({"action": "register_alert", "alert": alert}))["alert_id"].clone();
    // Fewer segments and a lower mode: told, and true from the reply on.
    let narrow = token("ann", now() + 60, &["segment:NSE", "mode:ltp"]);
    let reply = ann.ask(&json!({"action": "refresh", "token": narrow}));
    assert_eq!((&reply["unsubscribed"], &reply["mode"]), (&json!([NIFTY_50.to_string()]), &json!("ltp")), "{reply}");
    assert_eq!(reply["alerts_removed"], json!([alert]));
    script.push(&[full(RELIANCE, 1), index(NIFTY_50, 1), full(INFY, 1)]);
    let (first, second) = (ann.next(), ann.next());
    assert_eq!((&first["token"], &first["mode"]), (&json!(RELIANCE.to_string()), &json!("ltp")));
    assert_eq!(second["token"], INFY.to_string());
    ann.expect_silence();
    assert_eq!(gateway.connections()[0]["filter"]["tokens"], json!([INFY.to_string(), RELIANCE.to_string()]));
    // It does not widen again in place.
    ann.ask(&json!({"action": "refresh", "token": token("ann", now() + 60, &wide)}));
    assert_eq!(ann.ask(&json!({"action": "set_all"}))["field"], "all");
    assert_eq!(ann.subscribe(&[NIFTY_50], json!({}))["unknown_tokens"], json!([NIFTY_50.to_string()]));
    // The firehose ends with its permission.
    let mut bob = tab(&gateway, &token("bob", now() + 60, &wide));
    bob.subscribe(&[RELIANCE], json!({}));
    while bob.next()["snapshot"] != true {}
    assert_eq!(bob.ask(&json!({"action": "set_all"}))["all"], true);
    bob.say(&json!({"action": "refresh", "token": token("bob", now() + 60, &["segment:NSE", "mode:full"])}));
    let reply = bob.until("refreshed");
    assert_eq!((&reply["all"], &reply["unsubscribed"]), (&json!(false), &json!([])), "{reply}");
    while bob.next()["snapshot"] != true {}
    script.push(&[full(INFY, 2), full(RELIANCE, 2)]);
    assert_eq!(bob.next()["token"], RELIANCE.to_string());
    bob.expect_silence();
    // An anonymous connection has nothing to replace.
    drop(ann);
    gateway.app.context.gate.revoke(&[Revocation::User { user: "bob".into(), issued_before: u64::MAX }]).unwrap();
    assert_eq!(bob.until_closed().0, 4403);
    gateway.until_empty_but_for_the_linger();
}

#[test]
fn a_user_and_a_token_have_so_many_connections() {
    let caps = Caps { user: 3, token: 2 };
    let (gateway, _script) = gateway(GateSettings { caps, ..by_secret(Policy::Required) });
    let (one, two) = (shared("ann", json!({"jti": "1"})), shared("ann", json!({"jti": "2"})));
    let mut open = vec![tab(&gateway, &one), tab(&gateway, &one), tab(&gateway, &two)];
    open.iter_mut().for_each(Client::expect_silence);
    assert_eq!(tab(&gateway, &one).until_closed(), (4429, "Too many connections of this user".into()));
    tab(&gateway, &shared("bob", json!({}))).expect_silence();
    open.pop().unwrap().vanish();
    eventually_true("a lost connection gives its place back", || gateway.app.context.gate.sizes().0 == 2);
    assert_eq!(tab(&gateway, &one).until_closed(), (4429, "Too many connections with this token".into()));
    tab(&gateway, &two).expect_silence();
    drop(open);
    gateway.until_empty();
    eventually_true("none is left", || gateway.app.context.gate.sizes().0 == 0);
}

#[test]
fn the_wall_clock_counts_at_the_door_only() {
    let bench = Bench::of(vec![shared_issuer()]);
    let token = shared("ann", json!({"exp": bench.now() + 600}));
    let watch = bench.gate.enter(bench.identify(&token).unwrap()).unwrap();
    bench.clock.step_wall(3_600_000_000_000);
    bench.refuses(&token, Refusal::Expired);
    assert_eq!(watch.ending(), None, "an hour ahead ends nobody early");
    bench.clock.step_wall(-7_200_000_000_000);
    assert_eq!(watch.ending(), None);
    bench.clock.advance(Duration::from_secs(606));
    assert!(watch.ending().is_some(), "an hour back lets nobody stay");
}

#[test]
fn what_is_forbidden_looks_like_what_is_not_there() {
    let (gateway, script) = gateway(by_secret(Policy::Required));
    let words = json!({"permissions": ["segment:NSE", "mode:quote", "tokens:300"]});
    let mut limited = tab(&gateway, &shared("ann", words));
    // Every segment, with numbers that exist and that do not.
    let (mut real, mut made_up) = (Vec::new(), Vec::new());
    let instruments = gateway.app.context.instruments.load_full();
    for instrument in instruments.iter() {
        let token = instrument.token.0;
        let unknown = 0x00ff_0000 | token & 0xff;
        if token & 0xff != 1 && instruments.by_token(unknown).is_none() {
            real.push(token);
            made_up.push(unknown);
        }
    }
    assert!(!real.is_empty());
    for (token, unknown) in real.iter().zip(&made_up) {
        let answer = |client: &mut Client, token: u32| {
            let reply = client.subscribe(&[token], json!({})).to_string();
            // With its quotes: a resume token may have the same digits in it.
            reply.replace(&format!("\"{token}\""), "\"N\"")
        };
        assert_eq!(answer(&mut limited, *token), answer(&mut limited, *unknown));
    }
    let reply = limited.subscribe(&real, json!({}));
    assert_eq!((&reply["tokens"], reply["unknown_tokens"].as_array().unwrap().len()), (&json!([]), real.len()));
    assert!(gateway.app.context.board.demand().is_empty());
    // By symbol: a name that exists elsewhere is as unknown as one that does not.
    let reply = limited.ask(&json!({"action": "subscribe", "symbols": ["NIFTY50", "NO SUCH", "RELIANCE"]}));
    assert_eq!(reply["unknown_symbols"], json!(["NIFTY50", "NO SUCH"]));
    assert_eq!(reply["tokens"], json!([RELIANCE.to_string()]));
    let told = limited.subscribe(&[RELIANCE], json!({"mode": "full"}));
    assert_eq!(told["mode"], "quote");
    assert!(told["warning"].as_str().unwrap().contains("full is not permitted"), "{told}");
    let many: Vec<u32> = (1..=301).map(|at| at << 8 | 1).collect();
    assert_eq!(limited.ask(&json!({"action": "subscribe", "tokens": many}))["field"], "tokens");
    assert_eq!(limited.ask(&json!({"action": "set_all"}))["field"], "all");
    // Candles of the past, alerts, and the candles of every instrument are no way around it.
    for (token, unknown) in real.iter().zip(&made_up) {
        let history = |token: &u32| json!({"action": "history", "token": token, "timeframe": "1min"});
        assert_eq!(limited.ask(&history(token)), limited.ask(&history(unknown)));
        let params = json!({"threshold": 1.0, "direction": "above"});
        let alert = |token: &u32| json!({"action": "register_alert", "alert": {"type": "price_cross", "token": token, "params": params}});
        let refused = limited.ask(&alert(token));
        assert_eq!((&refused["field"], &refused), (&json!("alert.token"), &limited.ask(&alert(unknown))));
    }
    assert_eq!(limited.ask(&json!({"action": "subscribe", "timeframes": ["1min"]}))["field"], "timeframes");
    script.push(&[full(RELIANCE, 1), index(NIFTY_50, 1)]);
    assert_eq!(limited.next()["token"], RELIANCE.to_string());
    limited.expect_silence();
    // With the permission the firehose flows.
    let mut wide = tab(&gateway, &shared("bob", json!({"permissions": ["stream:all"]})));
    assert_eq!(wide.ask(&json!({"action": "set_all"})), json!({"type": "set_all", "all": true}));
}

#[test]
fn what_is_forbidden_takes_as_long_as_what_is_not_there() {
    const MADE_UP: u32 = NIFTY_50 - 256;
    let (gateway, _script) = gateway(by_secret(Policy::Required));
    let instruments = gateway.app.context.instruments.load_full();
    assert!(instruments.by_token(NIFTY_50).is_some() && instruments.by_token(MADE_UP).is_none());
    let mut limited = tab(&gateway, &shared("ann", json!({"permissions": ["segment:NSE"]})));
    let mut took = |token: u32| {
        let began = Instant::now();
        assert_eq!(limited.subscribe(&[token], json!({}))["unknown_tokens"], json!([token.to_string()]));
        began.elapsed()
    };
    (0..50).for_each(|_| _ = (took(NIFTY_50), took(MADE_UP)));
    // In pairs, each first in turn: what disturbs the one disturbs the other as often. If nothing tells them apart, half of
    // the pairs go each way, give or take 16.
    let slower = |at: u32| {
        if at.is_multiple_of(2) {
            let forbidden = took(NIFTY_50);
            forbidden > took(MADE_UP)
        } else {
            let made_up = took(MADE_UP);
            took(NIFTY_50) > made_up
        }
    };
    let count = (0..1_000).map(slower).filter(|slower| *slower).count();
    assert!((350..=650).contains(&count), "{count} of 1,000 times what is forbidden took longer");
}

#[test]
fn whoever_asks_too_fast_is_closed_and_others_are_not() {
    let script = Script::default();
    let slow = Settings { message_rate: Rate::per_second(1, 50), ..settings() };
    let gateway = start_behind(GateSettings::default(), slow, script.source(&[]));
    let mut calm = gateway.client();
    calm.subscribe(&[RELIANCE], json!({}));
    let mut eager = gateway.client();
    // At once: what is sent after the end is refused.
    let request = client_frame(0x81, json!({"action": "subscribe", "tokens": [INFY]}).to_string().as_bytes());
    let mut tcp = eager.tcp();
    tcp.write_all(&request.repeat(60)).unwrap();
    assert_eq!(eager.until_closed(), (4429, "Too many messages".into()));
    // Pings and pongs count as well, and nothing of them is kept.
    for opcode in [0x89, 0x8a] {
        let mut raw = Raw::stream(gateway.address, &client_frame(opcode, b"x").repeat(100));
        let end = loop {
            let (first, body) = raw.frame();
            if first == 0x88 {
                break body;
            }
        };
        assert_eq!(u16::from_be_bytes([end[0], end[1]]), 4429);
    }
    script.push(&[full(RELIANCE, 1)]);
    assert_eq!(calm.next()["token"], RELIANCE.to_string());
    calm.expect_silence();
    assert_eq!(gateway.app.context.gate.counters.rate_limited.load(Ordering::Relaxed), 3);
}
