//! Keys that issuers publish.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::identity::issuer::IssuerSettings;
use tickfan::identity::refusal::Refusal;
use tickfan::secret::Secret;

use crate::support::eventually_true;
use crate::support::keys::{KeyServer, Pair, Reply, SECRET, claims, now};
use crate::{Bench, gateway, tab, token_of};

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
    let token =
        jsonwebtoken::encode(&header, &claims("ann", json!({})), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
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
