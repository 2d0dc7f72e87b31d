//! When and in what form it comes: throttle, batch, format, heartbeat.

use crate::support::PATIENCE;
use crate::support::gateway::{settings, start};
use crate::support::script::Script;
use crate::support::ticks::{INFY, NIFTY_50, RELIANCE, TCS, full, index};
use crate::{as_floats, fields, scripted};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn a_throttle_spaces_the_messages_of_a_token_and_the_last_value_comes() {
    const THROTTLE: Duration = Duration::from_millis(150);
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[INFY, RELIANCE], json!({"throttle_ms": THROTTLE.as_millis() as u64}));
    let mut number = 0;
    // The server's clock of spacing starts after this, so a lower bound holds however late this thread reads.
    let began = Instant::now();
    let mut arrivals: Vec<u32> = Vec::new();
    while arrivals.len() < 5 {
        assert!(began.elapsed() < PATIENCE, "too few: {arrivals:?}");
        number += 1;
        script.push(&[full(INFY, number)]);
        if let Some(tick) = tab.next_within(Duration::from_millis(2)) {
            arrivals.push(tick["volume_traded"].as_u64().unwrap() as u32);
            assert!(began.elapsed() >= THROTTLE * (arrivals.len() as u32 - 1), "{arrivals:?} too soon");
        }
    }
    // Another token is not held back by it.
    script.push(&[full(RELIANCE, 7)]);
    loop {
        let tick = tab.next();
        if tick["token"] == "738561" {
            assert_eq!(tick["snapshot"], true);
            break;
        }
        arrivals.push(tick["volume_traded"].as_u64().unwrap() as u32);
    }
    while arrivals.last() != Some(&number) {
        arrivals.push(tab.next()["volume_traded"].as_u64().unwrap() as u32);
    }
    assert!(began.elapsed() >= THROTTLE * (arrivals.len() as u32 - 1), "{arrivals:?}");
    assert!(arrivals.is_sorted_by(|a, b| a < b), "{arrivals:?}");
    tab.expect_silence();
    let held = gateway.app.writer_counters[0].throttled.get();
    assert_eq!(arrivals.len() as u64 + held, u64::from(number), "what was not sent was held back");
}

#[test]
fn a_full_batch_leaves_at_once() {
    let script = Script::default();
    let mut slow = settings();
    slow.writer.batch_delay_ns = 3_600_000_000_000;
    let gateway = start(slow, script.source(&[]));
    let (mut batched, mut plain) = (gateway.client(), gateway.client());
    batched.subscribe(&[INFY, TCS], json!({"batch": true, "batch_size": 3, "mode": "full"}));
    plain.subscribe(&[INFY, TCS], json!({"mode": "full"}));
    for round in 0..3 {
        script.push(&[full(INFY, round * 2 + 1), full(TCS, round * 2 + 1), full(INFY, round * 2 + 2)]);
        let batch = batched.next();
        assert_eq!(fields(&batch), ["type", "messages"].into());
        assert_eq!(batch["type"], "batch");
        let single: Vec<Value> = (0..3).map(|_| plain.next()).collect();
        assert_eq!(batch["messages"], json!(single));
    }
    script.push(&[full(INFY, 100)]);
    plain.next();
    // A reply does not wait for the batch.
    assert_eq!(batched.ask(&json!({"action": "ping"}))["type"], "pong");
}

#[test]
fn a_partial_batch_leaves_after_the_delay() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({"batch": true, "batch_size": 100}));
    let delay = Duration::from_nanos(settings().writer.batch_delay_ns);
    for round in 1..4 {
        let began = Instant::now();
        script.push(&[full(INFY, round * 2), full(INFY, round * 2 + 1)]);
        let mut got = Vec::new();
        while got.len() < 2 {
            let batch = tab.next();
            assert!(began.elapsed() >= delay, "the delay was not waited for");
            got.extend(batch["messages"].as_array().unwrap().clone());
        }
        assert_eq!(got[1]["volume_traded"], round * 2 + 1);
    }
}

#[test]
fn nothing_of_a_removed_token_waits_in_a_batch() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[INFY, TCS], json!({"batch": true, "batch_size": 100}));
    script.push(&[full(INFY, 1), full(TCS, 1)]);
    crate::support::eventually_true("the ticks wait in the batch", || {
        gateway.app.writer_counters[0].snapshots.get() == 2 && script.waiting() == 0
    });
    tab.say(&json!({"action": "unsubscribe", "tokens": [INFY]}));
    tab.until("unsubscribed");
    script.push(&[full(INFY, 2), full(TCS, 2)]);
    let mut seen = Vec::new();
    while seen.last() != Some(&json!(2)) {
        for tick in tab.next()["messages"].as_array().unwrap() {
            assert_eq!(tick["token"], "2953217", "a tick of a token that was given up");
            seen.push(tick["volume_traded"].clone());
        }
    }
}

#[test]
fn msgpack_says_the_same_in_binary() {
    let (gateway, script) = scripted();
    let (mut packed, mut text) = (gateway.client(), gateway.client());
    packed.say(&json!({"action": "subscribe", "tokens": [INFY, NIFTY_50], "format": "msgpack", "mode": "full"}));
    let reply = packed.next_message();
    assert!(reply.is_binary(), "{reply:?}");
    assert_eq!(crate::support::msgpack::decode(&reply.into_data())["format"], "msgpack");
    text.subscribe(&[INFY, NIFTY_50], json!({"mode": "full"}));
    for round in 1..4 {
        script.push(&[full(INFY, round), index(NIFTY_50, round)]);
        for _ in 0..2 {
            let message = packed.next_message();
            assert!(message.is_binary());
            assert_eq!(as_floats(crate::support::msgpack::decode(&message.into_data())), as_floats(text.next()));
        }
    }
    assert_eq!(packed.ask(&json!({"action": "ping"}))["type"], "pong");
    assert_eq!(packed.ask(&json!({"action": "fly"}))["field"], "action");
    packed.say(&json!({"action": "subscribe", "tokens": [INFY], "format": "msgpack", "batch": true, "batch_size": 2}));
    packed.until("subscribed");
    script.push(&[full(INFY, 10)]);
    let batch = packed.until("batch");
    assert_eq!(batch["messages"].as_array().unwrap().len(), 2, "{batch}");
    packed.subscribe(&[INFY], json!({}));
    assert_eq!(packed.next_message().into_text().unwrap().as_bytes()[0], b'{');
}

#[test]
fn a_heartbeat_comes_although_nothing_happens() {
    let script = Script::default();
    let mut quick = settings();
    quick.writer.heartbeat_ns = 64_000_000;
    let gateway = start(quick, script.source(&[]));
    let began = Instant::now();
    let (mut silent, mut packed) = (gateway.client(), gateway.client());
    packed.say(&json!({"action": "subscribe", "format": "msgpack"}));
    let times: Vec<f64> = (0..4)
        .map(|_| {
            let heartbeat = silent.next();
            assert_eq!((&heartbeat["type"], fields(&heartbeat)), (&json!("heartbeat"), ["type", "timestamp"].into()));
            heartbeat["timestamp"].as_f64().unwrap()
        })
        .collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert!(began.elapsed() >= Duration::from_millis(150), "too many: {:?}", began.elapsed());
    assert_eq!(packed.until("heartbeat")["type"], "heartbeat");
}
