//! An upstream that is lost, and its return.

use crate::support::client::get;
use crate::support::exchange::Exchange;
use crate::support::gateway::{launch, settings, start};
use crate::support::kite_client::KiteClient;
use crate::support::kite_server::KiteServer;
use crate::support::script::Script;
use crate::support::ticks::{INFY, TCS, full, quote};
use crate::support::{eventually, eventually_true};
use crate::{on_kite, token, upstream, with_room};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickfan::clock::Clock;
use tickfan::feed::Outage;
use tickfan::gateway::Past;
use tickfan::history::History;
use tickfan::identity::gate::GateSettings;
use tickfan::market::{Calendar, InstrumentToken, Tick};

#[test]
fn only_those_concerned_are_told_and_whoever_comes_late_too() {
    let script = Script::default();
    let (source, outages) = with_room(&script, 100);
    let gateway = start(settings(), source);
    let (mut tab, mut packed, mut other) = (gateway.client(), gateway.client(), gateway.client());
    tab.subscribe(&[token(0), token(1)], json!({}));
    packed.subscribe(&[token(1)], json!({"format": "msgpack"}));
    other.subscribe(&[token(2)], json!({}));
    let mut kite = KiteClient::connect(gateway.address);
    kite.ask("subscribe", &[token(0), token(1)]);
    eventually_true("the Kite client has them", || gateway.app.context.admission.taken() == 3);
    let clock = &gateway.app.context.clock;
    let since_ns = clock.now_ns();
    let lost = vec![InstrumentToken(token(0)), InstrumentToken(token(1))];
    outages.blocking_send(Outage::Begun { tokens: lost, since_ns }).unwrap();
    let stale = tab.next();
    assert_eq!(stale["type"], "stale");
    assert_eq!(stale["tokens"], json!([token(0).to_string(), token(1).to_string()]));
    assert!((stale["since"].as_f64().unwrap() - clock.unix_ns(since_ns) as f64 / 1e9).abs() < 1.0, "{stale}");
    assert_eq!(packed.next()["tokens"], json!([token(1).to_string()]));
    other.expect_silence();
    // Kite's protocol has no such message: its clients get heartbeats and nothing else.
    assert_eq!(kite.texts_so_far(), ["instruments_meta", "app_code"]);
    let mut late = gateway.client();
    late.subscribe(&[token(1), token(2)], json!({}));
    assert_eq!(late.next()["tokens"], json!([token(1).to_string()]));
    outages.blocking_send(Outage::Over(vec![(InstrumentToken(token(1)), since_ns)])).unwrap();
    for told in [&mut tab, &mut packed, &mut late] {
        let fresh = told.next();
        assert_eq!((&fresh["type"], &fresh["tokens"]), (&json!("fresh"), &json!([token(1).to_string()])));
        assert!(fresh["gap_seconds"].as_f64().unwrap() > 0.0);
    }
    other.expect_silence();
    assert!(kite.texts_so_far().is_empty());
    let metrics = get(gateway.address, "/metrics").body;
    assert!(metrics.contains("tickfan_stale_tokens 1\n") && metrics.contains("tickfan_upstream_capacity 100\n"));
}

#[test]
fn a_closed_market_makes_nothing_stale() {
    let script = Script::default();
    let (mut source, outages) = with_room(&script, 100);
    // A calendar without a single session.
    let never = Calendar::parse("").unwrap_or_else(|_| panic!("an empty calendar"));
    source.upstream.as_mut().unwrap().calendar = never;
    let gateway = start(settings(), source);
    let mut tab = gateway.client();
    tab.subscribe(&[token(0)], json!({}));
    let lost = vec![InstrumentToken(token(0))];
    outages.blocking_send(Outage::Begun { tokens: lost, since_ns: 1 }).unwrap();
    outages.blocking_send(Outage::Over(vec![(InstrumentToken(token(0)), 1)])).unwrap();
    assert_eq!(tab.next_within(Duration::from_millis(500)), None);
}

#[test]
fn a_dead_upstream_is_told_within_two_seconds_and_closes_no_tab() {
    let exchange = Exchange::start(Duration::from_millis(50));
    let (gateway, _) = on_kite(settings(), &exchange.root, &[]);
    let mut tab = gateway.client();
    tab.subscribe(&[token(0)], json!({"mode": "full"}));
    tab.until("tick");
    eventually_true("it is connected", || upstream(&gateway)["diagnosis"] == "connected");
    exchange.kill();
    let killed = Instant::now();
    let stale = tab.until("stale");
    println!("stale after {:?}", killed.elapsed());
    assert_eq!(stale["tokens"], json!([token(0).to_string()]));
    eventually_true("the network is to blame", || upstream(&gateway)["diagnosis"] == "network");
    exchange.restart();
    let fresh = tab.until("fresh");
    assert!(fresh["gap_seconds"].as_f64().unwrap() >= 1.0, "{fresh}");
    tab.until("tick");
    let metrics = || get(gateway.address, "/metrics").body;
    let again = "tickfan_upstream_reconnects_total{socket=\"0\",key=\"0\"} 1\n";
    eventually_true("it is counted", || metrics().contains(again));
    let metrics = metrics();
    assert!(metrics.contains("tickfan_upstream_live{socket=\"1\",key=\"0\"} 0\n"), "{metrics}");
}

#[test]
fn a_token_is_swapped_by_its_file_while_tabs_stay() {
    let server = KiteServer::start();
    server.expire("yesterday");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kite.toml");
    std::fs::write(&path, "api_key = \"key\"\naccess_token = \"yesterday\"\n").unwrap();
    let (gateway, keys) = on_kite(settings(), &server.root(), &["--kite-credentials-file", path.to_str().unwrap()]);
    let mut tab = gateway.client();
    tab.subscribe(&[token(0)], json!({}));
    let refused = eventually("the token is refused", || {
        Some(upstream(&gateway)).filter(|feed| feed["diagnosis"] == "token rejected")
    });
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("tickfan login") && reason.contains("kite.toml"), "{reason}");
    assert!(refused["keys"][0]["token_expires_in_s"].as_i64().is_some_and(|left| left > 0), "{refused}");
    assert!(refused["next_attempt_in_ms"].is_null());
    assert_eq!(tab.until("stale")["tokens"], json!([token(0).to_string()]));
    std::fs::write(&path, "api_key = \"key\"\naccess_token = \"today\"\n").unwrap();
    // What SIGHUP does; without it the file is looked at once a second.
    keys.reread();
    let mut peer = eventually("the new token connects", || {
        server.call().filter(|call| call.head.contains("access_token=today ")).and_then(|call| call.peer)
    });
    eventually("it subscribes", || peer.heard());
    peer.send(&crate::support::ticks::message(&[quote(token(0), 5)]));
    assert_eq!(tab.until("tick")["token"], token(0).to_string());
    eventually_true("it is connected", || upstream(&gateway)["diagnosis"] == "connected");
}

#[test]
fn a_bar_that_is_open_while_the_feed_is_lost_is_marked_and_mended() {
    /// Friday, 20 November 2026, 10:00 IST.
    const BEGIN: u32 = 1_795_149_000;
    let folder = tempfile::tempdir().unwrap();
    let csv = format!("timestamp,open,high,low,close,volume\n{},1000,1234,990,1001,500\n", BEGIN + 60);
    std::fs::write(folder.path().join("NSE_INFY_1min.csv"), csv).unwrap();
    let history = History::folder(folder.path().to_owned(), Arc::new(Calendar::around_the_clock())).unwrap();
    let mut settings = settings();
    settings.engine.history = true;
    let script = Script::default();
    let (source, outages) = with_room(&script, 10);
    let clock = Clock::manual(u64::from(BEGIN) * 1_000_000_000);
    let past = Past { history, ..Past::default() };
    let gateway = launch(GateSettings::default(), settings, source, clock.clone(), past);
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({"mode": "ltp", "timeframes": ["1min"], "live_candles": true}));
    eventually_true("the engine listens", || gateway.app.context.engine.counters().listeners.get() == 1);
    let push = |second: u32, price: i32| {
        let time = BEGIN + second;
        let tick = Tick { last_price: price, exchange_timestamp: time, last_trade_time: time, ..full(INFY, second) };
        script.push(&[tick]);
    };
    // The market's time goes on as fast as the test looks.
    let mut until = |found: &dyn Fn(&Value) -> bool| {
        eventually("a candle", || {
            clock.advance(Duration::from_millis(5));
            tab.next_within(Duration::from_millis(5)).filter(|it| it["type"] == "candle" && found(it))
        })
    };
    // The first packet is what later volumes are counted from.
    push(1, 100_000);
    push(2, 100_000);
    until(&|candle| candle["data"]["start"] == BEGIN);
    clock.advance(Duration::from_secs(62));
    push(61, 100_000);
    let whole = until(&|candle| candle["data"]["start"] == BEGIN + 60);
    assert_eq!((&whole["closed"], &whole["partial"]), (&json!(false), &Value::Null), "nothing is missed yet");
    let lost = Outage::Begun { tokens: vec![InstrumentToken(TCS), InstrumentToken(INFY)], since_ns: clock.now_ns() };
    outages.blocking_send(lost).unwrap();
    eventually_true("it is told", || gateway.app.context.stale.len() == 2);
    clock.advance(Duration::from_secs(5));
    push(70, 100_100);
    let marked = until(&|candle| candle["data"]["close"] == 1_001.0);
    assert_eq!(marked["partial"], true, "{marked}");
    clock.advance(Duration::from_secs(60));
    push(130, 100_200);
    let closed = until(&|candle| candle["closed"] == true && candle["data"]["start"] == BEGIN + 60);
    assert_eq!((&closed["partial"], &closed["data"]["high"]), (&json!(true), &json!(1_001.0)));
    let mended = until(&|candle| candle["revised"] == true);
    assert_eq!((&mended["data"]["start"], &mended["data"]["high"]), (&json!(BEGIN + 60), &json!(1_234.0)), "{mended}");
}
