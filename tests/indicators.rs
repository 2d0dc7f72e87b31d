//! Indicators over the wire: sessions of their own (v2), clients of API keys (legacy), HTTP.

mod support;

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use support::client::{Answer, Client, request};
use support::gateway::{Running, settings, start_behind, start_behind_with};
use support::keys::{claims, now};
use support::script::Script;
use support::ticks::{INFY, RELIANCE};
use support::{eventually, eventually_true};
use tickfan::feed::market;
use tickfan::gateway::{Past, Settings};
use tickfan::history::History;
use tickfan::identity::api_key::{self, ApiKeyEntry, ApiKeys};
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::identity::issuer::IssuerSettings;
use tickfan::identity::key::Key;
use tickfan::market::indicator::{Indicator, IndicatorId};
use tickfan::market::{Calendar, Candle, InstrumentToken, Mode, Tick};
use tickfan::session::indicators::IndicatorLimits;

const SECRET: &[u8] = b"a shared secret of more than 32 bytes";
const MINUTES: u64 = 700;

fn issuer() -> IssuerSettings {
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

fn token(user: &str, changes: Value) -> String {
    let key = EncodingKey::from_secret(SECRET);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(user, changes), &key).unwrap()
}

fn by_secret() -> GateSettings {
    GateSettings { policy: Policy::Required, issuers: vec![issuer()], ..GateSettings::default() }
}

/// A key of `client`, and its entry.
fn key_of(client: &str) -> (String, ApiKeyEntry) {
    let (key, hash) = api_key::generate();
    let id = api_key::id_of(&key).unwrap().to_owned();
    (key, ApiKeyEntry { id, client: client.into(), hash, permissions: None })
}

fn quick() -> Settings {
    let mut settings = settings();
    settings.engine.forming_ns = 1_000_000;
    settings
}

/// A gateway with the minutes before now of INFY and RELIANCE as its history.
struct Bench {
    gateway: Running,
    script: Script,
    closed: Vec<Candle>,
    sent: std::cell::Cell<u32>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(gate: GateSettings) -> Self {
        Self::with(gate, quick())
    }

    fn with(gate: GateSettings, mut settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let begin = (now() / 60 - MINUTES) * 60;
        let mut csv = String::from("timestamp,open,high,low,close,volume\n");
        let mut closed = Vec::new();
        for minute in 0..MINUTES {
            let (start, price) = (begin + minute * 60, 1_500 + minute * minute % 37);
            writeln!(csv, "{start},{price},{},{},{price}.5,{minute}", price + 2, price - 2).unwrap();
            let raw = price as i32 * 100;
            let (start, end) = (start as i64, start as i64 + 60);
            let bar = Candle::historical(start, end, raw, raw + 200, raw - 200, raw + 50);
            closed.push(Candle { volume: minute, ..bar });
        }
        for symbol in ["INFY", "RELIANCE"] {
            std::fs::write(folder.path().join(format!("NSE_{symbol}_1min.csv")), &csv).unwrap();
        }
        let history = History::folder(folder.path().to_owned(), Arc::new(Calendar::around_the_clock())).unwrap();
        settings.engine.history = true;
        let script = Script::default();
        let gateway = start_behind_with(gate, settings, script.source(&[]), Past { history, ..Past::default() });
        Self { gateway, script, closed, sent: 0.into(), _folder: folder }
    }

    /// A tab of a session of its own, behind its greeting.
    #[track_caller]
    fn tab(&self, user: &str) -> Client {
        let (tab, greeting) = v2(&self.gateway, &token(user, json!({"jti": null})));
        assert_eq!(greeting["type"], "success", "{greeting}");
        tab
    }

    #[track_caller]
    fn client(&self, key: &str) -> Client {
        let mut tab = Client::knock(self.gateway.address, &format!("/indicators/stream?api_key={key}"), &[]).unwrap();
        assert_eq!(tab.next()["type"], "success");
        tab
    }

    /// A trade of both instruments now, at a price that was not there before.
    fn trade(&self) {
        self.sent.set(self.sent.get() + 1);
        let number = self.sent.get();
        let tick = |token| Tick {
            mode: Mode::Full,
            volume_traded: number,
            last_trade_time: now() as u32,
            exchange_timestamp: now() as u32,
            ..Tick::ltp(InstrumentToken(token), 160_000 + number as i32 * 5)
        };
        self.script.push(&[tick(INFY), tick(RELIANCE)]);
    }

    /// Trades until a tab gets an update that satisfies.
    #[track_caller]
    fn until(&self, tab: &mut Client, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually("an update", || {
            self.trade();
            tab.next_within(Duration::from_millis(20)).filter(&wanted)
        })
    }

    /// All of a tab's updates while so many trades happen.
    #[track_caller]
    fn updates(&self, tab: &mut Client, trades: usize) -> Vec<Value> {
        let mut all = Vec::new();
        for _ in 0..trades {
            self.trade();
            while let Some(message) = tab.next_within(Duration::from_millis(10)) {
                all.push(message);
            }
        }
        assert!(all.iter().all(|message| message["type"] == "indicator_update"), "{all:?}");
        all
    }

    #[track_caller]
    fn get(&self, credential: &str, path: &str) -> Answer {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {credential}\r\nConnection: close\r\n\r\n"
        );
        request(self.gateway.address, &head)
    }

    #[track_caller]
    fn post(&self, credential: &str, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {credential}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        request(self.gateway.address, &head)
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.gateway.app.context.engine.counters().list();
        counters.iter().find(|counter| counter.name == name).unwrap().value
    }
}

/// A session and its greeting.
#[track_caller]
fn v2(gateway: &Running, token: &str) -> (Client, Value) {
    let mut tab = Client::knock(gateway.address, &format!("/indicators/v2/stream?token={token}"), &[]).unwrap();
    let greeting = tab.next();
    (tab, greeting)
}

fn subscribe(symbol: &str, timeframe: &str, indicators: Value) -> Value {
    json!({"action": "subscribe", "symbol": symbol, "timeframe": timeframe, "indicators": indicators})
}

/// Says something, and returns its answer and the updates before it.
#[track_caller]
fn ask(tab: &mut Client, request: &Value) -> (Value, Vec<Value>) {
    tab.say(request);
    let mut updates = Vec::new();
    loop {
        let message = tab.next();
        if message["type"] != "indicator_update" {
            return (message, updates);
        }
        updates.push(message);
    }
}

/// Subscribes, again and again until everything is known: the history is loaded meanwhile.
#[track_caller]
fn subscribe_warm(tab: &mut Client, request: &Value) -> (Value, Vec<Value>) {
    eventually("the history is loaded", || {
        let (reply, updates) = ask(tab, request);
        assert_eq!(reply["type"], "success", "{reply}");
        let values = reply["data"]["initial_values"].as_object().unwrap();
        values.values().all(|value| !value.is_null()).then_some((reply.clone(), updates))
    })
}

fn ids(updates: &[Value]) -> HashSet<&str> {
    updates.iter().map(|update| update["indicator_id"].as_str().unwrap()).collect()
}

// ---- The table of the contract, row by row ---------------------------------------------------------------------------

#[test]
fn a_session_is_greeted_and_each_request_is_answered_as_the_contract_says() {
    let bench = Bench::new(by_secret());
    let (mut tab, greeting) = v2(&bench.gateway, &token("ann@x", json!({})));
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
    let updates = bench.updates(&mut tab, 10);
    assert_eq!(ids(&updates), HashSet::from(["EMA_9", "MACD_12_26_9"]));
    assert!(updates.iter().any(|update| update["symbol"] == "nse:infy" && update["timeframe"] == "1minute"));

    let part = json!({"action": "unsubscribe", "symbol": "INFY", "timeframe": "5", "indicators": ["macd"]});
    let (reply, _) = ask(&mut tab, &part);
    assert_eq!(
        (&reply["message"], &reply["data"]["indicators_removed"]),
        (&json!("Unsubscribed from 1 indicator"), &json!(["MACD_12_26_9"]))
    );
    assert_eq!(ids(&bench.updates(&mut tab, 5)), HashSet::from(["EMA_9"]));
    let (reply, _) = ask(&mut tab, &json!({"action": "unsubscribe"}));
    assert_eq!(reply["message"], "Unsubscribed from all indicators");
    assert_eq!(reply["data"]["status"], "unsubscribed");
    assert_eq!((&reply["data"]["ws_conn_id"], &reply["data"]["indicators_removed"]), (&json!(id), &json!(["EMA_9"])));
    assert!(bench.updates(&mut tab, 5).is_empty());

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
    let bench = Bench::with(by_secret(), settings);
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
    let (key, entry) = key_of("desk");
    let api_keys = ApiKeys::new([entry]).unwrap();
    let bench = Bench::new(GateSettings { policy: Policy::Off, api_keys, ..by_secret() });
    let stream = "/indicators/v2/stream";
    assert_eq!(closes(&bench.gateway, stream), policy("Missing JWT token"));
    for (changes, reason) in [
        (json!({"exp": now() - 60}), "Token expired"),
        (json!({"aud": "others"}), "Invalid token audience"),
        (json!({"iss": "others"}), "Invalid token issuer"),
    ] {
        let path = format!("{stream}?token={}", token("ann@x", changes));
        assert_eq!(closes(&bench.gateway, &path), policy(reason));
    }
    assert_eq!(closes(&bench.gateway, &format!("{stream}?token=nonsense")), policy("Invalid token"));
    assert_eq!(closes(&bench.gateway, &format!("{stream}?api_key={key}")), policy("Invalid token"));
    let legacy = "/indicators/stream";
    assert_eq!(closes(&bench.gateway, legacy), policy("Invalid API key"));
    assert_eq!(closes(&bench.gateway, &format!("{legacy}?api_key=sb_12345678_x")), policy("Invalid API key"));
    let path = format!("{legacy}?api_key={}", token("ann@x", json!({})));
    assert_eq!(closes(&bench.gateway, &path), policy("Invalid API key"));

    // A header, and the first message where that is announced.
    let good = token("ann@x", json!({}));
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
    let bench = Bench::new(by_secret());
    let words = |words: Value| token("ann@x", json!({"permissions": words, "jti": null}));
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
    assert!(bench.updates(&mut tab, 3).is_empty());
}

// ---- Who gets what ---------------------------------------------------------------------------------------------------

#[test]
fn one_tab_gets_what_it_asked_for() {
    let bench = Bench::new(by_secret());
    let mut tab = bench.tab("ann@x");
    subscribe_warm(&mut tab, &subscribe("INFY", "1min", json!(["RSI_14", "SMA_20"])));
    let updates = bench.updates(&mut tab, 20);
    assert_eq!(ids(&updates), HashSet::from(["RSI_14", "SMA_20"]));
}

#[test]
fn two_tabs_of_one_user_share_nothing() {
    let bench = Bench::new(by_secret());
    let (mut one, mut two) = (bench.tab("ann@x"), bench.tab("ann@x"));
    subscribe_warm(&mut one, &subscribe("INFY", "1min", json!(["RSI_14"])));
    subscribe_warm(&mut two, &subscribe("INFY", "1min", json!(["SMA_20"])));
    assert_eq!(ids(&bench.updates(&mut one, 10)), HashSet::from(["RSI_14"]));
    assert_eq!(ids(&bench.updates(&mut two, 10)), HashSet::from(["SMA_20"]));
    one.close();
    eventually_true("the first has gone", || bench.counter("listeners") == 1);
    assert_eq!(ids(&bench.updates(&mut two, 10)), HashSet::from(["SMA_20"]));
}

#[test]
fn two_users_share_a_computation_and_nothing_else() {
    let bench = Bench::new(by_secret());
    let (mut ann, mut bob) = (bench.tab("ann@x"), bench.tab("bob@x"));
    let reply = ask(&mut ann, &subscribe("INFY", "1min", json!(["RSI_14"]))).0;
    assert_eq!(reply["type"], "success");
    let started = bench.counter("started");
    // Other words for the same.
    subscribe_warm(&mut bob, &subscribe("nse:infy", "1", json!([{"name": "rsi"}])));
    assert_eq!((bench.counter("started"), bench.counter("computations")), (started, 1), "computed once");
    let health = bench.get("", "/indicators/v2/health").json();
    assert_eq!((&health["status"], &health["active_sessions"]), (&json!("healthy"), &json!(2)));
    assert_eq!((&health["unique_indicators"], &health["unique_users"]), (&json!(1), &json!(2)));
    let stats = bench.get("", "/indicators/v2/stats").json();
    assert_eq!((&stats["total_connections"], &stats["total_unique_indicators"]), (&json!(2), &json!(1)));
    assert_eq!((&stats["total_unique_users"], &stats["indicators_by_symbol"]), (&json!(2), &json!({"INFY": 1})));
    assert!(stats["timestamp"].as_str().unwrap().ends_with('Z'));

    let of_ann = bench.updates(&mut ann, 10);
    assert!(of_ann.iter().all(|update| update["symbol"] == "INFY" && update["timeframe"] == "1min"), "{of_ann:?}");
    let of_bob = bench.updates(&mut bob, 10);
    assert!(!of_bob.is_empty());
    assert!(of_bob.iter().all(|update| update["symbol"] == "nse:infy" && update["timeframe"] == "1"), "{of_bob:?}");
    drop((ann, bob));
    eventually_true("nothing is computed for nobody", || bench.counter("computations") == 0);
    assert_eq!(bench.get("", "/indicators/v2/health").json()["unique_indicators"], 0);
    bench.gateway.until_empty();
}

#[test]
fn all_connections_of_a_client_share_what_it_has() {
    let ((one_key, one), (other_key, other)) = (key_of("desk-1"), key_of("desk-2"));
    let api_keys = ApiKeys::new([one, other]).unwrap();
    let bench = Bench::new(GateSettings { policy: Policy::Required, api_keys, ..GateSettings::default() });
    let (mut first, mut second) = (bench.client(&one_key), bench.client(&one_key));
    let mut stranger = bench.client(&other_key);
    let (reply, _) = subscribe_warm(&mut first, &subscribe("INFY", "1min", json!(["SMA_20", "RSI_14"])));
    assert_eq!(reply["data"]["subscriptions"], json!(["SMA_20", "RSI_14"]));
    assert!(reply["data"]["initial_values"]["SMA_20"].is_number());
    for tab in [&mut first, &mut second] {
        assert_eq!(ids(&bench.updates(tab, 10)), HashSet::from(["RSI_14", "SMA_20"]));
    }
    assert!(bench.updates(&mut stranger, 3).is_empty());
    assert_eq!(bench.counter("computations"), 2);
    // One that comes later finds it, and the values that are known.
    let mut third = bench.client(&one_key);
    assert_eq!(ids(&bench.updates(&mut third, 3)), HashSet::from(["RSI_14", "SMA_20"]));
    // Whoever takes away takes it from all.
    let part = json!({"action": "unsubscribe", "symbol": "INFY", "timeframe": "1m", "indicators": ["RSI_14"]});
    let (reply, _) = ask(&mut second, &part);
    assert_eq!(
        (&reply["message"], &reply["data"]["unsubscribed"]),
        (&json!("Unsubscribed from 1 indicator"), &json!(["RSI_14"]))
    );
    first.close();
    while third.next_within(Duration::from_millis(50)).is_some() {}
    assert_eq!(ids(&bench.updates(&mut third, 5)), HashSet::from(["SMA_20"]));
    // By HTTP too.
    let body = json!({"symbol": "RELIANCE", "timeframe": "1min", "indicators": ["EMA_9"]});
    let answer = bench.post(&one_key, "/indicators/subscribe", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["data"]["subscriptions"], json!(["EMA_9"]));
    assert!(answer.json()["data"]["initial_values"]["EMA_9"].is_number(), "{answer:?}");
    bench.until(&mut third, |update| update["indicator_id"] == "EMA_9" && update["symbol"] == "RELIANCE");
    drop((second, third));
    // It is kept for a client that comes back at once.
    let mut again = bench.client(&one_key);
    assert_eq!(ids(&bench.updates(&mut again, 5)), HashSet::from(["SMA_20", "EMA_9"]));
    let answer = bench.post(&one_key, "/indicators/unsubscribe", &json!({}));
    assert_eq!(answer.json()["message"], "Unsubscribed from 2 indicators");
    while again.next_within(Duration::from_millis(50)).is_some() {}
    assert!(bench.updates(&mut again, 3).is_empty());
}

/// Every tab owns some instruments, whose prices lie where no other's do, and asks in words of its own.
#[test]
fn whatever_happens_no_tab_gets_another_s_values() {
    const TABS: usize = 6;
    const EACH: usize = 4;
    const ROUNDS: usize = 2_500;
    let script = Script::default();
    let gateway = start_behind(by_secret(), quick(), script.source(&[]));
    let shares: Vec<_> =
        market::listings(market::built_in_count()).into_iter().filter(|one| one.segment == "NSE").collect();
    let base = |at: usize| 10_000 + at as i32 * 1_000;
    let mut state = 42u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut volume = 0;
    let mut trade = |jitter: usize| {
        volume += 1;
        let ticks: Vec<_> = (0..TABS * EACH)
            .map(|at| Tick {
                mode: Mode::Full,
                volume_traded: volume,
                last_trade_time: now() as u32,
                exchange_timestamp: now() as u32,
                ..Tick::ltp(shares[at].token, base(at) + ((volume as usize * 7 + jitter) % 900) as i32)
            })
            .collect();
        script.push(&ticks);
    };
    struct TabState {
        client: Client,
        /// What may come: symbol, timeframe, indicator.
        mine: HashSet<(String, String, String)>,
        got: usize,
    }
    let connect = |at: usize| {
        let (client, _) = v2(&gateway, &token(&format!("user-{}", at / 2), json!({"jti": null})));
        TabState { client, mine: HashSet::new(), got: 0 }
    };
    let spelling = |tab: usize, own: usize| {
        let symbol = &shares[tab * EACH + own].symbol;
        if tab.is_multiple_of(2) { format!("NSE:{symbol}") } else { symbol.to_lowercase() }
    };
    let words = |tab: usize| if tab.is_multiple_of(3) { ["1m", "5m", "1D"] } else { ["1", "5min", "day"] };
    let all = ["VWAP", "SMA_2", "EMA_2", "DC_2", "BBANDS_2_2"];
    let check = |tab: usize, state: &mut TabState, message: &Value, foreign: &HashSet<(String, String, String)>| {
        let text = |name: &str| message[name].as_str().unwrap().to_owned();
        let key = (text("symbol"), text("timeframe"), text("indicator_id"));
        assert!(state.mine.contains(&key) || foreign.contains(&key), "tab {tab} never asked for it: {message}");
        let own = (0..EACH).find(|own| spelling(tab, *own) == key.0).unwrap();
        let value = if message["value"].is_object() { &message["value"]["middle"] } else { &message["value"] };
        if let Some(value) = value.as_f64() {
            let least = f64::from(base(tab * EACH + own)) / 100.0;
            assert!((least..least + 10.0).contains(&value), "tab {tab} got a value of another's: {message}");
            state.got += 1;
        }
    };
    let mut tabs: Vec<TabState> = (0..TABS).map(connect).collect();
    let mut got = 0;
    for round in 0..ROUNDS {
        trade(random(900));
        let at = random(TABS);
        if random(40) == 0 {
            let old = std::mem::replace(&mut tabs[at], connect(at));
            got += old.got;
            if random(2) == 0 {
                old.client.close()
            } else {
                old.client.vanish()
            }
            continue;
        }
        let tab = &mut tabs[at];
        let (symbol, timeframe) = (spelling(at, random(EACH)), words(at)[random(3)].to_owned());
        let chosen: Vec<&str> = all.iter().filter(|_| random(2) == 0).copied().collect();
        let named = |key: &(String, String, String)| key.0 == symbol && key.1 == timeframe;
        // What the request takes away may still come, until it is answered.
        let before = tab.mine.clone();
        let request = match random(3) {
            0 if random(4) == 0 => {
                tab.mine.clear();
                json!({"action": "unsubscribe"})
            }
            0 => {
                tab.mine.retain(|key| !(named(key) && (chosen.is_empty() || chosen.contains(&key.2.as_str()))));
                let mut request = json!({"action": "unsubscribe", "symbol": symbol, "timeframe": timeframe});
                if !chosen.is_empty() {
                    request["indicators"] = json!(chosen);
                }
                request
            }
            _ if chosen.is_empty() => json!({"action": "ping"}),
            _ => {
                tab.mine.retain(|key| !named(key));
                tab.mine.extend(chosen.iter().map(|id| (symbol.clone(), timeframe.clone(), (*id).to_owned())));
                subscribe(&symbol, &timeframe, json!(chosen))
            }
        };
        tab.client.say(&request);
        loop {
            let message = tab.client.next();
            if message["type"] != "indicator_update" {
                assert!(
                    message["type"] == "success" || message["type"] == "pong",
                    "round {round}: {request} {message}"
                );
                break;
            }
            check(at, tab, &message, &before);
        }
        if round % 50 == 0 {
            // Whatever has come meanwhile, to all.
            for (at, tab) in tabs.iter_mut().enumerate() {
                tab.client.say(&json!({"action": "ping"}));
                loop {
                    let message = tab.client.next();
                    if message["type"] == "pong" {
                        break;
                    }
                    check(at, tab, &message, &HashSet::new());
                }
            }
        }
    }
    got += tabs.iter().map(|tab| tab.got).sum::<usize>();
    println!("{got} values checked in {ROUNDS} rounds");
    assert!(got > ROUNDS, "only {got} values came: this proves nothing");
    drop(tabs);
    gateway.until_empty();
    assert_eq!(gateway.app.context.indicators.ledger.totals(), Default::default());
}

#[test]
fn a_hundred_known_values_come_before_the_reply() {
    let bench = Bench::new(by_secret());
    let mut tab = bench.tab("ann@x");
    let all: Vec<String> = (2..102).map(|length| format!("BBANDS_{length}_2")).collect();
    let (reply, updates) = subscribe_warm(&mut tab, &subscribe("INFY", "1min", json!(all)));
    assert_eq!(reply["message"], "Subscribed to 100 indicators");
    assert_eq!(ids(&updates).len(), 100);
}

// ---- HTTP ------------------------------------------------------------------------------------------------------------

#[test]
fn http_tells_the_same_values_in_the_documented_shapes() {
    let (key, entry) = key_of("desk");
    let api_keys = ApiKeys::new([entry]).unwrap();
    let bench = Bench::new(GateSettings { api_keys, ..by_secret() });
    let jwt = token("ann@x", json!({}));
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
    assert!(bench.updates(&mut tab, 3).is_empty());
    assert_eq!(bench.get(&key, &format!("/indicators/current?{series}")).status, 400, "it is not the key's");
    // Nothing that was asked about stays subscribed.
    drop(tab);
    eventually_true("nobody listens", || bench.counter("listeners") == 0);
}

#[test]
fn http_refuses_by_field_and_status() {
    let bench = Bench::new(by_secret());
    let jwt = token("ann@x", json!({"jti": null}));
    let none = token("bob@x", json!({"permissions": ["segment:NSE"]}));
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
    assert_eq!(support::client::get(bench.gateway.address, path).status, 401);
    let body = json!({"symbol": "INFY", "timeframe": "5m", "indicators": []});
    let answer = bench.post(&jwt, "/indicators/subscribe", &body);
    assert_eq!((answer.status, &answer.json()["error_code"]), (400, &json!("VALIDATION_ERROR")));
    // Where nobody need show anything, asking is free, and a subscription still needs a name.
    let script = Script::default();
    let open = start_behind(GateSettings::default(), settings(), script.source(&[]));
    assert_eq!(support::client::get(open.address, path).status, 200);
    let head =
        "POST /indicators/subscribe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    assert_eq!(request(open.address, head).status, 401);
}
