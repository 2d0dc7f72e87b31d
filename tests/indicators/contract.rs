//! The table of the contract, row by row.

use std::collections::HashSet;

use serde_json::{Value, json};
use tickfan::identity::api_key::ApiKeys;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::market::InstrumentToken;
use tickfan::market::indicator::{Indicator, IndicatorId};
use tickfan::session::indicators::IndicatorLimits;

use crate::support::client::Client;
use crate::support::gateway::{Running, settings, start_behind};
use crate::support::keys::{by_secret, key_of, now, shared};
use crate::support::script::Script;
use crate::support::ticks::INFY;
use crate::{Bench, ask, ids, quick, subscribe, subscribe_warm, v2};

#[test]
fn a_session_is_greeted_and_each_request_is_answered_as_the_contract_says() {
    let bench = Bench::new(by_secret(Policy::Required));
    let (mut tab, greeting) = v2(&bench.gateway, &shared("ann@x", json!({})));
    let id = greeting["data"]["ws_conn_id"].as_str().unwrap().to_owned();
    assert!(id.len() == 15 && id.starts_with("ws_") && id[3..].bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(greeting["message"], format!("Connected to indicator stream (session: {id})"));
    assert_eq!(
        (&greeting["type"], &greeting["data"]["user_id"], &greeting["data"]["session_id"]),
        (&json!("success"), &json!("ann@x"), &json!("s1"))
    );
    let is_time = |time: &Value| time.as_str().is_some_and(|text| text.len() == 20 && text.ends_with('Z'));
    assert!(is_time(&greeting["data"]["timestamp"]), "{greeting}");

    let indicators = json!([{"name": "RSI", "params": {"length": 14}}, {"name": "SMA", "params": {"length": 20}}]);
    let (reply, updates) = subscribe_warm(&mut tab, &subscribe("INFY", "1m", indicators));
    assert_eq!(reply["message"], "Subscribed to 2 indicators");
    assert_eq!(reply["data"]["indicators"], json!(["RSI_14", "SMA_20"]));
    // What was known came before the reply, with the same values, in the client's words.
    // Before these stand what the subscription replaced had to say, if the history came just now.
    let known = &updates[updates.len().checked_sub(2).expect("both values come before the reply")..];
    assert_eq!(ids(known), HashSet::from(["RSI_14", "SMA_20"]));
    for update in known {
        let id = update["indicator_id"].as_str().unwrap();
        assert_eq!(update["value"], reply["data"]["initial_values"][id], "{update} {reply}");
        assert_eq!(
            (&update["symbol"], &update["timeframe"], &update["warm"]),
            (&json!("INFY"), &json!("1m"), &json!(true))
        );
        assert!(is_time(&update["timestamp"]) && is_time(&update["candle_time"]), "{update}");
    }
    // The same value as that of all closed bars by hand.
    let sma: IndicatorId = "SMA_20".parse().unwrap();
    let mut by_hand = Indicator::new(&sma);
    let last = bench.closed.iter().map(|bar| by_hand.update(&tickfan::engine::track::bar(InstrumentToken(INFY), bar)));
    let last = last.last().unwrap().get("value").unwrap();
    let told = reply["data"]["initial_values"]["SMA_20"].as_f64().unwrap();
    assert!((told - last).abs() < 1e-9, "{told} {last}");

    let update = bench.until(&mut tab, |update| update["indicator_id"] == "RSI_14" && update["closed"] == false);
    assert_eq!((&update["symbol"], &update["timeframe"]), (&json!("INFY"), &json!("1m")));

    // Another timeframe is added; several outputs are an object.
    let (reply, _) = ask(&mut tab, &subscribe("NSE:INFY", "5min", json!(["MACD"])));
    assert_eq!(reply["data"]["indicators"], json!(["MACD_12_26_9"]));
    let update = bench.until(&mut tab, |update| update["indicator_id"] == "MACD_12_26_9" && !update["value"].is_null());
    assert_eq!(update["symbol"], "NSE:INFY");
    assert!(update["value"]["macd"].is_number() && update["value"].get("hist").is_some(), "{update}");
    bench.until(&mut tab, |update| update["indicator_id"] == "SMA_20");

    // The same instrument and timeframe in other words is replaced.
    let (reply, _) = ask(&mut tab, &subscribe("nse:infy", "1minute", json!(["EMA_9"])));
    assert_eq!(reply["type"], "success", "{reply}");
    let updates = bench.updates(&mut tab, 10, &["EMA_9", "MACD_12_26_9"]);
    assert!(updates.iter().any(|update| update["symbol"] == "nse:infy" && update["timeframe"] == "1minute"));

    let part = json!({"action": "unsubscribe", "symbol": "INFY", "timeframe": "5", "indicators": ["macd"]});
    let (reply, _) = ask(&mut tab, &part);
    assert_eq!(
        (&reply["message"], &reply["data"]["indicators_removed"]),
        (&json!("Unsubscribed from 1 indicator"), &json!(["MACD_12_26_9"]))
    );
    bench.updates(&mut tab, 5, &["EMA_9"]);
    let (reply, _) = ask(&mut tab, &json!({"action": "unsubscribe"}));
    assert_eq!(reply["message"], "Unsubscribed from all indicators");
    assert_eq!(reply["data"]["status"], "unsubscribed");
    assert_eq!((&reply["data"]["ws_conn_id"], &reply["data"]["indicators_removed"]), (&json!(id), &json!(["EMA_9"])));
    bench.updates(&mut tab, 5, &[]);

    let pong = tab.ask(&json!({"action": "ping"}));
    assert_eq!(pong["type"], "pong");
    assert!(is_time(&pong["timestamp"]), "{pong}");
    let listed = &bench.gateway.connections()[0];
    assert_eq!(listed["id"].as_str().unwrap().replace('-', "")[..12], id[3..]);
    tab.close();
    bench.gateway.until_empty_but_for_the_linger();
}

#[test]
fn every_error_has_its_code_and_leaves_the_connection_open() {
    let mut settings = quick();
    settings.indicators = IndicatorLimits { per_connection: 4, per_user: 5 };
    settings.max_tokens = 2;
    let bench = Bench::with(by_secret(Policy::Required), settings);
    let mut tab = bench.tab("ann@x");
    let rsi = || json!(["RSI_14"]);
    for (request, code, words) in [
        (json!({"action": "dance"}), "UNKNOWN_ACTION", "dance"),
        (json!(["subscribe"]), "VALIDATION_ERROR", "object"),
        (json!({"action": "subscribe", "timeframe": "5min", "indicators": rsi()}), "VALIDATION_ERROR", "symbol"),
        (subscribe("INFY", "7min", rsi()), "VALIDATION_ERROR", "15min"),
        (subscribe("INFY", "5min", json!("RSI_14")), "VALIDATION_ERROR", "indicators"),
        (subscribe("INFY", "5min", json!(["MOON_14"])), "INVALID_INDICATOR", "MOON"),
        (subscribe("INFY", "5min", json!(["RSI_100000"])), "INVALID_INDICATOR", "1000"),
        (subscribe("NIFTY50", "5min", json!(["SMA_20", "MFI_14"])), "INVALID_INDICATOR", "MFI_14"),
        (subscribe("NO-SUCH", "5min", rsi()), "SUBSCRIBE_ERROR", "NO-SUCH"),
        (
            subscribe("INFY", "5min", json!(["SMA_2", "SMA_3", "SMA_4", "SMA_5", "SMA_6"])),
            "SUBSCRIBE_ERROR",
            "at most 4 (max_indicators_per_connection)",
        ),
        (subscribe("INFY", "5min", json!(vec!["RSI"; 101])), "VALIDATION_ERROR", "at most 100"),
        (json!({"action": "unsubscribe", "symbol": "NO-SUCH"}), "UNSUBSCRIBE_ERROR", "NO-SUCH"),
        (json!({"action": "unsubscribe", "indicators": ["MOON"]}), "INVALID_INDICATOR", "MOON"),
        (json!({"action": "auth", "token": "x"}), "AUTH_ERROR", "known already"),
        (json!({"action": "refresh", "token": "x"}), "AUTH_ERROR", "Invalid token"),
    ] {
        let reply = tab.ask(&request);
        assert_eq!((&reply["type"], &reply["error_code"]), (&json!("error"), &json!(code)), "{request} {reply}");
        assert!(reply["message"].as_str().unwrap().contains(words), "{request} {reply}");
    }
    tab.send(tokio_tungstenite::tungstenite::Message::text("no JSON"));
    assert_eq!(tab.next()["error_code"], "JSON_ERROR");
    // Averages weighted by volume are null without it, and so harmless.
    assert_eq!(ask(&mut tab, &subscribe("NIFTY50", "5min", json!(["VWAP"]))).0["type"], "success");
    assert_eq!(ask(&mut tab, &subscribe("INFY", "5min", json!(["SMA_2", "SMA_3", "SMA_4"]))).0["type"], "success");
    let reply = ask(&mut tab, &subscribe("TCS", "5min", json!(["SMA_2"]))).0;
    assert!(reply["message"].as_str().unwrap().contains("at most 4"), "{reply}");
    // What was refused has changed nothing: the set can still be replaced by as many.
    assert_eq!(ask(&mut tab, &subscribe("INFY", "5min", json!(["SMA_5"]))).0["type"], "success");
    let reply = ask(&mut tab, &subscribe("TCS", "5min", json!(["SMA_2"]))).0;
    assert!(reply["message"].as_str().unwrap().contains("at most 2 for one connection"), "{reply}");
    // Two tabs of a user together.
    let mut other = bench.tab("ann@x");
    assert_eq!(ask(&mut other, &subscribe("INFY", "5min", json!(["SMA_5", "SMA_6"]))).0["type"], "success");
    let reply = ask(&mut other, &subscribe("RELIANCE", "5min", json!(["SMA_2", "SMA_3"]))).0;
    assert_eq!(reply["type"], "success", "{reply}");
    let reply = ask(&mut tab, &subscribe("INFY", "5min", json!(["SMA_9", "SMA_10"]))).0;
    assert!(reply["message"].as_str().unwrap().contains("(max_indicators_per_user)"), "{reply}");
    assert_eq!((&reply["limit"], &reply["error_code"]), (&json!(5), &json!("SUBSCRIBE_ERROR")));
    let mut bob = bench.tab("bob@x");
    assert_eq!(ask(&mut bob, &subscribe("INFY", "5min", json!(["SMA_9"]))).0["type"], "success");
}

#[test]
fn who_shows_no_good_token_is_told_why() {
    let closes = |gateway: &Running, path: &str| Client::knock(gateway.address, path, &[]).unwrap().until_closed();
    let policy = |text: &str| (1008, text.to_owned());
    let (key, entry) = key_of("desk", None);
    let api_keys = ApiKeys::new([entry]).unwrap();
    let bench = Bench::new(GateSettings { policy: Policy::Off, api_keys, ..by_secret(Policy::Required) });
    let stream = "/indicators/v2/stream";
    assert_eq!(closes(&bench.gateway, stream), policy("Missing JWT token"));
    for (changes, reason) in [
        (json!({"exp": now() - 60}), "Token expired"),
        (json!({"aud": "others"}), "Invalid token audience"),
        (json!({"iss": "others"}), "Invalid token issuer"),
    ] {
        let path = format!("{stream}?token={}", shared("ann@x", changes));
        assert_eq!(closes(&bench.gateway, &path), policy(reason));
    }
    assert_eq!(closes(&bench.gateway, &format!("{stream}?token=nonsense")), policy("Invalid token"));
    assert_eq!(closes(&bench.gateway, &format!("{stream}?api_key={key}")), policy("Invalid token"));
    let legacy = "/indicators/stream";
    assert_eq!(closes(&bench.gateway, legacy), policy("Invalid API key"));
    assert_eq!(closes(&bench.gateway, &format!("{legacy}?api_key=sb_12345678_x")), policy("Invalid API key"));
    let path = format!("{legacy}?api_key={}", shared("ann@x", json!({})));
    assert_eq!(closes(&bench.gateway, &path), policy("Invalid API key"));

    // A header, and the first message where that is announced.
    let good = shared("ann@x", json!({}));
    let bearer = format!("Bearer {good}");
    let mut tab = Client::knock(bench.gateway.address, stream, &[("authorization", &bearer)]).unwrap();
    assert_eq!(tab.next()["data"]["user_id"], "ann@x");
    let announced = format!("{stream}?auth=message");
    let mut tab = Client::knock(bench.gateway.address, &announced, &[]).unwrap();
    assert_eq!(tab.ask(&json!({"action": "auth", "token": good}))["data"]["user_id"], "ann@x");
    let mut tab = Client::knock(bench.gateway.address, &announced, &[]).unwrap();
    tab.say(&json!({"action": "ping"}));
    assert_eq!(tab.until_closed(), policy("Missing JWT token"));
    let mut tab = Client::knock(bench.gateway.address, &announced, &[]).unwrap();
    tab.say(&json!({"action": "auth", "token": key}));
    assert_eq!(tab.until_closed(), policy("Invalid token"));

    let script = Script::default();
    let open = start_behind(GateSettings::default(), settings(), script.source(&[]));
    assert_eq!(closes(&open, &format!("{stream}?token={good}")), policy("No token key is configured"));
    assert_eq!(closes(&open, stream), policy("No token key is configured"));
    assert_eq!(closes(&open, &format!("{legacy}?api_key={key}")), policy("Invalid API key"));
}

#[test]
fn what_is_not_permitted_looks_like_what_is_not_there_and_a_refresh_takes_it_away() {
    let bench = Bench::new(by_secret(Policy::Required));
    let words = |words: Value| shared("ann@x", json!({"permissions": words, "jti": null}));
    let (mut tab, _) = v2(&bench.gateway, &words(json!(["segment:NSE", "mode:full", "indicators"])));
    let answer = |tab: &mut Client, symbol: &str| {
        let mut reply = ask(tab, &subscribe(symbol, "5min", json!(["SMA_2"]))).0;
        reply["message"] = reply["message"].as_str().unwrap().replace(symbol, "X").into();
        reply
    };
    assert_eq!(answer(&mut tab, "NIFTY50"), answer(&mut tab, "NO-SUCH"));
    assert_eq!(answer(&mut tab, "INFY")["type"], "success");
    let (mut none, _) = v2(&bench.gateway, &words(json!(["segment:NSE", "mode:full"])));
    let reply = answer(&mut none, "INFY");
    assert_eq!(reply["error_code"], "SUBSCRIBE_ERROR");
    assert!(reply["message"].as_str().unwrap().contains("permission indicators"), "{reply}");
    let reply = ask(&mut tab, &json!({"action": "refresh", "token": words(json!(["segment:NFO", "indicators"]))})).0;
    assert_eq!(reply["message"], "Token refreshed");
    let removed = json!([{"symbol": "INFY", "timeframe": "5min", "indicator_id": "SMA_2"}]);
    assert_eq!(reply["data"]["removed"], removed);
    bench.updates(&mut tab, 3, &[]);
}
