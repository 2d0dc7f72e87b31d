//! What is asked by HTTP.

use serde_json::json;
use tickfan::identity::api_key::ApiKeys;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::market::InstrumentToken;
use tickfan::market::indicator::Indicator;

use crate::Bench;
use crate::support::client::{get, request};
use crate::support::eventually_true;
use crate::support::gateway::{settings, start_behind};
use crate::support::keys::{by_secret, key_of, shared};
use crate::support::script::Script;
use crate::support::ticks::INFY;

#[test]
fn http_tells_the_same_values_in_the_documented_shapes() {
    let (key, entry) = key_of("desk", None);
    let api_keys = ApiKeys::new([entry]).unwrap();
    let bench = Bench::new(GateSettings { api_keys, ..by_secret(Policy::Required) });
    let jwt = shared("ann@x", json!({}));
    let series = "symbol=INFY&timeframe=1m";
    let current = bench.get(&key, &format!("/indicators/current?{series}&indicators=RSI_14,sma_20"));
    assert_eq!(current.status, 200, "{current:?}");
    let current = current.json();
    assert_eq!((&current["symbol"], &current["timeframe"]), (&json!("INFY"), &json!("1m")));
    assert!(current["timestamp"].as_str().unwrap().ends_with('Z'));
    let sma = &current["values"]["SMA_20"];
    assert!(sma["value"].is_number() && sma["timestamp"].is_string() && sma["cached"].is_boolean(), "{current}");
    let again = bench.get(&jwt, &format!("/indicators/current?{series}&indicators=SMA_20")).json();
    assert_eq!(
        (&again["values"]["SMA_20"]["cached"], &again["values"]["SMA_20"]["value"]),
        (&json!(true), &sma["value"])
    );

    let history = bench.get(&jwt, &format!("/indicators/history?{series}&indicator=SMA_20&lookback=20")).json();
    assert_eq!((&history["indicator_id"], &history["lookback"]), (&json!("SMA_20"), &json!(20)));
    let told = history["series"].as_array().unwrap();
    let by_hand: Vec<(i64, f64)> = {
        let mut indicator = Indicator::new(&"SMA_20".parse().unwrap());
        let bar = |candle| tickfan::engine::track::bar(InstrumentToken(INFY), candle);
        let values = bench.closed.iter().map(|candle| (candle.start, indicator.update(&bar(candle)).get("value")));
        values.filter_map(|(start, value)| Some((start, value?))).collect()
    };
    assert_eq!(told.len(), 20);
    for (entry, (back, (start, value))) in told.iter().zip((1..=20).rev().zip(&by_hand[by_hand.len() - 20..])) {
        assert_eq!((&entry["time"], &entry["candles_back"]), (&json!(start), &json!(back)));
        assert!((entry["value"].as_f64().unwrap() - value).abs() < 1e-9, "{entry} {value}");
    }
    let offset = bench.get(&key, &format!("/indicators/at-offset?{series}&indicators=SMA_20,MACD&offset=7")).json();
    assert_eq!((&offset["offset"], &offset["values"]["SMA_20"]["value"]), (&json!(7), &told[13]["value"]));
    assert!(offset["values"]["MACD_12_26_9"]["value"]["signal"].is_number(), "{offset}");

    let body = json!({"symbol": "INFY", "timeframes": ["1min", "5m"], "indicators": ["SMA_20", {"name": "RSI"}]});
    let batch = bench.post(&jwt, "/indicators/batch", &body).json();
    assert_eq!(batch["timeframes"]["1min"]["values"]["SMA_20"]["value"], sma["value"]);
    assert!(batch["timeframes"]["5m"]["values"]["RSI_14"]["value"].is_number(), "{batch}");

    // A user of a token has a set too, which no connection delivers.
    let mut tab = bench.tab("ann@x");
    let body = json!({"symbol": "INFY", "timeframe": "1min", "indicators": ["SMA_20"]});
    assert_eq!(bench.post(&jwt, "/indicators/subscribe", &body).status, 200);
    let named = bench.get(&jwt, &format!("/indicators/current?{series}")).json();
    assert_eq!(named["values"].as_object().unwrap().keys().collect::<Vec<_>>(), ["SMA_20"]);
    bench.updates(&mut tab, 3, &[]);
    assert_eq!(bench.get(&key, &format!("/indicators/current?{series}")).status, 400, "it is not the key's");
    // Nothing that was asked about stays subscribed.
    drop(tab);
    eventually_true("nobody listens", || bench.counter("listeners") == 0);
}

#[test]
fn http_refuses_by_field_and_status() {
    let bench = Bench::new(by_secret(Policy::Required));
    let jwt = shared("ann@x", json!({"jti": null}));
    let none = shared("bob@x", json!({"permissions": ["segment:NSE"]}));
    for (path, status, field) in [
        ("current?timeframe=1m&indicators=RSI", 400, "symbol"),
        ("current?symbol=INFY&indicators=RSI", 400, "timeframe"),
        ("current?symbol=INFY&timeframe=7m&indicators=RSI", 400, "timeframe"),
        ("current?symbol=INFY&timeframe=5m", 400, "indicators"),
        ("current?symbol=INFY&timeframe=5m&indicators=MOON", 400, "indicators"),
        ("current?symbol=NO-SUCH&timeframe=5m&indicators=RSI", 404, "symbol"),
        ("current?symbol=NIFTY50&timeframe=5m&indicators=OBV", 400, "indicators"),
        ("history?symbol=INFY&timeframe=5m&indicator=RSI", 400, "lookback"),
        ("history?symbol=INFY&timeframe=5m&indicator=RSI&lookback=501", 400, "lookback"),
        ("history?symbol=INFY&timeframe=5m&lookback=5", 400, "indicator"),
        ("at-offset?symbol=INFY&timeframe=5m&indicators=RSI&offset=-1", 400, "offset"),
    ] {
        let answer = bench.get(&jwt, &format!("/indicators/{path}"));
        assert_eq!((answer.status, &answer.json()["field"]), (status, &json!(field)), "{path}: {answer:?}");
        assert!(!answer.json()["message"].as_str().unwrap().is_empty());
    }
    let path = "/indicators/current?symbol=INFY&timeframe=5m&indicators=RSI";
    assert_eq!(bench.get(&none, path).status, 403);
    assert_eq!(bench.get("nonsense", path).status, 401);
    assert_eq!(get(bench.gateway.address, path).status, 401);
    let body = json!({"symbol": "INFY", "timeframe": "5m", "indicators": []});
    let answer = bench.post(&jwt, "/indicators/subscribe", &body);
    assert_eq!((answer.status, &answer.json()["error_code"]), (400, &json!("VALIDATION_ERROR")));
    // Where nobody need show anything, asking is free, and a subscription still needs a name.
    let script = Script::default();
    let open = start_behind(GateSettings::default(), settings(), script.source(&[]));
    assert_eq!(get(open.address, path).status, 200);
    let head =
        "POST /indicators/subscribe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    assert_eq!(request(open.address, head).status, 401);
}
