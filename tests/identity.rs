//! Who is let in, and what ends it: over real sockets where clients see it, at the gate where a clock or a table is needed.

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use support::client::{Client, Raw, client_frame, get, request};
use support::eventually_true;
use support::gateway::{Running, settings, start_behind};
use support::keys::{KeyServer, Pair, Reply, claims, now};
use support::kite_bench::{log, logged};
use support::script::Script;
use support::ticks::{INFY, NIFTY_50, RELIANCE, full, index};
use tickfan::clock::Clock;
use tickfan::gateway::Settings;
use tickfan::identity::api_key::{self, ApiKeyEntry, ApiKeys};
use tickfan::identity::gate::{Gate, GateSettings, Policy};
use tickfan::identity::issue::SigningKey;
use tickfan::identity::issuer::IssuerSettings;
use tickfan::identity::key::Key;
use tickfan::identity::permissions::Permissions;
use tickfan::identity::principal::{Principal, Proof};
use tickfan::identity::rate::Rate;
use tickfan::identity::refusal::Refusal;
use tickfan::identity::revocation::Revocation;
use tickfan::identity::roster::Caps;
use tickfan::identity::site::Site;
use tickfan::secret::Secret;
use tokio_tungstenite::tungstenite::Message;

const SECRET: &[u8] = b"a shared secret of more than 32 bytes";

/// An issuer with a shared secret only.
fn shared_issuer() -> IssuerSettings {
    let second = Duration::from_secs(1);
    IssuerSettings {
        issuer: "user_service".into(),
        audience: "trading_platform".into(),
        secret: Some(Key::shared(SECRET)),
        keys: None,
        refresh: second,
        cool_down: second,
        stale: second,
        lifetime: Duration::from_secs(86_400),
    }
}

/// A token of the shared secret.
fn shared(user: &str, changes: Value) -> String {
    let key = EncodingKey::from_secret(SECRET);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(user, changes), &key).unwrap()
}

fn by_secret(policy: Policy) -> GateSettings {
    GateSettings { policy, issuers: vec![shared_issuer()], ..GateSettings::default() }
}

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

// ---- Tokens ----------------------------------------------------------------------------------------------------------

#[test]
fn a_good_token_of_each_algorithm_says_who_it_is() {
    let pairs = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].map(|alg| Pair::new(&format!("{alg:?}"), alg));
    let server = KeyServer::start(&pairs.each_ref());
    let bench = Bench::of(vec![IssuerSettings { secret: Some(Key::shared(SECRET)), ..server.issuer("user_service") }]);
    let more = json!({"name": "Ann", "roles": ["trader"], "permissions": ["segment:NSE"]});
    for token in
        pairs.iter().map(|pair| pair.sign(&claims("ann@x", more.clone()))).chain([shared("ann@x", more.clone())])
    {
        let who = bench.identify(&token).unwrap();
        assert_eq!((who.user.as_str(), who.sub.as_str(), who.session_id.as_str()), ("ann@x", "id-ann@x", "s1"));
        assert_eq!((who.name.as_str(), who.roles.len(), who.jti.as_deref()), ("Ann", 1, Some("jti-ann@x")));
        assert_eq!(who.permissions, Permissions::parse(["segment:NSE"]).unwrap());
        assert_eq!(who.proof, Proof::Jwt);
    }
    let bare = json!({"email": null, "jti": null, "session_id": null, "iat": null});
    let who = bench.identify(&shared("ann@x", bare)).unwrap();
    assert_eq!((who.user.as_str(), who.session_id.as_str(), who.jti), ("id-ann@x", "unknown", None));
    let several = json!({"aud": ["other", "trading_platform"]});
    bench.identify(&shared("ann@x", several)).unwrap();
    assert_eq!(server.asked(), 1);
}

#[test]
fn forged_tokens_are_refused() {
    let (rsa, ec) = (Pair::new("rsa", Algorithm::RS256), Pair::new("ec", Algorithm::ES256));
    let ed = Pair::new("ed", Algorithm::EdDSA);
    let server = KeyServer::start(&[&rsa, &ec, &ed]);
    let bench = Bench::of(vec![server.issuer("user_service")]);
    let good = claims("ann", json!({}));
    bench.identify(&rsa.sign(&good)).unwrap();

    let mut forged = Vec::new();
    // No algorithm, in every spelling, with and without a signature.
    for alg in ["none", "None", "NONE", "nOnE", "", "HS257"] {
        for kid in ["rsa", "ec"] {
            forged.push(token_of(&json!({"alg": alg, "kid": kid}), &good, b""));
            forged.push(token_of(&json!({"alg": alg, "kid": kid}), &good, &[1; 64]));
        }
    }
    // A public key used as a shared secret, in the forms an attacker has it in.
    for pair in [&rsa, &ec, &ed] {
        let jwk = pair.jwk();
        let coordinates = ["n", "x"].iter().filter_map(|name| jwk[name].as_str());
        let raw = coordinates.clone().map(|text| BASE64.decode(text).unwrap());
        for secret in
            coordinates.clone().map(|text| text.as_bytes().to_vec()).chain(raw).chain([jwk.to_string().into()])
        {
            for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let mut header = Header::new(alg);
                header.kid = Some(pair.kid.clone());
                forged.push(jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(&secret)).unwrap());
            }
        }
    }
    // Each key under the others' algorithms, and under others of its own family.
    for (pair, others) in [
        (&rsa, ["ES256", "EdDSA", "PS256", "RS384", "RS512", "PS512"].as_slice()),
        (&ec, &["RS256", "EdDSA", "ES384", "PS256"]),
        (&ed, &["RS256", "ES256"]),
    ] {
        let token = pair.sign(&good);
        let (_, rest) = token.split_once('.').unwrap();
        for alg in others {
            let header = BASE64.encode(json!({"alg": alg, "kid": pair.kid}).to_string());
            forged.push(format!("{header}.{rest}"));
        }
    }
    // A good signature by another's key; by a key of the same kind that nobody published.
    for (pair, kid) in [
        (&rsa, "ec"),
        (&ec, "ed"),
        (&Pair::new("x", Algorithm::ES256), "ec"),
        (&Pair::new("x", Algorithm::EdDSA), "ed"),
    ] {
        let mut header = pair.header();
        header.kid = Some(kid.into());
        forged.push(jsonwebtoken::encode(&header, &good, &pair.key).unwrap());
    }
    // Pieces that were exchanged, left out, or are too many.
    let token = ec.sign(&good);
    let parts: Vec<_> = token.split('.').collect();
    let bob = ec.sign(&claims("bob", json!({})));
    let bobs = bob.split('.').nth(1).unwrap();
    forged.push(format!("{}.{bobs}.{}", parts[0], parts[2]));
    forged.push(format!("{}.{}.", parts[0], parts[1]));
    forged.push(format!("{}.{}", parts[0], parts[1]));
    forged.push(format!("{token}.{}", parts[2]));
    forged.push(format!(".{token}"));
    forged.push(format!("{}..{}", parts[0], parts[2]));
    forged.push(format!("{token}="));
    forged.push(BASE64.encode(&token));
    forged.extend(["", ".", "..", "...", "a.b.c", "{}.{}.{}"].map(String::from));
    let mut bent = BASE64.decode(parts[2]).unwrap();
    bent[10] ^= 1;
    forged.push(format!("{}.{}.{}", parts[0], parts[1], BASE64.encode(&bent)));
    // The signature that every verifier without a range check takes for any message.
    forged.push(format!("{}.{}.{}", parts[0], parts[1], BASE64.encode([0; 64])));
    forged.push(format!("{}.{}.{}", parts[0], parts[1], "A".repeat(20_000)));
    for token in &forged {
        let refusal = bench.identify(token).expect_err(token);
        assert!(refusal.is_failure(), "{refusal:?}: {token}");
    }
    assert!(forged.len() > 70);
    bench.identify(&token).unwrap();
}

#[test]
fn checks_that_libraries_leave_off_are_on() {
    let bench = Bench::of(vec![shared_issuer()]);
    let (now, far) = (now(), 9_007_199_254_740_992_u64);
    for (changes, refusal) in [
        (json!({"exp": null}), Refusal::Claims),
        (json!({"iss": null}), Refusal::Claims),
        (json!({"aud": null}), Refusal::Claims),
        (json!({"sub": null}), Refusal::Claims),
        (json!({"sub": ""}), Refusal::Claims),
        (json!({"sub": 7}), Refusal::Claims),
        (json!({"sub": "line\nbreak"}), Refusal::Claims),
        (json!({"email": "x".repeat(257)}), Refusal::Claims),
        (json!({"jti": "x".repeat(257)}), Refusal::Claims),
        (json!({"iss": ["user_service"]}), Refusal::Claims),
        (json!({"iss": "other"}), Refusal::Issuer),
        (json!({"iss": "user_service "}), Refusal::Issuer),
        (json!({"aud": "other"}), Refusal::Audience),
        (json!({"aud": []}), Refusal::Audience),
        (json!({"aud": ["a", "b"]}), Refusal::Audience),
        (json!({"exp": (now + 600).to_string()}), Refusal::Claims),
        (json!({"exp": 1e300}), Refusal::Claims),
        (json!({"exp": -1}), Refusal::Claims),
        (json!({"exp": far}), Refusal::Claims),
        (json!({"exp": now - 6}), Refusal::Expired),
        (json!({"exp": now + 2 * 86_400}), Refusal::Lifetime),
        (json!({"nbf": now + 3_600}), Refusal::NotYet),
        (json!({"nbf": "soon"}), Refusal::Claims),
        (json!({"iat": "then"}), Refusal::Claims),
        (json!({"permissions": "stream:all"}), Refusal::Claims),
    ] {
        assert_eq!(bench.identify(&shared("ann", changes.clone())), Err(refusal), "{changes}");
    }
    let twice = claims("ann", json!({})).to_string().replacen('{', "{\"exp\":1,", 1);
    let (header, twice) = (BASE64.encode(r#"{"alg":"HS256"}"#), BASE64.encode(twice));
    let message = format!("{header}.{twice}");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    let signature = BASE64.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()));
    bench.refuses(&format!("{message}.{signature}"), Refusal::Claims);
    // Clocks may be five seconds apart; times may have fractions.
    for changes in [json!({"exp": now - 2}), json!({"nbf": now + 4}), json!({"exp": now as f64 + 60.5})] {
        bench.identify(&shared("ann", changes)).unwrap();
    }
}

#[test]
fn headers_that_name_keys_or_extensions_are_refused_before_any_key_is_asked_for() {
    let pair = Pair::new("k", Algorithm::ES256);
    let server = KeyServer::start(&[&pair]);
    let bench = Bench::of(vec![server.issuer("user_service")]);
    let good = claims("ann", json!({}));
    let evil = format!("http://{}/evil", server.address);
    let long = "k".repeat(129);
    for (field, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("jku", json!(evil)),
        ("x5u", json!(evil)),
        ("jwk", pair.jwk()),
        ("x5c", json!(["AAAA"])),
        ("zip", json!("DEF")),
        ("kid", json!("../../etc/passwd\0")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!("a\nb")),
        ("kid", json!("")),
        ("kid", json!(long)),
    ] {
        let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": "k"});
        header[field] = value;
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(good.to_string()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &pair.key, Algorithm::ES256).unwrap();
        bench.refuses(&format!("{message}.{signature}"), Refusal::Header);
    }
    let huge = token_of(&json!({"alg": "ES256", "kid": "k".repeat(1_000_000)}), &good, &[1; 64]);
    bench.refuses(&huge, Refusal::Malformed);
    assert_eq!(server.asked(), 0);
    bench.refuses(&token_of(&json!({"alg": "ES256"}), &good, &[1; 64]), Refusal::UnknownKey);
}

// ---- Keys ------------------------------------------------------------------------------------------------------------

#[test]
fn ten_thousand_unknown_keys_cost_one_reading_in_the_cool_down() {
    let pair = Pair::new("known", Algorithm::ES256);
    let server = KeyServer::start(&[&pair]);
    let bench = Bench::of(vec![server.issuer("user_service")]);
    let good = claims("ann", json!({}));
    let flood = |count: u32| {
        for at in 0..count {
            let token = token_of(&json!({"alg": "ES256", "kid": format!("k{at}")}), &good, &[1; 64]);
            bench.refuses(&token, Refusal::UnknownKey);
        }
    };
    flood(5_000);
    assert_eq!(server.asked(), 1);
    // The 5,000 took 25 s of this clock; the next 5,000 pass the 30 s.
    flood(5_000);
    assert_eq!(server.asked(), 2);
    bench.identify(&pair.sign(&good)).unwrap();
    assert_eq!(server.asked(), 2);
}

#[test]
fn all_who_ask_for_a_new_key_share_one_reading() {
    let pair = Pair::new("new", Algorithm::ES256);
    let server = KeyServer::start(&[&pair]);
    let bench = Bench::of(vec![server.issuer("user_service")]);
    let token = Secret::new(pair.sign(&claims("ann", json!({}))));
    let peer = IpAddr::from([127, 0, 0, 1]);
    let all = futures_util::future::join_all((0..200).map(|_| bench.gate.identify(&token, peer)));
    let outcomes = bench.runtime.block_on(all);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(server.asked(), 1);
}

#[test]
fn no_answer_of_a_key_server_does_harm() {
    let pair = Pair::new("k", Algorithm::ES256);
    let server = KeyServer::start(&[&pair]);
    let elsewhere = KeyServer::start(&[&pair]);
    let bench = Bench::of(vec![server.issuer("user_service")]);
    let token = pair.sign(&claims("ann", json!({})));
    let with = |head: &str, body: &[u8]| Reply::Raw([head.as_bytes(), b"\r\n\r\n", body].concat());
    let keys = json!({"keys": [pair.jwk()]}).to_string();
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0", elsewhere.url());
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}", 10 << 20);
    let padded = [keys.as_bytes(), &vec![b' '; 10 << 20][keys.len()..]].concat();
    for reply in [
        with(&redirect, b""),
        with("HTTP/1.1 500 Oops", keys.as_bytes()),
        with("HTTP/1.1 200 OK\r\nContent-Type: text/html", b"<html>no keys here</html>"),
        with("HTTP/1.1 200 OK", b"[]"),
        with(&huge, &padded),
        with("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"ffffffffffffffff\r\n"),
        Reply::Raw(b"\0\0\0".to_vec()),
        Reply::Stall,
        Reply::HangUp,
    ] {
        server.answer(reply);
        bench.clock.advance(Duration::from_secs(31));
        bench.refuses(&token, Refusal::KeysUnavailable);
    }
    // At most once each: on a busy machine a request may time out before it arrives.
    assert!(server.asked() <= 9);
    assert_eq!(elsewhere.asked(), 0);
    assert_eq!(bench.gate.counters.key_failures.load(Ordering::Relaxed), 9);
    server.publish(&[&pair]);
    bench.clock.advance(Duration::from_secs(31));
    bench.identify(&token).unwrap();
}

#[test]
fn two_issuers_with_one_kid_do_not_know_each_other() {
    let (a, b) = (Pair::new("same", Algorithm::ES256), Pair::new("same", Algorithm::ES256));
    let (at_a, at_b) = (KeyServer::start(&[&a]), KeyServer::start(&[&b]));
    let bench = Bench::of(vec![at_a.issuer("a"), at_b.issuer("b")]);
    let of = |issuer: &str| claims("ann", json!({"iss": issuer}));
    bench.identify(&a.sign(&of("a"))).unwrap();
    bench.identify(&b.sign(&of("b"))).unwrap();
    bench.refuses(&a.sign(&of("b")), Refusal::Signature);
    bench.refuses(&b.sign(&of("a")), Refusal::Signature);
    bench.refuses(&a.sign(&of("c")), Refusal::Issuer);
}

#[test]
fn a_symmetric_key_in_a_key_set_verifies_nothing() {
    let server = KeyServer::start(&[]);
    let k = BASE64.encode(SECRET);
    server.answer(Reply::Keys(vec![json!({"kty": "oct", "kid": "s", "k": k, "alg": "HS256", "use": "sig"})]));
    let bench = Bench::of(vec![server.issuer("user_service")]);
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("s".into());
    let token = jsonwebtoken::encode(&header, &claims("ann", json!({})), &EncodingKey::from_secret(SECRET)).unwrap();
    bench.refuses(&token, Refusal::Algorithm);
    let other = token_of(&json!({"alg": "ES256", "kid": "s"}), &claims("ann", json!({})), &[1; 64]);
    bench.refuses(&other, Refusal::UnknownKey);
}

#[test]
fn keys_rotate_and_outlive_an_outage_for_so_long() {
    let (old, new) = (Pair::new("old", Algorithm::ES256), Pair::new("new", Algorithm::ES256));
    let server = KeyServer::start(&[&old]);
    let lifetime = Duration::from_secs(5_000);
    let stale = Duration::from_secs(1_000);
    let bench = Bench::of(vec![IssuerSettings { stale, lifetime, ..server.issuer("user_service") }]);
    let sign = |pair: &Pair| pair.sign(&claims("ann", json!({"exp": now() + 4_000})));
    let (by_old, by_new) = (sign(&old), sign(&new));
    bench.identify(&by_old).unwrap();
    // The key server is gone: known keys serve, a new one is not let in.
    server.answer(Reply::HangUp);
    bench.clock.advance(Duration::from_secs(100));
    bench.identify(&by_old).unwrap();
    bench.refuses(&by_new, Refusal::UnknownKey);
    // It is back with another key: the cool-down later that one is known, and the old one still.
    server.publish(&[&new]);
    bench.refuses(&by_new, Refusal::UnknownKey);
    bench.clock.advance(Duration::from_secs(30));
    bench.identify(&by_new).unwrap();
    bench.identify(&by_old).unwrap();
    // An outage beyond what is configured: nobody is let in by keys so old.
    server.answer(Reply::HangUp);
    bench.clock.advance(Duration::from_secs(1_001));
    bench.refuses(&by_new, Refusal::KeysUnavailable);
    server.publish(&[&new]);
    bench.clock.advance(Duration::from_secs(30));
    bench.identify(&by_new).unwrap();
}

#[test]
fn a_gateway_reads_its_keys_by_itself() {
    let pair = Pair::new("k", Algorithm::EdDSA);
    let server = KeyServer::start(&[&pair]);
    let refresh = Duration::from_millis(20);
    let issuers = vec![IssuerSettings { refresh, cool_down: Duration::ZERO, ..server.issuer("user_service") }];
    let (gateway, _script) = gateway(GateSettings { policy: Policy::Required, issuers, ..GateSettings::default() });
    eventually_true("keys are read again and again", || server.asked() > 3);
    let mut user = tab(&gateway, &pair.sign(&claims("ann@x", json!({}))));
    user.expect_silence();
    assert_eq!(gateway.connections()[0]["user"], "ann@x");
    drop(user);
    server.answer(Reply::HangUp);
    let failures = || gateway.app.context.gate.counters.key_failures.load(Ordering::Relaxed);
    eventually_true("the outage is counted", || failures() > 0);
    tab(&gateway, &pair.sign(&claims("ann@x", json!({})))).expect_silence();
}

// ---- At the door -----------------------------------------------------------------------------------------------------

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
    let (key, hash) = api_key::generate();
    let permissions = Some(Permissions::parse(["segment:NSE", "mode:quote"]).unwrap());
    let id = api_key::id_of(&key).unwrap().to_owned();
    let api_keys = ApiKeys::new([ApiKeyEntry { id, client: "desk-1".into(), hash, permissions }]).unwrap();
    let (gateway, _script) = gateway(GateSettings { policy: Policy::Required, api_keys, ..GateSettings::default() });
    let path = format!("/ws/stream?api_key={key}");
    let mut client = Client::knock(gateway.address, &path, &[]).unwrap();
    assert_eq!(client.subscribe(&[RELIANCE], json!({"mode": "full"}))["mode"], "quote");
    let listed = &gateway.connections()[0];
    assert_eq!((&listed["user"], &listed["proof"]), (&json!("desk-1"), &json!("api_key")));
    let (other, _) = api_key::generate();
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
    let signing = Some(SigningKey::shared(SECRET));
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
        let shared = String::from_utf8_lossy(SECRET).into_owned();
        for secret in [MARK, good.rsplit('.').next().unwrap(), good.split('.').nth(1).unwrap(), &shared] {
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

// ---- Open connections ------------------------------------------------------------------------------------------------

#[test]
fn an_open_connection_ends_with_its_token() {
    let (gateway, _script) = gateway(by_secret(Policy::Required));
    // Five seconds of leeway, less what has passed already: it ends within about a second.
    let mut client = tab(&gateway, &shared("ann", json!({"exp": now() - 4})));
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
    let mut ann = tab(&gateway, &token("ann", now() + 1, &wide));
    ann.subscribe(&[RELIANCE, INFY, NIFTY_50], json!({"mode": "full"}));
    let refused = ann.ask(&json!({"action": "refresh", "token": token("bob", now() + 60, &wide)}));
    assert_eq!((&refused["error"], &refused["field"]), (&json!("token: Token of another user"), &json!("token")));
    let (same, end) = (json!({"action": "refresh", "token": token("ann", now() + 60, &wide)}), now() + 60);
    let reply = ann.ask(&same);
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
    let token = shared("ann", json!({"exp": now() + 600}));
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
fn whoever_asks_too_fast_is_closed_and_others_are_not() {
    let script = Script::default();
    let slow = Settings { message_rate: Rate::per_second(1, 50), ..settings() };
    let gateway = start_behind(GateSettings::default(), slow, script.source(&[]));
    let mut calm = gateway.client();
    calm.subscribe(&[RELIANCE], json!({}));
    let mut eager = gateway.client();
    for _ in 0..60 {
        eager.send(Message::text(json!({"action": "subscribe", "tokens": [INFY]}).to_string()));
    }
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

// ---- HTTP ------------------------------------------------------------------------------------------------------------

#[test]
fn tokens_are_made_for_development_and_verified() {
    let signing = Some(SigningKey::shared(SECRET));
    let (development, _script) = gateway(GateSettings { signing, ..by_secret(Policy::Required) });
    let ask = |address, body: &str| {
        let length = body.len();
        request(
            address,
            &format!(
                "POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            ),
        )
    };
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
fn the_list_of_threats_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = String::new();
    let mut folders = vec![root.join("tests"), root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                source += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let list = std::fs::read_to_string(root.join("tests/SECURITY.md")).unwrap();
    let names: Vec<_> = list.split('`').filter_map(|part| Some(part.rsplit_once("::")?.1)).collect();
    let tests = names.iter().filter(|name| name.contains('_'));
    let missing: Vec<_> = tests.clone().filter(|name| !source.contains(&format!("fn {name}()"))).collect();
    assert!(missing.is_empty() && tests.count() > 25, "{missing:?}");
    let rows = |number: u32| list.lines().filter(|line| line.starts_with(&format!("| {number} |"))).count();
    assert!((1..=31).all(|number| rows(number) == 1));
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
