//! Who is let in, and how often one may try.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tickfan::account::journal::{Journal, Keep};
use tickfan::identity::api_key::ApiKeys;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::identity::issue::SigningKey;
use tickfan::identity::permissions::Permissions;
use tickfan::identity::rate::Rate;
use tickfan::identity::refusal::Refusal;
use tickfan::identity::revocation::Revocation;
use tickfan::identity::site::Site;
use tickfan::secret::Secret;

use crate::support::client::{Client, Raw, get, post, request};
use crate::support::gateway::{settings, start_behind};
use crate::support::keys::{SECRET, by_secret, key_of, now, shared, shared_issuer};
use crate::support::kite_bench::{log, logged};
use crate::support::script::Script;
use crate::support::ticks::{RELIANCE, full};
use crate::{Bench, gateway, tab};

#[test]
fn each_place_for_a_token_is_read_and_none_is_echoed() {
    let (gateway, _script) = gateway(by_secret(Policy::Required));
    let token = shared("ann@x", json!({}));
    let bearer = format!("Bearer {token}");
    let protocols = format!("bearer, {token}");
    let path = format!("/ws/stream?token={token}");
    tab(&gateway, &token).expect_silence();
    Client::knock(gateway.address, "/ws/stream", &[("authorization", &bearer)]).unwrap().expect_silence();
    Client::knock(gateway.address, "/ws/stream", &[("sec-websocket-protocol", &protocols)]).unwrap().expect_silence();
    for (path, header) in
        [(path.as_str(), String::new()), ("/ws/stream", format!("Sec-WebSocket-Protocol: {protocols}\r\n"))]
    {
        let mut raw = Raw::connect(gateway.address);
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{header}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").as_bytes());
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains(&token), "{head}");
        assert_eq!(head.to_lowercase().contains("sec-websocket-protocol: bearer\r\n"), !header.is_empty(), "{head}");
    }
    // And as the first message.
    let mut late = Client::connect(gateway.address);
    let reply = late.ask(&json!({"action": "auth", "token": token}));
    assert_eq!((&reply["type"], &reply["user"]), (&json!("authenticated"), &json!("ann@x")), "{reply}");
    late.expect_silence();
    let users: Vec<_> = gateway.connections().iter().map(|connection| connection["user"].clone()).collect();
    assert!(users.contains(&json!("ann@x")), "{users:?}");
    let again = late.ask(&json!({"action": "auth", "token": token}));
    assert_eq!((&again["type"], &again["field"]), (&json!("error"), &json!("action")), "{again}");
}

#[test]
fn a_refusal_is_told_as_the_contract_says() {
    let (gateway, _script) = gateway(by_secret(Policy::Required));
    let closed = |token: &str| tab(&gateway, token).until_closed();
    let policy = |reason: &str| (1008, reason.to_owned());
    assert_eq!(closed(&shared("a", json!({"exp": now() - 60}))), policy("Token expired"));
    assert_eq!(closed(&shared("a", json!({"aud": "x"}))), policy("Invalid token audience"));
    assert_eq!(closed("nonsense"), policy("Invalid token"));
    assert_eq!(closed("sb_AAAAAAAA_0123456789012345678901234567"), policy("Invalid API key"));
    // The first message is something else.
    let mut nobody = Client::connect(gateway.address);
    nobody.say(&json!({"action": "subscribe", "tokens": [RELIANCE]}));
    assert_eq!(nobody.until_closed(), policy("Authentication required"));
    let mut wrong = Client::connect(gateway.address);
    wrong.say(&json!({"action": "auth", "token": shared("a", json!({"exp": 1}))}));
    assert_eq!(wrong.until_closed(), policy("Token expired"));
    // Nothing comes at all.
    let mut silent = Client::connect(gateway.address);
    assert_eq!(silent.until_closed(), (4401, "Authentication required".into()));
    gateway.until_empty();
    let metrics = get(gateway.address, "/metrics").body;
    for line in ["{reason=\"expired\"} 2", "{reason=\"missing\"} 1", "{reason=\"late\"} 1", "{reason=\"api_key\"} 1"] {
        assert!(metrics.contains(&format!("tickfan_identity_refused_total{line}")), "{line}");
    }
}

#[test]
fn where_tokens_are_optional_a_bad_one_is_refused_all_the_same() {
    for policy in [Policy::Off, Policy::Optional] {
        let default = Permissions::parse(["segment:NSE", "mode:ltp"]).unwrap();
        let (gateway, _script) = gateway(GateSettings { default, ..by_secret(policy) });
        let mut anonymous = gateway.client();
        let mode = if policy == Policy::Off { "full" } else { "ltp" };
        assert_eq!(anonymous.subscribe(&[RELIANCE], json!({"mode": "full"}))["mode"], mode);
        assert_eq!(tab(&gateway, "bad").until_closed(), (1008, "Invalid token".into()));
        // Whoever began without a name may tell it later.
        let reply = anonymous.ask(&json!({"action": "auth", "token": shared("ann@x", json!({}))}));
        assert_eq!(reply["user"], "ann@x", "{reply}");
        anonymous.say(&json!({"action": "auth", "token": "x"}));
        assert_eq!(anonymous.until("error")["field"], "action");
        let mut other = gateway.client();
        other.say(&json!({"action": "auth", "token": "x"}));
        assert_eq!(other.until_closed(), (1008, "Invalid token".into()));
    }
    // Nothing is configured that could tell good from bad: all is as without authentication.
    let (gateway, _script) = gateway(GateSettings::default());
    tab(&gateway, "whatever").expect_silence();
    Client::knock(gateway.address, "/ws/stream", &[("authorization", "Basic dTpw")]).unwrap().expect_silence();
    let reply = gateway.client().ask(&json!({"action": "auth", "token": "x"}));
    assert_eq!((&reply["type"], &reply["field"]), (&json!("error"), &json!("action")));
}

#[test]
fn api_keys_open_and_are_refused_alike() {
    let (key, entry) = key_of("desk-1", Some(&["segment:NSE", "mode:quote"]));
    let api_keys = ApiKeys::new([entry]).unwrap();
    let (gateway, _script) = gateway(GateSettings { policy: Policy::Required, api_keys, ..GateSettings::default() });
    let path = format!("/ws/stream?api_key={key}");
    let mut client = Client::knock(gateway.address, &path, &[]).unwrap();
    assert_eq!(client.subscribe(&[RELIANCE], json!({"mode": "full"}))["mode"], "quote");
    let listed = &gateway.connections()[0];
    assert_eq!((&listed["user"], &listed["proof"]), (&json!("desk-1"), &json!("api_key")));
    let (other, _) = key_of("desk-1", None);
    let wrong = [format!("{}0", &key[..key.len() - 1]), format!("{key}0"), other, key.to_lowercase() + "0"];
    for wrong in wrong {
        assert_eq!(tab(&gateway, &wrong).until_closed(), (1008, "Invalid API key".into()));
    }
    // A revoked client is out at once, with all its connections.
    let all = Revocation::User { user: "desk-1".into(), issued_before: u64::MAX };
    assert_eq!(gateway.app.context.gate.revoke(&[all]), Ok(1));
    assert_eq!(client.until_closed().0, 4403);
}

#[test]
fn a_token_in_the_query_is_refused_where_that_is_off_and_no_secret_is_ever_shown() {
    const MARK: &str = "S3CRETMARK";
    log();
    let signing = Some(SigningKey::shared(SECRET.as_bytes()));
    let (gateway, _script) = gateway(GateSettings { query_token: false, signing, ..by_secret(Policy::Required) });
    let refused = (1008, "Token in the query is not accepted".to_owned());
    assert_eq!(tab(&gateway, MARK).until_closed(), refused);
    let good = shared(MARK, json!({"jti": null, "email": "ann@x"}));
    assert_eq!(tab(&gateway, &good).until_closed(), refused);
    let mut said = String::new();
    for header in [format!("Bearer {MARK}"), format!("Basic {MARK}"), format!("{MARK} {MARK}")] {
        let mut client = Client::knock(gateway.address, "/ws/stream", &[("authorization", &header)]).unwrap();
        said += &format!("{:?}", client.until_closed());
    }
    let protocols = format!("bearer, {MARK}");
    let mut client = Client::knock(gateway.address, "/ws/stream", &[("sec-websocket-protocol", &protocols)]).unwrap();
    said += &format!("{:?}", client.until_closed());
    for request in [json!({"action": "auth", "token": MARK}), json!({"action": "auth", "token": {"a": MARK}})] {
        let mut client = Client::connect(gateway.address);
        client.say(&request);
        said += &format!("{:?}", client.until_closed());
    }
    let bearer = format!("Bearer {good}");
    let mut client = Client::knock(gateway.address, "/ws/stream", &[("authorization", &bearer)]).unwrap();
    for token in [json!(MARK), json!([MARK]), json!({"x": MARK}), json!(null)] {
        said += &client.ask(&json!({"action": "refresh", "token": token})).to_string();
    }
    for path in
        ["/auth/verify", "/ws/stream", "/nothing", "/mapping/token-to-symbol", "/health", "/ws/connections", "/metrics"]
    {
        said += &format!("{:?}", get(gateway.address, &format!("{path}?token={MARK}")));
    }
    said += &format!("{:?}{:?}", gateway.app.context.gate, gateway.app.context.registry);
    // The user's own subject is shown to operators, its token is not.
    let said = said.replace(&format!("id-{MARK}"), "");
    let logged = logged().replace(&format!("id-{MARK}"), "");
    assert!(logged.contains("a connection was refused"), "the log is on");
    assert!(!logged.contains("token="), "no query is logged");
    for (place, text) in [("log", &logged), ("answers", &said)] {
        for secret in [MARK, good.rsplit('.').next().unwrap(), good.split('.').nth(1).unwrap(), SECRET] {
            assert!(!text.contains(secret), "{secret} in the {place}");
        }
    }
}

#[test]
fn wrong_tokens_are_limited_by_address_and_tabs_go_on() {
    let (gateway, script) = gateway(by_secret(Policy::Required));
    let mut good = tab(&gateway, &shared("ann", json!({})));
    good.subscribe(&[RELIANCE], json!({}));
    let mut refused = 0;
    let outcome = loop {
        match Client::knock(gateway.address, "/ws/stream?token=a.b.c", &[]) {
            Ok(mut client) => assert_eq!(client.until_closed().0, 1008),
            Err(status) => break status,
        }
        refused += 1;
        assert!(refused < 2_000, "never limited");
    };
    assert_eq!(outcome, 429);
    assert!(refused >= 20);
    // What is open goes on.
    script.push(&[full(RELIANCE, 1)]);
    assert_eq!(good.next()["token"], "738561");
    good.expect_silence();
    assert_eq!(get(gateway.address, "/health").status, 200);
}

#[test]
fn pages_and_names_that_are_not_listed_may_not_connect() {
    let site = Site::new(["https://good.com"], ["localhost", "127.0.0.1"]).unwrap();
    let (gateway, _script) = gateway(GateSettings { site, ..by_secret(Policy::Optional) });
    let bearer = format!("Bearer {}", shared("ann", json!({})));
    let knock = |headers: &[(&'static str, &str)]| {
        let headers: Vec<_> = [("host", "localhost")].iter().chain(headers).copied().collect();
        Client::knock(gateway.address, "/ws/stream", &headers).map(drop)
    };
    assert_eq!(knock(&[("origin", "https://good.com")]), Ok(()));
    assert_eq!(knock(&[("authorization", &bearer)]), Ok(()), "a program without an origin, with a token");
    assert_eq!(knock(&[("origin", "https://good.com"), ("authorization", &bearer)]), Ok(()));
    for evil in ["https://evil.com", "null", "https://good.com.evil.com", "https://good.com:444", "http://good.com"] {
        assert_eq!(knock(&[("origin", evil)]), Err(403), "{evil}");
        assert_eq!(knock(&[("origin", evil), ("authorization", &bearer)]), Err(403), "{evil} with a token");
    }
    assert_eq!(knock(&[]), Err(403), "neither origin nor token");
    for host in ["evil.com", "localhost.evil.com", "127.0.0.1.evil.com"] {
        assert_eq!(knock(&[("origin", "https://good.com"), ("host", host)]), Err(403), "{host}");
        let head = format!("GET /ws/connections HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(request(gateway.address, &head).status, 403, "{host}");
    }
    assert_eq!(get(gateway.address, "/health").status, 200);
}

#[test]
fn tokens_are_made_for_development_and_verified() {
    let signing = Some(SigningKey::shared(SECRET.as_bytes()));
    let (development, _script) = gateway(GateSettings { signing, ..by_secret(Policy::Required) });
    let ask = |address, body: &str| post(address, "/auth/token", "", body);
    let made = ask(
        development.address,
        r#"{"sub": "u1", "email": "ann@x", "permissions": ["segment:NSE"], "expires_in": 60}"#,
    );
    assert_eq!(made.status, 200, "{made:?}");
    let token = made.json()["access_token"].as_str().unwrap().to_owned();
    let verified = get(development.address, &format!("/auth/verify?token={token}"));
    assert_eq!(
        (verified.status, &verified.json()["valid"], &verified.json()["user_id"]),
        (200, &json!(true), &json!("ann@x"))
    );
    tab(&development, &token).expect_silence();
    let refused = get(development.address, "/auth/verify?token=a.b.c");
    assert_eq!((refused.status, refused.json()), (401, json!({"valid": false, "error": "Invalid token"})));
    assert_eq!(get(development.address, "/auth/verify").status, 401);
    for wrong in ["", "{}", "[]", r#"{"sub": "u", "colour": 1}"#] {
        assert_eq!(ask(development.address, wrong).status, 400, "{wrong}");
    }
    let (production, _script) = gateway(by_secret(Policy::Required));
    assert_eq!(ask(production.address, r#"{"sub": "u1"}"#).status, 404);
    assert_eq!(get(production.address, &format!("/auth/verify?token={token}")).status, 200);
}

#[test]
fn a_ticket_stands_for_its_token_once() {
    let (key, entry) = key_of("desk", None);
    let api_keys = ApiKeys::new([entry]).unwrap();
    let (gateway, _script) = gateway(GateSettings { api_keys, ..by_secret(Policy::Required) });
    let ask = |shown: &str| post(gateway.address, "/auth/ticket", &format!("Authorization: Bearer {shown}\r\n"), "");
    let ticket_for = |shown: &str| {
        let answer = ask(shown);
        assert_eq!((answer.status, &answer.json()["expires_in"]), (200, &json!(10)), "{answer:?}");
        answer.json()["ticket"].as_str().unwrap().to_owned()
    };
    let token = shared("ann@x", json!({"jti": "a"}));
    let ticket = ticket_for(&token);
    let mut first = tab(&gateway, &ticket);
    first.expect_silence();
    assert_eq!(gateway.connections()[0]["user"], "ann@x");
    assert_eq!(tab(&gateway, &ticket).until_closed(), (1008, "Invalid token".to_owned()));
    let protocols = format!("bearer, {}", ticket_for(&token));
    let second = Client::knock(gateway.address, "/indicators/v2/stream", &[("sec-websocket-protocol", &protocols)]);
    assert_eq!(second.unwrap().next()["data"]["user_id"], "ann@x");
    // It is as good as what it was made of, and no better.
    let path = format!("/indicators/v2/stream?token={}", ticket_for(&key));
    assert_eq!(Client::knock(gateway.address, &path, &[]).unwrap().until_closed().0, 1008);
    let late = ticket_for(&token);
    gateway.app.context.gate.revoke(&[Revocation::Token { jti: "a".into() }]).unwrap();
    assert_eq!((first.until_closed().0, tab(&gateway, &late).until_closed().0), (4403, 4403));
    assert_eq!((ask(&token).status, ask("nonsense").status, ask("").status), (403, 401, 401));
}

#[test]
fn what_is_done_with_tokens_is_in_the_audit_log_and_a_flood_is_not() {
    const KEY: &str = "an-admin-key-of-some-length";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.log");
    let mut settings = settings();
    settings.journal = Some(Journal::open(file.clone(), Keep { bytes: 1 << 20, files: 1 }).unwrap());
    settings.admin.key = Some(Secret::new(KEY));
    let gate = GateSettings {
        signing: Some(SigningKey::shared(SECRET.as_bytes())),
        failures: Rate::per_second(1, 3),
        ..by_secret(Policy::Required)
    };
    let gateway = start_behind(gate, settings, Script::default().source(&[]));
    assert_eq!(post(gateway.address, "/auth/token", "", r#"{"sub": "ann"}"#).status, 200);
    let key = format!("Authorization: Bearer {KEY}\r\n");
    let revoke = |body: &str| post(gateway.address, "/auth/revocations", &key, body).status;
    assert_eq!(revoke(r#"{"revocations": [{"user": "bob"}]}"#), 200);
    assert_eq!(revoke(r#"{"revocations": [{"jti": "a"}, {"jti": "b"}]}"#), 200);
    let wrong = (0..100).map(|_| get(gateway.address, "/auth/verify?token=a.b.c").status);
    assert!(wrong.filter(|status| *status == 429).count() > 50);
    gateway.stop();
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |at: usize, name: &str| lines[at][name].as_str().unwrap_or_default().to_owned();
    assert_eq!((told(1, "event"), told(1, "user")), ("issue".into(), "ann".into()));
    assert_eq!((told(2, "action"), told(2, "target")), ("revoke".into(), "bob".into()));
    assert_eq!(told(3, "target"), "2 tokens and users");
    let refused = lines.iter().filter(|line| line["event"] == "auth_refused");
    assert!((3..50).contains(&refused.count()), "{text}");
    assert_eq!(lines[4]["reason"], "malformed");
}

#[test]
fn a_flood_of_checks_is_bounded() {
    let bench = Bench::of(vec![shared_issuer()]);
    let token = Secret::new(shared("ann", json!({})));
    let peer = IpAddr::from([127, 0, 0, 1]);
    let gate = Arc::new(bench.gate);
    let all = futures_util::future::join_all((0..1_000).map(|_| gate.identify(&token, peer)));
    let outcomes = bench.runtime.block_on(all);
    let busy = outcomes.iter().filter(|outcome| **outcome == Err(Refusal::Busy)).count();
    let good = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    // All are asked for in one go: two are checked, 256 wait, and what comes while these are at it is told to come back.
    assert!(good >= 258 && busy > 0 && good + busy == 1_000, "{good} {busy}");
    bench.runtime.block_on(gate.identify(&token, peer)).unwrap();
}
