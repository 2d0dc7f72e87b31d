//! A whole gateway on an upstream that dies, returns, refuses and is full: what tabs and operators see of it.
//!
//! `TICKFAN_SOAK_SECONDS` and `TICKFAN_SOAK_TABS` make the soak longer (two kills, 50 tabs and as many Kite clients by
//! default; 120 and 200 are meant), `TICKFAN_FLOOD_SECONDS` and `TICKFAN_FLOOD_RATE` the flood (2 s of 4,500 ticks/s by default; 60 and 45000, with
//! `--release`).

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::{Client, get};
use support::exchange::Exchange;
use support::gateway::{Running, launch, settings, start};
use support::keys::key_of;
use support::kite_client::{KiteClient, cut, token_of};
use support::kite_server::KiteServer;
use support::sandbox::Stand;
use support::script::Script;
use support::ticks::{INFY, RELIANCE, TCS, full, quote};
use support::{PATIENCE, eventually, eventually_true, size};
use tickfan::assembly;
use tickfan::clock::Clock;
use tickfan::config::{self, Config};
use tickfan::feed::Outage;
use tickfan::feed::kite::Keys;
use tickfan::gateway::{FeedSource, Past, Settings, Upstream};
use tickfan::history::History;
use tickfan::identity::api_key::ApiKeys;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::kite::packet;
use tickfan::market::{Calendar, InstrumentToken, Mode, Tick};
use tickfan::sandbox::Fault;
use tickfan::session::orders::Audience;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

const fn token(at: u32) -> u32 {
    (at + 1) << 8 | 1
}

/// A gateway as the program builds it, on an upstream at `root`, with further flags.
fn on_kite(settings: Settings, root: &str, flags: &[&str]) -> (Running, Arc<Keys>) {
    on_kite_behind(GateSettings::default(), settings, root, flags)
}

/// The same, which asks who its clients are.
fn on_kite_behind(gate: GateSettings, settings: Settings, root: &str, flags: &[&str]) -> (Running, Arc<Keys>) {
    let args = ["tickfan", "--feed", "kite", "--kite-root", root].into_iter().chain(flags.iter().copied());
    let matches = clap::Command::new("tickfan").args(config::args()).get_matches_from(args);
    let env = [("KITE_API_KEY", "key"), ("KITE_ACCESS_TOKEN", "token")];
    let env: &[(&str, &str)] = if flags.contains(&"--kite-credentials-file") { &[] } else { &env };
    let config = Config::load(&matches, env.iter().copied()).unwrap();
    let clock = Clock::system();
    let source = assembly::feed(&config, &clock).unwrap();
    let keys = source.upstream.as_ref().and_then(|upstream| upstream.keys.clone()).unwrap();
    (launch(gate, settings, source, clock, Past::default()), keys)
}

/// A scripted feed with room for so many instruments, and the end of its channel of outages.
fn with_room(script: &Script, capacity: usize) -> (FeedSource, mpsc::Sender<Outage>) {
    let (sender, outages) = mpsc::channel(8);
    let upstream = Upstream { capacity, outages, calendar: Calendar::around_the_clock(), keys: None, notices: None };
    (FeedSource { upstream: Some(upstream), ..script.source(&[]) }, sender)
}

fn upstream(gateway: &Running) -> Value {
    get(gateway.address, "/ws/test").json()["feed"].clone()
}

#[test]
fn a_request_without_room_is_refused_whole_and_names_the_limit() {
    let script = Script::default();
    let (source, _outages) = with_room(&script, 3);
    let gateway = start(settings(), source);
    let (mut one, mut two) = (gateway.client(), gateway.client());
    one.subscribe(&[token(0), token(1)], json!({}));
    let refusal = two.ask(&json!({"action": "subscribe", "tokens": [token(1), token(2), token(3)]}));
    assert_eq!(
        (&refusal["type"], &refusal["field"], &refusal["limit"]),
        (&json!("error"), &json!("tokens"), &json!(3))
    );
    assert!(refusal["error"].as_str().unwrap().contains("1 of the 3 places upstream are free"), "{refusal}");
    two.subscribe(&[token(1), token(2)], json!({}));
    // A refused request leaves what it had.
    assert_eq!(two.ask(&json!({"action": "subscribe", "tokens": [token(1), token(2), token(7)]}))["type"], "error");
    let subscribed =
        |tokens: &[u32]| tokens.iter().map(|token| (*token, tickfan::market::Mode::Quote)).collect::<BTreeMap<_, _>>();
    script.until_wanted(&subscribed(&[token(0), token(1), token(2)]));
    // What one gives up, another may have, although it lingers upstream.
    assert_eq!(one.ask(&json!({"action": "unsubscribe", "tokens": [token(0)]}))["type"], "unsubscribed");
    two.subscribe(&[token(1), token(2), token(7)], json!({}));
    script.until_wanted(&subscribed(&[token(1), token(2), token(7)]));
    one.close();
    two.vanish();
    eventually_true("all places are free", || gateway.app.context.admission.taken() == 0);
}

#[test]
fn one_user_cannot_take_all() {
    let script = Script::default();
    let (source, _outages) = with_room(&script, 100);
    let limits = Settings { upstream_reserve: 10, max_tokens_per_user: 95, ..settings() };
    let gateway = start(limits, source);
    let (mut greedy, mut other) = (gateway.client(), gateway.client());
    let all: Vec<u32> = (0..100).map(token).collect();
    let refusal = greedy.ask(&json!({"action": "subscribe", "tokens": &all}));
    assert!(refusal["error"].as_str().unwrap().contains("at most 95 (max_tokens_per_user)"), "{refusal}");
    let refusal = greedy.ask(&json!({"action": "subscribe", "tokens": &all[..91]}));
    assert!(refusal["error"].as_str().unwrap().contains("(upstream_reserve)"), "{refusal}");
    greedy.subscribe(&all[..90], json!({}));
    other.subscribe(&all[85..95], json!({}));
}

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
    assert_eq!(upstream(&gateway)["diagnosis"], "connected");
    exchange.kill();
    let killed = Instant::now();
    let stale = tab.until("stale");
    println!("stale after {:?}", killed.elapsed());
    assert_eq!(stale["tokens"], json!([token(0).to_string()]));
    assert_eq!(upstream(&gateway)["diagnosis"], "network");
    exchange.restart();
    let fresh = tab.until("fresh");
    assert!(fresh["gap_seconds"].as_f64().unwrap() >= 1.0, "{fresh}");
    tab.until("tick");
    let metrics = get(gateway.address, "/metrics").body;
    assert!(metrics.contains("tickfan_upstream_reconnects_total{socket=\"0\",key=\"0\"} 1\n"), "{metrics}");
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
    peer.send(&support::ticks::message(&[quote(token(0), 5)]));
    assert_eq!(tab.until("tick")["token"], token(0).to_string());
    assert_eq!(upstream(&gateway)["diagnosis"], "connected");
}

#[test]
fn what_the_engine_needs_counts_as_well() {
    let script = Script::default();
    let (source, _outages) = with_room(&script, 2);
    let gateway = start(settings(), source);
    let (mut one, mut two) = (gateway.client(), gateway.client());
    let alert = |token: u32| {
        let crossing = json!({"type": "price_cross", "token": token, "params": {"threshold": 1.0}});
        json!({"action": "register_alert", "alert": crossing})
    };
    one.subscribe(&[INFY], json!({"timeframes": ["1min"]}));
    let id = one.ask(&alert(RELIANCE))["alert_id"].clone();
    assert!(id.is_string());
    // What somebody has costs nothing; another instrument finds no room, whatever wants it.
    assert_eq!(two.ask(&alert(INFY))["type"], "alert_registered");
    let history = json!({"action": "history", "token": TCS, "timeframe": "1min"});
    let candles = json!({"action": "subscribe", "tokens": [TCS], "timeframes": ["1min"]});
    for (request, field) in [(alert(TCS), "alert.token"), (history.clone(), "token"), (candles.clone(), "tokens")] {
        let refusal = two.ask(&request);
        assert_eq!(
            (&refusal["type"], &refusal["field"], &refusal["limit"]),
            (&json!("error"), &json!(field), &json!(2))
        );
        let text = refusal["error"].as_str().unwrap();
        assert!(text.contains("0 of the 2 places upstream are free"), "{refusal}");
    }
    assert_eq!(one.ask(&json!({"action": "remove_alert", "alert_id": id}))["type"], "alert_removed");
    assert_eq!(two.ask(&history)["type"], "history");
    // A history is given back at once.
    assert_eq!(two.ask(&candles)["type"], "subscribed");
    assert_eq!(gateway.app.context.admission.taken(), 2);
    one.close();
    two.vanish();
    eventually_true("all places are free", || gateway.app.context.admission.taken() == 0);
}

#[test]
fn orders_reach_the_owner_s_kite_clients_byte_by_byte_and_nobody_else() {
    const ORDERS: usize = 100;
    let stand = Stand::new(|_| {});
    let (owner, owner_entry) = key_of("owner", Some(&["segment:*", "mode:full", "account:owner"]));
    let (other, other_entry) = key_of("other", Some(&["segment:*", "mode:full", "stream:all", "indicators"]));
    let api_keys = ApiKeys::new([owner_entry, other_entry]).unwrap();
    let gate = GateSettings { policy: Policy::Required, api_keys, ..GateSettings::default() };
    let (gateway, _) = on_kite_behind(gate, settings(), &stand.sandbox.root(), &[]);
    let connect = |key: &str| {
        let mut client = KiteClient::connect_to(gateway.address, &format!("/kite?api_key=any&access_token={key}"));
        assert_eq!(client.texts_so_far(), ["instruments_meta", "app_code"]);
        client
    };
    let (mut silent, mut busy, mut stranger) = (connect(&owner), connect(&owner), connect(&other));
    let mut tab = Client::knock(gateway.address, &format!("/ws/stream?api_key={owner}"), &[]).unwrap();
    tab.subscribe(&[INFY, RELIANCE], json!({"mode": "full"}));
    for client in [&mut busy, &mut stranger] {
        client.mode("full", &[INFY, RELIANCE]);
        client.until_packet_of(RELIANCE);
    }
    let text =
        |number: usize| format!(r#"{{ "type":"order","data": {{"order_id":"{number}","price":1.50,"x":"₹"}} }}"#);
    for number in 0..ORDERS {
        assert_eq!(stand.inject(Fault::Order { text: text(number) }), 1);
    }
    // One is subscribed to nothing, the other is in the middle of ticks.
    for client in [&mut silent, &mut busy] {
        for number in 0..ORDERS {
            assert_eq!(client.raw_text(), text(number), "all of them, in order");
        }
    }
    assert!(stranger.texts_so_far().is_empty());
    for _ in 0..200 {
        assert!(["tick", "conflated"].contains(&tab.next()["type"].as_str().unwrap()));
    }
    let metrics = get(gateway.address, "/metrics").body;
    for line in
        ["tickfan_orders_total 100\n", "tickfan_order_deliveries_total 200\n", "tickfan_orders_unheard_total 0\n"]
    {
        assert!(metrics.contains(line), "{line}");
    }
}

#[test]
fn without_authentication_orders_reach_nobody_unless_a_setting_says_so() {
    for (orders_to, delivered) in [(Audience::Owners, 0), (Audience::Everybody, 1), (Audience::Nobody, 0)] {
        let stand = Stand::new(|_| {});
        let (gateway, _) = on_kite(Settings { orders_to, ..settings() }, &stand.sandbox.root(), &[]);
        let mut client = KiteClient::connect(gateway.address);
        client.mode("ltp", &[INFY]);
        client.until_packet_of(INFY);
        stand.inject(Fault::Order { text: r#"{"type":"order","data":{}}"#.into() });
        let orders = &gateway.app.context.orders;
        eventually_true("the order came", || orders.deliveries.load(SeqCst) + orders.unheard.load(SeqCst) == 1);
        assert_eq!((orders.deliveries.load(SeqCst), orders.unheard.load(SeqCst)), (delivered, 1 - delivered));
        let orders = client.texts_so_far().into_iter().filter(|kind| kind == "order").count();
        assert_eq!(orders as u64, delivered, "{orders_to:?}");
    }
}

fn bytes(tick: &Tick) -> Vec<u8> {
    let mut out = Vec::new();
    packet::encode(tick, &mut out);
    out
}

#[test]
fn a_gateway_on_a_gateway_is_as_good_as_one_on_kite() {
    let script = Script::default();
    let first = start(settings(), script.source(&[]));
    let address = first.address;
    let (second, _) = on_kite(settings(), &format!("ws://{address}/kite"), &[]);
    let mut client = KiteClient::connect(second.address);
    client.ask("subscribe", &[INFY, TCS]);
    client.mode("full", &[INFY]);
    let mut tab = second.client();
    tab.subscribe(&[RELIANCE], json!({"mode": "ltp"}));
    let wanted = |modes: &[(u32, Mode)]| modes.iter().copied().collect::<BTreeMap<_, _>>();
    let all = wanted(&[(INFY, Mode::Full), (TCS, Mode::Quote), (RELIANCE, Mode::Ltp)]);
    script.until_wanted(&all);
    for number in 1..=50 {
        script.push(&[full(INFY, number), quote(TCS, number), full(RELIANCE, number)]);
        assert_eq!(client.until_packet_of(INFY), bytes(&full(INFY, number)));
        let tick = tab.until("tick");
        assert_eq!((&tick["token"], &tick["mode"]), (&json!(RELIANCE.to_string()), &json!("ltp")));
    }
    eventually_true("heartbeats go through", || {
        let counters = second.app.feed_counters.list();
        counters.iter().any(|counter| counter.name == "heartbeats" && counter.value > 0)
    });
    client.mode("ltp", &[INFY]);
    client.ask("unsubscribe", &[TCS]);
    let fewer = wanted(&[(INFY, Mode::Ltp), (RELIANCE, Mode::Ltp)]);
    script.until_wanted(&fewer);
    // The first ends and comes back at the same address.
    first.stop();
    let stale = tab.until("stale");
    assert_eq!(stale["tokens"], json!([RELIANCE.to_string()]));
    let again = Script::default();
    let _first = start(Settings { listen: address, ..settings() }, again.source(&[]));
    again.until_wanted(&fewer);
    again.push(&[full(INFY, 100), full(RELIANCE, 100)]);
    let ltp = Tick { mode: Mode::Ltp, ..full(INFY, 100) };
    while client.until_packet_of(INFY) != bytes(&ltp) {}
    assert_eq!(tab.until("fresh")["tokens"], json!([RELIANCE.to_string()]));
    again.push(&[full(RELIANCE, 101)]);
    while tab.until("tick")["price"] != 1_001.01 {}
    assert_eq!(upstream(&second)["diagnosis"], "connected");
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

/// What the tabs of the soak share.
struct Soak {
    stop: AtomicBool,
    /// Counts recoveries; a tab reports each once.
    recovery: AtomicU32,
    /// The first round after the recovery.
    round: AtomicU32,
    /// Tabs that are current again.
    current: AtomicUsize,
    ticks: AtomicU64,
    told: AtomicUsize,
}

/// One tab of the soak: nothing goes back, nothing closes.
fn soak_tab(mut client: Client, mine: &[u32], soak: &Soak) {
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    let mut reported = 0;
    while !soak.stop.load(SeqCst) {
        // A closed socket fails here.
        let Some(message) = client.next_within(Duration::from_millis(100)) else { continue };
        match message["type"].as_str() {
            Some("tick") => {
                let token: u32 = message["token"].as_str().unwrap().parse().unwrap();
                assert!(mine.contains(&token), "{message}");
                let number = (message["price"].as_f64().unwrap() * 100.0).round() as u32;
                let before = last.insert(token, number);
                assert!(before.is_none_or(|before| before <= number), "{token} goes back from {before:?} to {number}");
                soak.ticks.fetch_add(1, SeqCst);
            }
            Some("stale" | "fresh") => {
                soak.told.fetch_add(1, SeqCst);
            }
            Some("conflated" | "heartbeat") => {}
            _ => panic!("not asked for: {message}"),
        }
        let recovery = soak.recovery.load(SeqCst);
        let round = soak.round.load(SeqCst);
        if reported < recovery && last.len() == mine.len() && last.values().all(|number| *number > round) {
            reported = recovery;
            soak.current.fetch_add(1, SeqCst);
        }
    }
}

/// One Kite client of the soak: the same of it.
fn soak_kite(mut client: KiteClient, mine: &[u32], soak: &Soak) {
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    let mut reported = 0;
    while !soak.stop.load(SeqCst) {
        // A closed socket fails here. Heartbeats come once a second.
        match client.next() {
            // The server's own sign of life every 25 s; reading has answered it.
            Message::Ping(_) => {}
            Message::Binary(bytes) if *bytes == [0] => {}
            Message::Binary(bytes) => {
                for packet in cut(&bytes) {
                    let token = token_of(&packet);
                    assert!(mine.contains(&token) && packet.len() == 184, "{token}: {} bytes", packet.len());
                    let number = u32::from_be_bytes(packet[4..8].try_into().unwrap());
                    let before = last.insert(token, number);
                    assert!(
                        before.is_none_or(|before| before <= number),
                        "{token} goes back from {before:?} to {number}"
                    );
                    soak.ticks.fetch_add(1, SeqCst);
                }
            }
            Message::Text(text) => {
                let kind = serde_json::from_str::<Value>(&text).unwrap()["type"].clone();
                assert!(["instruments_meta", "app_code"].contains(&kind.as_str().unwrap()), "{text}");
            }
            other => panic!("not asked for: {other:?}"),
        }
        let recovery = soak.recovery.load(SeqCst);
        let round = soak.round.load(SeqCst);
        if reported < recovery && last.len() == mine.len() && last.values().all(|number| *number > round) {
            reported = recovery;
            soak.current.fetch_add(1, SeqCst);
        }
    }
}

#[test]
fn the_upstream_is_killed_every_five_seconds_and_no_tab_notices_more_than_a_pause() {
    const INSTRUMENTS: u32 = 200;
    let seconds = size("TICKFAN_SOAK_SECONDS", 10);
    let tabs = size("TICKFAN_SOAK_TABS", 50) as usize;
    let exchange = Exchange::start(Duration::from_millis(200));
    // On two sockets, so that more than one is killed.
    let (gateway, _) = on_kite(settings(), &exchange.root, &["--kite-max-tokens", "100"]);
    let soak = Arc::new(Soak {
        stop: AtomicBool::new(false),
        recovery: AtomicU32::new(0),
        round: AtomicU32::new(0),
        current: AtomicUsize::new(0),
        ticks: AtomicU64::new(0),
        told: AtomicUsize::new(0),
    });
    let threads: Vec<_> = (0..tabs as u32)
        .flat_map(|tab| {
            let mine: Vec<u32> = (0..20).map(|at| token((tab * 7 + at * 10) % INSTRUMENTS)).collect();
            let mut client = gateway.client();
            client.subscribe(&mine, json!({"mode": "full"}));
            let mut kite = KiteClient::connect(gateway.address);
            kite.mode("full", &mine);
            let (own, soak, other) = (mine.clone(), Arc::clone(&soak), Arc::clone(&soak));
            let tab = std::thread::spawn(move || soak_tab(client, &own, &soak));
            [tab, std::thread::spawn(move || soak_kite(kite, &mine, &other))]
        })
        .collect();
    let clients = threads.len();
    eventually_true("all is subscribed", || exchange.subscribed() == INSTRUMENTS.min(tabs as u32 * 20) as usize);
    let began = Instant::now();
    let (mut worst, mut kills) = (Duration::ZERO, 0);
    while kills < seconds / 5 {
        kills += 1;
        std::thread::sleep((began + Duration::from_secs(5) * kills as u32).saturating_duration_since(Instant::now()));
        exchange.kill();
        // Every other time long enough that it is told.
        std::thread::sleep(Duration::from_millis(if kills % 2 == 0 { 1_700 } else { 300 }));
        soak.current.store(0, SeqCst);
        soak.round.store(exchange.round(), SeqCst);
        soak.recovery.fetch_add(1, SeqCst);
        let restarted = Instant::now();
        exchange.restart();
        while soak.current.load(SeqCst) < clients {
            assert!(threads.iter().all(|client| !client.is_finished()), "a client has failed, see above");
            let current = soak.current.load(SeqCst);
            assert!(
                restarted.elapsed() < PATIENCE,
                "kill {kills}: {current} of {clients} are current; {}",
                upstream(&gateway)
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        worst = worst.max(restarted.elapsed());
    }
    soak.stop.store(true, SeqCst);
    threads.into_iter().for_each(|tab| tab.join().unwrap());
    let feed = upstream(&gateway);
    println!(
        "{kills} kills under {tabs} tabs and {tabs} Kite clients: current again within {worst:?}; {} ticks, {} notices, {} old packets left out",
        soak.ticks.load(SeqCst),
        soak.told.load(SeqCst),
        feed["outdated_packets"]
    );
    assert_eq!(exchange.doubled(), 0, "no token is subscribed twice");
    assert!(feed["outdated_packets"].as_u64().unwrap() > 0, "the exchange did send old packets");
    assert!(soak.told.load(SeqCst) >= tabs, "the longer outages are told");
    if seconds >= 120 {
        assert!(worst < Duration::from_secs(2), "{worst:?}");
    }
}

/// Processor time of this process's threads whose name begins so.
fn cpu_time(name: &str) -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
        if stat[open + 1..close].starts_with(name) {
            let times: Vec<u64> = stat[close + 2..].split(' ').skip(11).take(2).map(|n| n.parse().unwrap()).collect();
            ticks += times.iter().sum::<u64>();
        }
    }
    // Linux counts in hundredths of a second for user space on every architecture.
    Duration::from_millis(ticks * 10)
}

#[test]
fn nothing_of_a_flood_over_three_sockets_is_lost() {
    const INSTRUMENTS: u32 = 9_000;
    let seconds = size("TICKFAN_FLOOD_SECONDS", 2);
    let rate = size("TICKFAN_FLOOD_RATE", 4_500);
    let exchange = Exchange::start(Duration::from_secs_f64(f64::from(INSTRUMENTS) / rate as f64));
    let (gateway, _) = on_kite(settings(), &exchange.root, &[]);
    let mut tabs = Vec::new();
    for part in 0..9 {
        let mut tab = gateway.client();
        let mine: Vec<u32> = (part * 1_000..(part + 1) * 1_000).map(token).collect();
        tab.subscribe(&mine, json!({"mode": "full", "throttle_ms": 1_000, "batch": true, "batch_size": 100}));
        tabs.push(tab);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = tabs
        .into_iter()
        .map(|mut tab| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(SeqCst) {
                    tab.next_within(Duration::from_millis(100));
                }
            })
        })
        .collect();
    eventually_true("all is subscribed", || exchange.subscribed() == INSTRUMENTS as usize);
    assert_eq!(exchange.sockets(), 3);
    // From here on every packet counts.
    let (sent, cpu, began) = (exchange.packets(), cpu_time("tickfan-duty"), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let (lasted, spent) = (began.elapsed(), cpu_time("tickfan-duty") - cpu);
    exchange.halt();
    std::thread::sleep(Duration::from_millis(100));
    let flood = exchange.packets() - sent;
    let feed = &gateway.app.feed_counters;
    eventually_true("every packet sent was stored, or left out by rule", || {
        let feed_state = upstream(&gateway);
        let left_out =
            feed_state["outdated_packets"].as_u64().unwrap() + feed_state["unwanted_packets"].as_u64().unwrap();
        feed.ticks.get() + left_out == exchange.packets()
    });
    let feed_state = upstream(&gateway);
    println!(
        "{INSTRUMENTS} instruments on {} sockets: {:.0} ticks/s for {lasted:.1?}, none lost; the data plane took {:.0} % of a core",
        exchange.sockets(),
        flood as f64 / lasted.as_secs_f64(),
        100.0 * spent.as_secs_f64() / lasted.as_secs_f64(),
    );
    assert_eq!((exchange.doubled(), feed_state["reconnects"].as_u64()), (0, Some(0)));
    assert!(feed_state["sockets"].as_array().unwrap().iter().all(|socket| socket["subscribed"] == 3_000));
    stop.store(true, SeqCst);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}
