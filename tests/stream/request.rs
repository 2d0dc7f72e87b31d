//! Requests that are answered and change nothing.

use crate::support::gateway::{settings, start};
use crate::support::script::Script;
use crate::support::ticks::{INFY, RELIANCE, TCS, full};
use crate::{fields, scripted};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

#[test]
fn a_ping_is_answered_with_the_time() {
    let (gateway, _script) = scripted();
    let mut tab = gateway.client();
    let clock = &gateway.app.context.clock;
    let before = clock.unix_seconds();
    let pong = tab.ask(&json!({"action": "ping"}));
    assert_eq!(fields(&pong), ["type", "timestamp"].into());
    let (time, after) = (pong["timestamp"].as_f64().unwrap(), clock.unix_seconds());
    assert!((before - 0.001..=after + 0.001).contains(&time), "{before} {time} {after}");
    // In a binary frame too.
    tab.send(Message::binary(br#"{"action":"ping"}"#.to_vec()));
    assert_eq!(tab.next()["type"], "pong");
}

#[test]
fn a_request_that_is_none_is_answered_and_closes_nothing() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    for text in ["{nope", "", "\u{0}", "{\"action\":\"ping\"", "NaN"] {
        tab.send(Message::text(text));
        assert_eq!(tab.next(), json!({"type": "error", "error": "Invalid JSON"}), "{text}");
    }
    tab.send(Message::binary(vec![0xff, 0xfe, 0]));
    assert_eq!(tab.next()["error"], "Invalid JSON");
    for text in ["[]", "1", "null", "\"subscribe\""] {
        tab.send(Message::text(text));
        let reply = tab.next();
        assert_eq!(fields(&reply), ["type", "error"].into(), "{text}");
        assert!(reply["error"].as_str().unwrap().contains("object"), "{reply}");
    }
    let wrong = [
        ("action", json!({})),
        ("action", json!({"action": "buy"})),
        ("action", json!({"action": 7})),
        ("action", json!({"action": null})),
        ("tokens", json!({"action": "subscribe", "tokens": "738561"})),
        ("tokens", json!({"action": "subscribe", "tokens": ["RELIANCE"]})),
        ("tokens", json!({"action": "subscribe", "tokens": [-1]})),
        ("tokens", json!({"action": "subscribe", "tokens": [1.5]})),
        ("tokens", json!({"action": "subscribe", "tokens": [4_294_967_296_u64]})),
        ("tokens", json!({"action": "unsubscribe", "tokens": [null]})),
        ("symbols", json!({"action": "subscribe", "symbols": [738_561]})),
        ("symbols", json!({"action": "unsubscribe", "symbols": "RELIANCE"})),
        ("timeframes", json!({"action": "subscribe", "timeframes": [5]})),
        ("throttle_ms", json!({"action": "subscribe", "throttle_ms": -1})),
        ("throttle_ms", json!({"action": "subscribe", "throttle_ms": "250"})),
        ("batch", json!({"action": "subscribe", "batch": 1})),
        ("batch_size", json!({"action": "subscribe", "batch_size": 0})),
        ("batch_size", json!({"action": "subscribe", "batch_size": 1_001})),
        ("format", json!({"action": "subscribe", "format": "xml"})),
        ("mode", json!({"action": "subscribe", "mode": "depth"})),
        ("all", json!({"action": "set_all", "all": "yes"})),
    ];
    for (field, request) in wrong {
        let reply = tab.ask(&request);
        assert_eq!((&reply["type"], &reply["field"]), (&json!("error"), &json!(field)), "{request} {reply}");
        assert!(reply["error"].as_str().unwrap().starts_with(field), "{reply}");
    }
    // A mirror for megabytes it is not.
    let reply = tab.ask(&json!({"action": "x".repeat(50_000)}));
    assert!(reply.to_string().len() < 400, "{reply}");
    // And what was right before still stands after something wrong.
    tab.subscribe(&[INFY], json!({}));
    tab.ask(&json!({"action": "subscribe", "tokens": [RELIANCE], "mode": "depth"}));
    script.push(&[full(RELIANCE, 1), full(INFY, 1)]);
    assert_eq!(tab.next()["token"], "408065");
    tab.expect_silence();
}

#[test]
fn a_refused_request_changes_nothing() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[RELIANCE], json!({}));
    let reply = tab.ask(&json!({"action": "unsubscribe", "tokens": [RELIANCE], "timeframes": ["fortnight"]}));
    assert_eq!((&reply["type"], &reply["field"]), (&json!("error"), &json!("timeframes")));
    script.push(&[full(RELIANCE, 1)]);
    assert_eq!(tab.next()["token"], RELIANCE.to_string());
    drop(tab);
    gateway.until_empty();
}

#[test]
fn too_many_tokens_are_refused_as_a_whole() {
    let script = Script::default();
    let gateway = start(tickfan::gateway::Settings { max_tokens: 2, ..settings() }, script.source(&[]));
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({}));
    let reply = tab.ask(&json!({"action": "subscribe", "tokens": [RELIANCE, TCS], "symbols": ["NIFTY50"]}));
    assert_eq!((&reply["type"], &reply["field"]), (&json!("error"), &json!("tokens")));
    script.push(&[full(RELIANCE, 1), full(INFY, 1)]);
    assert_eq!(tab.next()["token"], "408065");
    // The same token often is one token.
    assert_eq!(tab.subscribe(&[TCS, TCS, TCS, RELIANCE], json!({}))["tokens"], json!(["2953217", "738561"]));
}
