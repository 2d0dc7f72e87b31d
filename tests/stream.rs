//! The tick stream as its clients know it: every request, every reply, every push, over real sockets.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::gateway::{Running, WAYS, settings, start};
use support::script::Script;
use support::ticks::{INFY, NIFTY_50, RELIANCE, TCS, full, index, price_of, quote};
use support::{PATIENCE, eventually_true};
use tickfan::market::{Mode, Tick};
use tokio_tungstenite::tungstenite::Message;

/// A gateway with the usual settings and a feed that the test speaks for.
fn scripted() -> (Running, Script) {
    let script = Script::default();
    (start(settings(), script.source(&[])), script)
}

/// The names of a message's fields.
fn fields(message: &Value) -> BTreeSet<&str> {
    message.as_object().unwrap().keys().map(String::as_str).collect()
}

const LTP: [&str; 8] = ["type", "token", "price", "timestamp", "volume_traded", "last_price", "mode", "tradable"];
const OF_QUOTE: [&str; 6] =
    ["last_traded_quantity", "average_traded_price", "total_buy_quantity", "total_sell_quantity", "ohlc", "change"];
const OF_FULL: [&str; 6] = ["last_trade_time", "oi", "oi_day_high", "oi_day_low", "exchange_timestamp", "depth"];

#[test]
fn a_subscription_names_tokens_and_symbols_and_is_echoed() {
    let (gateway, _script) = scripted();
    let mut tab = gateway.client();
    let reply = tab.ask(&json!({"action": "subscribe", "symbols": ["TCS", "NSE:INFY", "NIFTY50", "reliance", "NOPE"],
        "tokens": ["738561", 408_065], "timeframes": ["1d", "5min"], "throttle_ms": 250, "batch": true,
        "batch_size": 7, "format": "json", "mode": "full", "colour": {"deep": [1]}}));
    let expected = json!({"type": "subscribed", "symbols": ["TCS", "NSE:INFY", "NIFTY50", "reliance", "NOPE"],
        "tokens": ["738561", "408065", "2953217", "256265"], "timeframes": ["1d", "5min"], "throttle_ms": 250,
        "batch": true, "batch_size": 7, "format": "json", "mode": "full", "unknown_symbols": ["NOPE"]});
    assert_eq!(reply, expected);
}

#[test]
fn what_a_subscription_leaves_out_has_a_default() {
    let (gateway, _script) = scripted();
    let mut tab = gateway.client();
    let expected = json!({"type": "subscribed", "symbols": [], "tokens": [], "timeframes": [], "throttle_ms": 0,
        "batch": false, "batch_size": 1, "format": "json", "mode": "quote"});
    assert_eq!(tab.ask(&json!({"action": "subscribe"})), expected);
    let nulls = json!({"action": "subscribe", "symbols": null, "tokens": null, "timeframes": null,
        "throttle_ms": null, "batch": null, "batch_size": null, "format": null, "mode": null});
    assert_eq!(tab.ask(&nulls), expected);
}

#[test]
fn a_second_subscription_replaces_the_first() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[RELIANCE, INFY], json!({}));
    tab.subscribe(&[INFY, TCS], json!({"mode": "ltp"}));
    script.push(&[full(RELIANCE, 1), full(INFY, 1), full(TCS, 1)]);
    let (first, second) = (tab.next(), tab.next());
    assert_eq!((&first["token"], &first["mode"]), (&json!("408065"), &json!("ltp")));
    assert_eq!(second["token"], "2953217");
    tab.expect_silence();
    assert_eq!(tab.subscribe(&[], json!({}))["tokens"], json!([]));
    script.push(&[full(RELIANCE, 2), full(INFY, 2), full(TCS, 2)]);
    tab.subscribe(&[TCS], json!({}));
    let snapshot = tab.next();
    assert_eq!((&snapshot["token"], &snapshot["snapshot"]), (&json!("2953217"), &json!(true)));
    tab.expect_silence();
}

#[test]
fn unsubscribing_takes_away_what_it_names() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[RELIANCE, INFY, TCS, NIFTY_50], json!({"timeframes": ["5min", "1d"]}));
    let reply = tab.ask(&json!({"action": "unsubscribe", "tokens": ["738561"], "symbols": ["TCS"]}));
    let expected =
        json!({"type": "unsubscribed", "symbols": ["TCS"], "tokens": ["738561", "2953217"], "timeframes": []});
    assert_eq!(reply, expected);
    script.push(&[full(RELIANCE, 1), full(TCS, 1), full(INFY, 1)]);
    assert_eq!(tab.next()["token"], "408065");
    // What it does not have: the reply is the same, and nothing else changes.
    let reply = tab.ask(&json!({"action": "unsubscribe", "tokens": [RELIANCE, 12_345_601]}));
    assert_eq!(reply["tokens"], json!(["738561", "12345601"]));
    let reply = tab.ask(&json!({"action": "unsubscribe", "timeframes": ["1d"]}));
    assert_eq!((&reply["tokens"], &reply["timeframes"]), (&json!([]), &json!(["1d"])));
    script.push(&[full(INFY, 2)]);
    assert_eq!(tab.next()["token"], "408065");
    let reply = tab.ask(&json!({"action": "unsubscribe"}));
    let expected =
        json!({"type": "unsubscribed", "symbols": [], "tokens": ["256265", "408065"], "timeframes": ["5min"]});
    assert_eq!(reply, expected);
    script.push(&[full(INFY, 3), index(NIFTY_50, 3)]);
    tab.expect_silence();
    let nothing = json!({"type": "unsubscribed", "symbols": [], "tokens": [], "timeframes": []});
    assert_eq!(tab.ask(&json!({"action": "unsubscribe"})), nothing);
    // The candles it had linger a little.
    eventually_true("nothing is wanted", || gateway.app.context.board.demand().is_empty());
}

#[test]
fn all_is_every_token_there_is_and_will_be_and_ends() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    let mut other = gateway.client();
    other.subscribe(&[INFY], json!({}));
    tab.subscribe(&[RELIANCE], json!({}));
    assert_eq!(tab.ask(&json!({"action": "set_all"})), json!({"type": "set_all", "all": true}));
    script.push(&[full(RELIANCE, 1), full(INFY, 1)]);
    assert_eq!((tab.next()["token"].clone(), tab.next()["token"].clone()), (json!("738561"), json!("408065")));
    // One that appears only now, because the other tab wants it.
    other.next();
    other.subscribe(&[TCS], json!({}));
    script.push(&[full(TCS, 1)]);
    assert_eq!(tab.next()["token"], "2953217");
    // Naming a part does not end it.
    tab.ask(&json!({"action": "unsubscribe", "tokens": [INFY]}));
    script.push(&[full(INFY, 2)]);
    assert_eq!(tab.next()["token"], "408065");
    assert_eq!(tab.ask(&json!({"action": "set_all", "all": false})), json!({"type": "set_all", "all": false}));
    let snapshot = tab.next();
    assert_eq!((&snapshot["token"], &snapshot["snapshot"]), (&json!("738561"), &json!(true)));
    script.push(&[full(TCS, 2), full(INFY, 3), full(RELIANCE, 2)]);
    assert_eq!(tab.next()["volume_traded"], 2);
    tab.expect_silence();
}

#[test]
fn a_subscription_ends_all() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({}));
    tab.ask(&json!({"action": "set_all", "all": true}));
    tab.subscribe(&[RELIANCE], json!({}));
    script.push(&[full(INFY, 1), full(RELIANCE, 1)]);
    assert_eq!(tab.next()["token"], "738561");
    tab.expect_silence();
    tab.ask(&json!({"action": "set_all", "all": true}));
    let snapshots = [tab.next(), tab.next()];
    assert!(snapshots.iter().all(|tick| tick["snapshot"] == true), "{snapshots:?}");
    let reply = tab.ask(&json!({"action": "unsubscribe"}));
    assert_eq!(reply["type"], "unsubscribed");
    script.push(&[full(INFY, 2), full(RELIANCE, 2)]);
    tab.expect_silence();
    assert!(gateway.app.context.board.demand().is_empty());
}

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

#[test]
fn the_first_message_of_a_subscription_is_the_snapshot_and_no_other() {
    let (gateway, script) = scripted();
    let mut first = gateway.client();
    first.subscribe(&[INFY], json!({"mode": "full"}));
    script.push(&[full(INFY, 1)]);
    assert_eq!(first.next()["snapshot"], true);
    script.push(&[full(INFY, 2)]);
    assert_eq!(first.next().get("snapshot"), None);
    let mut late = gateway.client();
    late.subscribe(&[INFY, TCS], json!({"mode": "full"}));
    let snapshot = late.next();
    assert_eq!((&snapshot["snapshot"], &snapshot["volume_traded"]), (&json!(true), &json!(2)));
    script.push(&[full(INFY, 3), full(TCS, 1), full(TCS, 2)]);
    assert_eq!(late.next(), first.next());
    let marks = [late.next()["snapshot"].clone(), late.next()["snapshot"].clone()];
    assert_eq!(marks, [json!(true), Value::Null]);
    late.subscribe(&[INFY], json!({"mode": "ltp"}));
    let again = late.next();
    assert_eq!((&again["snapshot"], &again["mode"], &again["price"]), (&json!(true), &json!("ltp"), &json!(1000.03)));
    late.expect_silence();
}

#[test]
fn each_mode_shows_its_fields_and_no_others() {
    let (gateway, script) = scripted();
    let mut tabs = ["ltp", "quote", "full"].map(|mode| {
        let mut tab = gateway.client();
        tab.subscribe(&[INFY, NIFTY_50], json!({"mode": mode}));
        tab
    });
    script.push(&[full(INFY, 1), index(NIFTY_50, 1)]);
    tabs.iter_mut().for_each(|tab| drop((tab.next(), tab.next())));
    script.push(&[full(INFY, 2), index(NIFTY_50, 2)]);
    let [ltp, quote, full_mode] = tabs.each_mut().map(support::client::Client::next);
    assert_eq!(fields(&ltp), LTP.into());
    assert_eq!(fields(&quote), LTP.into_iter().chain(OF_QUOTE).collect());
    assert_eq!(fields(&full_mode), LTP.into_iter().chain(OF_QUOTE).chain(OF_FULL).collect());
    let mut expected = json!({"type": "tick", "token": "408065", "price": 1000.02, "volume_traded": 0,
        "last_price": 1000.02, "mode": "ltp", "tradable": true, "timestamp": ltp["timestamp"]});
    assert_eq!(ltp, expected);
    let of_quote = json!({"volume_traded": 2, "mode": "quote", "last_traded_quantity": 7,
        "average_traded_price": 1001.0, "total_buy_quantity": 11, "total_sell_quantity": 13,
        "ohlc": {"open": 990.0, "high": 1020.0, "low": 980.0, "close": 1000.0}, "change": 0.002});
    expected.as_object_mut().unwrap().extend(of_quote.as_object().unwrap().clone());
    assert_eq!(quote, expected);
    let now = gateway.app.context.clock.unix_seconds();
    assert!((now - 20.0..=now).contains(&ltp["timestamp"].as_f64().unwrap()), "the time of arrival: {ltp}");
    let row = |row: u32| json!({"quantity": 2 + row, "price": 1000.0 + f64::from(row) / 100.0, "orders": row});
    let of_full = json!({"mode": "full", "timestamp": 1_762_257_900.0, "last_trade_time": 1_762_257_899,
        "oi": 17, "oi_day_high": 19, "oi_day_low": 5, "exchange_timestamp": 1_762_257_900,
        "depth": {"buy": (0..5).map(row).collect::<Vec<_>>(), "sell": (5..10).map(row).collect::<Vec<_>>()}});
    expected.as_object_mut().unwrap().extend(of_full.as_object().unwrap().clone());
    assert_eq!(as_floats(full_mode), as_floats(expected));

    let [ltp, quote, full_mode] = tabs.each_mut().map(support::client::Client::next);
    let index_quote = || LTP.into_iter().chain(["ohlc", "change"]);
    assert_eq!(fields(&ltp), LTP.into());
    assert_eq!(fields(&quote), index_quote().collect());
    assert_eq!(fields(&full_mode), index_quote().chain(["exchange_timestamp"]).collect());
    for tick in [ltp, quote, full_mode] {
        assert_eq!((&tick["token"], &tick["tradable"]), (&json!("256265"), &json!(false)));
        assert_eq!((&tick["price"], &tick["volume_traded"]), (&json!(1000.02), &json!(0)));
    }
}

/// 1000 and 1000.0 are one number to a browser.
fn as_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(as_floats).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, v)| (name, as_floats(v))).collect()),
        other => other,
    }
}

#[test]
fn a_change_that_a_mode_does_not_show_is_not_sent_in_it() {
    let (gateway, script) = scripted();
    let mut ltp = gateway.client();
    let mut quotes = gateway.client();
    let mut all = gateway.client();
    ltp.subscribe(&[INFY], json!({"mode": "ltp"}));
    quotes.subscribe(&[INFY], json!({}));
    all.subscribe(&[INFY], json!({"mode": "full"}));
    let first = full(INFY, 1);
    let deeper = Tick { oi: 99, ..first };
    let bought = Tick { volume_traded: 50, ..deeper };
    let dearer = Tick { last_price: price_of(9), ..bought };
    [first, deeper, bought, dearer].iter().for_each(|tick| script.push(std::slice::from_ref(tick)));
    let prices: Vec<Value> = (0..2).map(|_| ltp.next()["price"].clone()).collect();
    assert_eq!(prices, [json!(1000.01), json!(1000.09)]);
    let volumes: Vec<Value> = (0..3).map(|_| quotes.next()["volume_traded"].clone()).collect();
    assert_eq!(volumes, [json!(1), json!(50), json!(50)]);
    let interest: Vec<Value> = (0..4).map(|_| all.next()["oi"].clone()).collect();
    assert_eq!(interest, [json!(17), json!(99), json!(99), json!(99)]);
    [ltp, quotes, all].iter_mut().for_each(support::client::Client::expect_silence);
}

#[test]
fn upstream_gives_less_than_is_wanted_and_nobody_minds() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({"mode": "full"}));
    let of_price = Tick { mode: Mode::Ltp, ..quote(INFY, 1) };
    script.push(&[of_price, quote(INFY, 2), full(INFY, 3)]);
    let modes: Vec<Value> = (0..3).map(|_| tab.next()["mode"].clone()).collect();
    assert_eq!(modes, [json!("ltp"), json!("quote"), json!("full")]);
}

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
    support::eventually_true("the ticks wait in the batch", || {
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
    assert_eq!(support::msgpack::decode(&reply.into_data())["format"], "msgpack");
    text.subscribe(&[INFY, NIFTY_50], json!({"mode": "full"}));
    for round in 1..4 {
        script.push(&[full(INFY, round), index(NIFTY_50, round)]);
        for _ in 0..2 {
            let message = packed.next_message();
            assert!(message.is_binary());
            assert_eq!(as_floats(support::msgpack::decode(&message.into_data())), as_floats(text.next()));
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

#[test]
fn values_come_in_order_and_none_is_lost_whichever_way_the_threads_run() {
    const ROUNDS: u32 = 400;
    for (threads, idle) in WAYS {
        let script = Script::default();
        let way = tickfan::gateway::Settings { threads, idle, ..settings() };
        let gateway = start(way, script.source(&[]));
        let mut tabs = [gateway.client(), gateway.client(), gateway.client()];
        tabs.iter_mut().for_each(|tab| drop(tab.subscribe(&[INFY, TCS, RELIANCE], json!({"mode": "full"}))));
        for round in 0..ROUNDS {
            let number = round * 2 + 1;
            // The same token twice in one message: both are ticks.
            script.push(&[full(INFY, number), full(TCS, number), full(INFY, number + 1), full(RELIANCE, number)]);
            for tab in &mut tabs {
                let got: Vec<(Value, Value)> = (0..4)
                    .map(|_| tab.next())
                    .map(|tick| (tick["token"].clone(), tick["volume_traded"].clone()))
                    .collect();
                let expected = [("408065", number), ("2953217", number), ("408065", number + 1), ("738561", number)];
                assert_eq!(got, expected.map(|(t, n)| (json!(t), json!(n))), "{threads:?} {idle:?}");
            }
        }
        gateway.stop();
        for mut tab in tabs {
            assert_eq!(tab.until_closed(), (1001, "server is going away".to_owned()), "{threads:?} {idle:?}");
        }
    }
}

#[test]
fn what_upstream_garbles_is_counted_and_the_next_is_good() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({}));
    script.push_bytes(vec![0, 9, 1]);
    script.push_bytes(vec![]);
    script.push_bytes(vec![0]);
    let mut odd = support::ticks::message(&[full(INFY, 1), full(INFY, 2)]);
    // The first packet says 183 bytes: of no known length, but well framed.
    odd.remove(4 + 183);
    odd[2..4].copy_from_slice(&183_u16.to_be_bytes());
    script.push_bytes(odd);
    script.push(&[full(TCS, 1), full(INFY, 3)]);
    assert_eq!(tab.next()["volume_traded"], 2);
    assert_eq!(tab.next()["volume_traded"], 3);
    let counters = &gateway.app.feed_counters;
    let counted = [&counters.messages, &counters.malformed_messages, &counters.heartbeats, &counters.unknown_packets];
    assert_eq!(counted.map(|counter| counter.get()), [5, 1, 2, 1]);
    assert_eq!((counters.unwanted_packets.get(), counters.ticks.get()), (1, 2));
}

#[test]
fn upstream_is_asked_for_the_union_in_the_highest_mode() {
    let (gateway, script) = scripted();
    let (mut one, mut two) = (gateway.client(), gateway.client());
    one.subscribe(&[INFY, TCS], json!({"mode": "ltp"}));
    two.subscribe(&[INFY], json!({"mode": "full"}));
    script.until_wanted(&[(INFY, Mode::Full), (TCS, Mode::Ltp)].into());
    two.close();
    script.until_wanted(&[(INFY, Mode::Ltp), (TCS, Mode::Ltp)].into());
    one.ask(&json!({"action": "unsubscribe", "tokens": [INFY]}));
    script.until_wanted(&[(TCS, Mode::Ltp)].into());
    one.vanish();
    script.until_wanted(&[].into());
    gateway.until_empty();
}

#[test]
fn an_old_value_is_no_snapshot_once_upstream_has_ended() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({}));
    script.until_wanted(&[(INFY, Mode::Quote)].into());
    script.push(&[full(INFY, 1)]);
    tab.next();
    tab.ask(&json!({"action": "unsubscribe"}));
    script.until_wanted(&[].into());
    tab.subscribe(&[INFY], json!({}));
    tab.expect_silence();
    script.push(&[full(INFY, 2)]);
    let tick = tab.next();
    assert_eq!((&tick["snapshot"], &tick["volume_traded"]), (&json!(true), &json!(2)));
}

#[test]
fn a_feed_that_sends_everything_anyway_keeps_its_values_warm() {
    let script = Script::default();
    let gateway = start(settings(), script.source(&[INFY]));
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({}));
    script.until_wanted(&[(INFY, Mode::Quote)].into());
    script.push(&[full(INFY, 1)]);
    tab.next();
    tab.ask(&json!({"action": "unsubscribe"}));
    script.until_wanted(&[].into());
    let reply = tab.subscribe(&[INFY], json!({}));
    assert_eq!(reply["tokens"], json!(["408065"]));
    // It would not come if the value were not kept up to date.
    let snapshot = tab.next();
    assert_eq!((&snapshot["snapshot"], &snapshot["volume_traded"]), (&json!(true), &json!(1)));
}
