//! Sessions of indicators survive a lost connection and a killed program; and nobody gets another's.

mod support;

use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::client::{Client, get};
use support::eventually_true;
use support::gateway::{Running, launch, settings};
use support::keys::{by_secret, key_of, now, shared};
use support::program::{gateway, stand_in};
use support::redis::RedisServer;
use support::script::Script;
use support::ticks::INFY;
use tickfan::clock::Clock;
use tickfan::gateway::{Keeping, Past, SessionStore};
use tickfan::identity::api_key::ApiKeys;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::market::calendar::Utc;
use tickfan::market::{InstrumentToken, Mode, Tick};
use tickfan::resume::counters::Refused;

const RSI: &str = "indicator_subscribers:NSE:INFY:1m:RSI_2";
const SMA: &str = "indicator_subscribers:NSE:INFY:1m:SMA_2";

/// A connection of either protocol.
struct Tab(Client);

impl Tab {
    /// Behind its greeting.
    #[track_caller]
    fn open(address: std::net::SocketAddr, path: &str) -> Self {
        let mut tab = Self(Client::knock(address, path, &[]).unwrap());
        let (_, greeting) = tab.answer();
        assert_eq!(greeting["type"], "success", "{greeting}");
        tab
    }

    /// The updates before something else, and that.
    #[track_caller]
    fn answer(&mut self) -> (Vec<Value>, Value) {
        let mut updates = Vec::new();
        loop {
            let message = self.0.next();
            match message["type"].as_str().unwrap() {
                "indicator_update" => updates.push(message),
                "heartbeat" => {}
                _ => return (updates, message),
            }
        }
    }

    #[track_caller]
    fn ask(&mut self, request: &Value) -> (Vec<Value>, Value) {
        self.0.say(request);
        self.answer()
    }

    /// Subscribes to indicators of one minute of INFY; returns the token of its session.
    #[track_caller]
    fn subscribe(&mut self, indicators: &[&str]) -> String {
        let request = json!({"action": "subscribe", "symbol": "NSE:INFY", "timeframe": "1m", "indicators": indicators});
        token_of(&self.ask(&request).1)
    }

    #[track_caller]
    fn resume(&mut self, token: &str, cursor: Value) -> (Vec<Value>, Value) {
        self.ask(&json!({"action": "resume", "token": token, "cursor": cursor}))
    }

    /// Passes over messages until such an update.
    #[track_caller]
    fn until_update(&mut self, wanted: impl Fn(&Value) -> bool) {
        eventually_true("an update", || {
            let message = self.0.next();
            message["type"] == "indicator_update" && wanted(&message)
        });
    }

    /// Tells the server that all it has sent so far has arrived.
    #[track_caller]
    fn ping(&mut self) -> Vec<Value> {
        let (updates, pong) = self.ask(&json!({"action": "ping"}));
        assert_eq!(pong["type"], "pong", "{pong}");
        updates
    }
}

#[track_caller]
fn token_of(reply: &Value) -> String {
    assert_eq!(reply["type"], "success", "{reply}");
    reply["data"]["resume_token"].as_str().unwrap_or_else(|| panic!("no resume token: {reply}")).to_owned()
}

#[track_caller]
fn is_refused(reply: &Value) {
    assert_eq!(
        *reply,
        json!({"type": "error", "message": "resume: unknown or expired; subscribe anew", "field": "token",
            "error_code": "RESUME_REFUSED"})
    );
}

/// The closed bars an indicator spoke of: when they began, and the values.
fn closed(updates: &[Value], id: &str) -> Vec<(String, Value)> {
    let of = updates.iter().filter(|update| update["indicator_id"] == id && update["closed"] == true);
    of.map(|update| (update["candle_time"].as_str().unwrap().to_owned(), update["value"].clone())).collect()
}

/// A gateway whose minutes pass when the test says so, and somebody who watches them.
struct Bench {
    gateway: Running,
    script: Script,
    clock: Clock,
    begin: u64,
    passed: Cell<u64>,
    watcher: std::cell::RefCell<Tab>,
}

impl Bench {
    fn new(store: SessionStore) -> Self {
        Self::behind(by_secret(Policy::Required), store, this_hour(), 0)
    }

    /// One that starts in a minute of the hour that began at `begin`, Unix seconds.
    fn behind(gate: GateSettings, store: SessionStore, begin: u64, minute: u64) -> Self {
        let clock = Clock::manual((begin + minute * 60) * 1_000_000_000);
        let script = Script::default();
        let mut settings = settings();
        settings.engine.forming_ns = 1_000_000;
        let past = Past { sessions: Keeping { store, expiry_s: 3_600 }, ..Past::default() };
        let gateway = launch(gate, settings, script.source(&[]), clock.clone(), past);
        let mut watcher = Tab::open(gateway.address, &v2("watcher@x"));
        watcher.subscribe(&["SMA_2"]);
        Self { gateway, script, clock, begin, passed: (minute * 60).into(), watcher: watcher.into() }
    }

    fn tab(&self, user: &str) -> Tab {
        Tab::open(self.gateway.address, &v2(user))
    }

    /// When a minute begins.
    fn start(&self, minute: u64) -> String {
        Utc((self.begin + minute * 60) as i64).to_string()
    }

    /// In the tenth second of each of these minutes comes a price; what closed before has been told.
    #[track_caller]
    fn minutes(&self, minutes: Range<u64>) {
        for minute in minutes {
            for second in [minute * 60 + 9, minute * 60 + 10] {
                self.clock.advance(Duration::from_secs(second - self.passed.replace(second)));
                let at = (self.begin + second) as u32;
                let price = 150_000 + (minute * minute % 7) as i32 * 100;
                // The first of all only says where volume is counted from.
                self.script.push(&[Tick {
                    mode: Mode::Full,
                    volume_traded: second as u32,
                    last_trade_time: at,
                    exchange_timestamp: at,
                    ..Tick::ltp(InstrumentToken(INFY), price)
                }]);
            }
            let mut watcher = self.watcher.borrow_mut();
            while watcher.0.next()["candle_time"] != self.start(minute) {}
        }
    }

    #[track_caller]
    fn until_connections(&self, count: usize) {
        let registry = &self.gateway.app.context.registry;
        eventually_true("so many are connected", || registry.len() == count);
    }

    fn refused(&self, reason: Refused) -> u64 {
        self.gateway.app.context.sessions.counters.refused[reason as usize].load(Ordering::Relaxed)
    }
}

/// When this hour began, Unix seconds.
fn this_hour() -> u64 {
    now() / 3_600 * 3_600
}

fn v2(user: &str) -> String {
    format!("/indicators/v2/stream?token={}", shared(user, json!({"jti": null})))
}

fn unix() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

// ---- A lost connection -----------------------------------------------------------------------------------------------

#[test]
fn a_tab_that_comes_back_has_its_indicators_and_what_closed_meanwhile() {
    let bench = Bench::new(SessionStore::Memory);
    let mut tab = bench.tab("ann@x");
    let token = tab.subscribe(&["SMA_2", "RSI_2"]);
    bench.minutes(0..3);
    assert_eq!(closed(&tab.ping(), "SMA_2").last().unwrap().0, bench.start(1));
    tab.0.vanish();
    bench.until_connections(1);
    bench.minutes(3..6);

    let mut tab = bench.tab("ann@x");
    let (updates, reply) = tab.resume(&token, Value::Null);
    assert_eq!(reply["message"], "Resumed 2 indicators");
    let wanted = &get(bench.gateway.address, "/stats/subscriptions").json()["hour"]["indicators"];
    assert_eq!(wanted[0], json!({"indicator": "SMA_2", "subscriptions": 3}), "by the watcher, and twice by the tab");
    let data = &reply["data"];
    assert_eq!((&data["gap"], &data["lost"]), (&json!(false), &json!([])));
    let [group] = &data["subscriptions"].as_array().unwrap()[..] else { panic!("{reply}") };
    assert_eq!((&group["symbol"], &group["timeframe"]), (&json!("NSE:INFY"), &json!("1m")));
    assert_eq!(group["indicators"], json!(["SMA_2", "RSI_2"]));
    let price = |minute: u64| 1_500.0 + (minute * minute % 7) as f64;
    let expected: Vec<_> =
        (2..5).map(|minute| (bench.start(minute), json!((price(minute - 1) + price(minute)) / 2.0))).collect();
    assert_eq!(closed(&updates, "SMA_2"), expected, "each that closed, once and in order");
    assert_eq!(closed(&updates, "RSI_2").len(), 3);
    let newest = updates.iter().rfind(|update| update["indicator_id"] == "SMA_2").unwrap();
    assert_eq!((&newest["candle_time"], &newest["closed"]), (&json!(bench.start(5)), &json!(false)));
    assert_eq!(newest["value"], group["initial_values"]["SMA_2"]);

    // And goes on without a seam.
    bench.minutes(6..7);
    assert_eq!(closed(&tab.ping(), "SMA_2")[0].0, bench.start(5));
    // The token holds once; by the query as well, and the connection that has the session ends.
    is_refused(&bench.tab("ann@x").resume(&token, Value::Null).1);
    assert_eq!(bench.refused(Refused::Spent), 1);
    let path = format!("{}&resume={}", v2("ann@x"), token_of(&reply));
    let (_, reply) = Tab::open(bench.gateway.address, &path).answer();
    assert_eq!(reply["message"], "Resumed 2 indicators");
    assert_eq!(tab.0.until_closed().0, 4409, "one live owner");
}

#[test]
fn a_cursor_says_what_a_client_has_and_a_gap_what_nobody_has() {
    let bench = Bench::new(SessionStore::Memory);
    let mut tab = bench.tab("ann@x");
    let mut token = tab.subscribe(&["SMA_2"]);
    bench.minutes(0..5);
    let comes_back = |token: &mut String, cursor: Value| {
        let mut tab = bench.tab("ann@x");
        let (updates, reply) = tab.resume(token, cursor);
        *token = token_of(&reply);
        let starts: Vec<String> = closed(&updates, "SMA_2").into_iter().map(|(start, _)| start).collect();
        (starts, reply["data"]["gap"].clone())
    };
    let starts = |minutes: Range<u64>| minutes.map(|minute| bench.start(minute)).collect::<Vec<_>>();
    let bar = json!({"bars": {"NSE:INFY:1m": bench.start(1)}});
    assert_eq!(comes_back(&mut token, bar), (starts(2..4), json!(false)));
    let bar = json!({"bars": {"NSE:INFY:1m": bench.begin + 180}});
    assert_eq!(comes_back(&mut token, bar), (starts(4..4), json!(false)));
    assert_eq!(comes_back(&mut token, json!({"since": bench.start(3)})), (starts(2..4), json!(false)));
    // From before anybody wanted it: what closed then is not known.
    let bar = json!({"bars": {"NSE:INFY:1m": bench.begin - 3_600}});
    assert_eq!(comes_back(&mut token, bar), (starts(0..4), json!(true)));
    // A connection that was lost without a sign has what was sent before it was last heard, and no more.
    bench.minutes(5..7);
    let (heard, gap) = comes_back(&mut token, Value::Null);
    assert_eq!((heard, gap), (starts(4..6), json!(false)));
}

#[test]
fn a_stolen_token_is_worth_nothing_and_entitlements_are_checked_again() {
    let bench = Bench::new(SessionStore::Memory);
    let mut ann = bench.tab("ann@x");
    let token = ann.subscribe(&["SMA_2", "RSI_2"]);
    let (_, reply) = ann.resume(&token, Value::Null);
    assert_eq!((&reply["error_code"], &reply["field"]), (&json!("VALIDATION_ERROR"), &json!("action")));
    let mut eve = bench.tab("eve@x");
    is_refused(&eve.resume(&token, Value::Null).1);
    is_refused(&eve.resume("rs_nonsense", Value::Null).1);
    assert_eq!((bench.refused(Refused::Foreign), bench.refused(Refused::Unknown)), (1, 1));
    eve.subscribe(&["EMA_9"]);
    ann.ping();
    drop(ann);
    let poor = shared("ann@x", json!({"permissions": ["segment:INDICES", "indicators"], "jti": null}));
    let mut poor = Tab::open(bench.gateway.address, &format!("/indicators/v2/stream?token={poor}"));
    let (updates, reply) = poor.resume(&token, Value::Null);
    assert_eq!((updates, &reply["message"]), (Vec::new(), &json!("Resumed 0 indicators")));
    let lost = json!([{"symbol": "NSE:INFY", "timeframe": "1m", "indicators": ["SMA_2", "RSI_2"]}]);
    assert_eq!(reply["data"]["lost"], lost);
    bench.minutes(0..2);
    assert!(poor.ping().is_empty(), "nothing is delivered that may not be had");
}

#[test]
fn of_a_client_s_set_the_newer_state_counts() {
    let (key, entry) = key_of("desk", None);
    let api_keys = ApiKeys::new([entry]).unwrap();
    let gate = || GateSettings { api_keys: api_keys.clone(), ..by_secret(Policy::Required) };
    let dir = tempfile::tempdir().unwrap();
    let store = || SessionStore::Folder(dir.path().to_owned());
    let bench = Bench::behind(gate(), store(), this_hour(), 0);
    let path = format!("/indicators/stream?api_key={key}");
    let desk = |bench: &Bench| Tab::open(bench.gateway.address, &path);
    let (mut one, mut two) = (desk(&bench), desk(&bench));
    let first = one.subscribe(&["SMA_2"]);
    let second = two.subscribe(&["SMA_2", "EMA_2"]);
    one.0.vanish();
    bench.until_connections(2);
    // The other changes what they share, by its connection and by none.
    let part = json!({"action": "unsubscribe", "symbol": "NSE:INFY", "timeframe": "1m", "indicators": ["SMA_2"]});
    assert_eq!(two.ask(&part).1["message"], "Unsubscribed from 1 indicator");
    bench.minutes(0..3);
    let ids = |reply: &Value| reply["data"]["subscriptions"][0]["indicators"].clone();
    let mut one = desk(&bench);
    let (updates, reply) = one.resume(&first, json!({"bars": {"NSE:INFY:1m": bench.start(0)}}));
    assert_eq!(ids(&reply), json!(["EMA_2"]), "the client has its set still, and that is newer");
    assert_eq!(closed(&updates, "EMA_2").len(), 1);
    let first = token_of(&reply);
    drop((one, two));
    bench.gateway.stop();

    // Whoever comes first after a restart, the newest counts in the end.
    let bench = Bench::behind(gate(), store(), bench.begin, 4);
    let (mut one, mut two) = (desk(&bench), desk(&bench));
    assert_eq!(ids(&one.resume(&first, Value::Null).1), json!(["EMA_2"]));
    bench.minutes(4..5);
    // It has joined already, and has what the first brought back.
    let (updates, reply) = two.resume(&second, Value::Null);
    assert_eq!((ids(&reply), reply["data"]["gap"].is_boolean()), (json!(["EMA_2"]), true));
    assert!(updates.iter().all(|update| update["indicator_id"] == "EMA_2"), "{updates:?}");
    assert_eq!(one.ask(&json!({"action": "unsubscribe"})).1["message"], "Unsubscribed from 1 indicator");
}

// ---- Redis -----------------------------------------------------------------------------------------------------------

#[test]
fn operators_find_who_wants_an_indicator_as_long_as_it_does() {
    let Some(server) = RedisServer::start() else { return };
    let bench = Bench::new(server.session_store());
    let members = |key: &str| server.ask::<Vec<String>>(&["SMEMBERS", key]);
    let watcher = members_until(&server, SMA, 1);
    let mut tab = Client::knock(bench.gateway.address, &v2("ann@x"), &[]).unwrap();
    let id = tab.next()["data"]["ws_conn_id"].as_str().unwrap().to_owned();
    let mut tab = Tab(tab);
    let token = tab.subscribe(&["SMA_2", "RSI_2"]);
    assert!(members_until(&server, SMA, 2).contains(&id));
    eventually_true("one wants the other", || members(RSI) == [id.clone()]);
    let part = json!({"action": "unsubscribe", "indicators": ["RSI_2"]});
    assert_eq!(tab.ask(&part).1["type"], "success");
    eventually_true("what nobody wants has no key", || server.ask::<u64>(&["EXISTS", RSI]) == 0);
    // Another gateway has the session, under the id of its connection there.
    let other = Bench::behind(by_secret(Policy::Required), server.session_store(), bench.begin, 1);
    let mut again = Client::knock(other.gateway.address, &v2("ann@x"), &[]).unwrap();
    let new = again.next()["data"]["ws_conn_id"].as_str().unwrap().to_owned();
    let mut again = Tab(again);
    let (_, reply) = again.resume(&token, Value::Null);
    assert_eq!(reply["message"], "Resumed 1 indicator", "{reply}");
    assert_eq!(tab.0.until_closed().0, 4409);
    eventually_true("it stands there by its new id", || {
        let members = members(SMA);
        members.contains(&new) && members.contains(&watcher[0])
    });
}

fn members_until(server: &RedisServer, key: &str, count: usize) -> Vec<String> {
    eventually_true("the set has its members", || server.ask::<Vec<String>>(&["SMEMBERS", key]).len() == count);
    server.ask(&["SMEMBERS", key])
}

// ---- The program is killed -------------------------------------------------------------------------------------------

/// Whether the state of the instrument's bar that began then is on disk, somewhere below a folder.
fn is_bar_kept(dir: &Path, start: i64) -> bool {
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().map(|entry| entry.path()).any(|path| {
            let has = |text: &str| text.contains(&format!("[{INFY},")) && text.contains(&format!("\"start\":{start},"));
            let is_states = path.ends_with("states.json");
            is_bar_kept(&path, start) || is_states && std::fs::read_to_string(path).is_ok_and(|text| has(&text))
        })
    })
}

/// Kills the program within a minute, starts it anew, lets the minute end, and comes back: the bar of that minute is told.
fn a_session_survives_a_kill(more: &[String]) {
    let dir = tempfile::tempdir().unwrap();
    let upstream = stand_in(500);
    let killed = gateway(dir.path(), &upstream, more);
    while unix() % 60.0 > 40.0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let minute = (unix() / 60.0) as i64 * 60;
    let mut tab = Tab::open(killed.address, &v2("ann@x"));
    let token = tab.subscribe(&["SMA_2", "VWAP"]);
    // The first price may be of the minute before.
    tab.until_update(|update| update["indicator_id"] == "VWAP" && update["candle_time"] == Utc(minute).to_string());
    eventually_true("the state of the bar that forms is kept", || is_bar_kept(dir.path(), minute));
    // What it subscribed to is noted behind the reply.
    tab.ping();
    killed.until_kept();
    drop(killed);

    let gateway = gateway(dir.path(), &upstream, more);
    gateway.until_kept();
    is_refused(&Tab::open(gateway.address, &v2("eve@x")).resume(&token, Value::Null).1);
    while unix() < minute as f64 + 62.0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut tab = Tab::open(gateway.address, &v2("ann@x"));
    let (updates, reply) = tab.resume(&token, Value::Null);
    assert_eq!(reply["data"]["subscriptions"][0]["indicators"], json!(["SMA_2", "VWAP"]), "{reply}");
    assert_eq!(reply["data"]["gap"], false, "{reply} {updates:?}");
    for id in ["SMA_2", "VWAP"] {
        let told: Vec<_> = closed(&updates, id).into_iter().map(|(start, _)| start).collect();
        assert_eq!(told.last(), Some(&Utc(minute).to_string()), "{id}: the bar of the kill");
        // The one before may be told again if it had just closed.
        let before = [Utc(minute - 60).to_string(), Utc(minute).to_string()];
        assert!(before.ends_with(&told), "{id}: each once and in order: {told:?}");
    }
    // It goes on, under a token of its own.
    tab.until_update(|update| update["candle_time"] != Utc(minute).to_string());
    is_refused(&Tab::open(gateway.address, &v2("ann@x")).resume(&token, Value::Null).1);
    drop(tab);
    let (_, reply) = Tab::open(gateway.address, &v2("ann@x")).resume(&token_of(&reply), Value::Null);
    assert_eq!(reply["message"], "Resumed 2 indicators");
}

#[test]
fn a_session_survives_a_kill_in_a_file() {
    a_session_survives_a_kill(&[]);
}

#[test]
fn a_session_survives_a_kill_in_redis() {
    let Some(server) = RedisServer::start() else { return };
    a_session_survives_a_kill(&[format!("--session-store={}", server.address())]);
}
