//! Candles, history and alerts through the whole gateway, and the promise that a tape gives the same at any speed.

mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::client::Client;
use support::eventually_true;
use support::gateway::{Running, settings, start, start_with};
use support::script::Script;
use support::ticks::{INFY, message};
use tickfan::candles::{CandlesOptions, candles};
use tickfan::clock::MarketTime;
use tickfan::engine::command::{Topic, Wish};
use tickfan::engine::view::{Subscriber, Wording};
use tickfan::fanout::mail::Mail;
use tickfan::fanout::port::Port;
use tickfan::fanout::ring::Ring;
use tickfan::fanout::series::Subscription;
use tickfan::fanout::slot::Inbox;
use tickfan::feed::tape::{Speed, TapeFeed, TapeOptions, TapeProgress};
use tickfan::feed::{Demand, Feed};
use tickfan::gateway::{FeedSource, Past};
use tickfan::history::History;
use tickfan::market::candle::DEFAULT_GRACE_NS;
use tickfan::market::indicator::{Indicator, IndicatorId};
use tickfan::market::{Calendar, Candle, InstrumentToken, Mode, SegmentKind, Tick, Timeframe};
use tickfan::server::app::FeedStatus;
use tickfan::tape::{TapeReader, TapeWriter};
use tickfan::wire::Format;

/// Friday, 20 November 2026, 10:00 IST.
const BEGIN: u32 = 1_795_149_000;
const SECONDS: u32 = 420;
const TOKENS: [InstrumentToken; 3] = [InstrumentToken(257), InstrumentToken(513), InstrumentToken(769)];
const TIMEFRAMES: [Timeframe; 2] = [Timeframe::Min1, Timeframe::Min3];
const INDICATORS: [&str; 3] = ["SMA_2", "RSI_2", "BBANDS_2_2"];

/// Seven minutes of three instruments, twice a second, now and then without a trade.
fn make(path: &Path) -> u64 {
    let mut tape = TapeWriter::create(path).unwrap();
    let (mut state, mut ticks) = (7u32, 0);
    let mut volumes = [0; TOKENS.len()];
    for half in 0..SECONDS * 2 {
        let second = BEGIN + half / 2;
        let ticks_now: Vec<Tick> = (0..TOKENS.len())
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                volumes[at] += (state >> 24) % 5;
                let price = 10_000 + at as i32 * 1_000 + (state >> 20 & 0xff) as i32;
                Tick {
                    mode: Mode::Full,
                    volume_traded: volumes[at],
                    last_trade_time: second,
                    exchange_timestamp: second,
                    ..Tick::ltp(TOKENS[at], price)
                }
            })
            .collect();
        ticks += ticks_now.len() as u64;
        let at_ns = u64::from(BEGIN) * 1_000_000_000 + u64::from(half) * 500_000_000 + u64::from(state % 300_000_000);
        tape.append(at_ns, &message(&ticks_now)).unwrap();
    }
    tape.flush().unwrap();
    ticks
}

/// A feed that waits until it is let go.
struct Gated(TapeFeed, Arc<AtomicBool>);

impl Feed for Gated {
    fn name(&self) -> &'static str {
        "gated tape"
    }

    fn poll(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        if self.1.load(Ordering::Relaxed) { self.0.poll(now_ns, budget, sink) } else { 0 }
    }

    fn due_ns(&self) -> Option<u64> {
        if self.1.load(Ordering::Relaxed) { self.0.due_ns() } else { Some(0) }
    }

    fn patience(&self) -> Option<Duration> {
        self.0.patience()
    }

    fn market_time(&self) -> MarketTime {
        self.0.market_time()
    }

    fn universe(&self) -> Vec<InstrumentToken> {
        self.0.universe()
    }

    fn demand(&mut self, changes: &[Demand]) {
        self.0.demand(changes);
    }
}

fn play(path: &Path, speed: Speed) -> (Running, Arc<AtomicBool>, Arc<TapeProgress>) {
    let mut options = TapeOptions::new(path);
    options.speed = speed;
    let feed = TapeFeed::open(options).unwrap();
    let (progress, go) = (feed.progress(), Arc::new(AtomicBool::new(false)));
    let status = FeedStatus(Arc::new(|| json!({"name": "tape"})));
    let feed = Box::new(Gated(feed, Arc::clone(&go)));
    (start(settings(), FeedSource { feed, status, control: None, upstream: None }), go, progress)
}

/// What is told of closed bars: instrument, timeframe, start, then open, high, low, close and volume.
type Told = (String, String, i64, [f64; 4], u64);

/// Everything that is closed while the tape is played live: candles, and values of indicators with the start of their
/// bar.
fn live(path: &Path, ticks: u64, speed: Speed) -> (Vec<Told>, Vec<(String, String, Value)>) {
    let (gateway, go, _) = play(path, speed);
    let engine = Arc::clone(&gateway.app.context.engine);
    let inbox = Arc::new(Inbox::new(Ring::new(1), 0, Arc::new(Port::new(1))));
    let of: Arc<Subscription> = Arc::default();
    let wish = |topic, token: InstrumentToken, timeframe: Timeframe| Wish {
        topic,
        wording: Wording { symbol: token.to_string().into(), timeframe: timeframe.name().into() },
        subscriber: Subscriber { of: Arc::clone(&of), inbox: Arc::clone(&inbox), format: Format::Json },
        since: None,
    };
    let mut wishes = Vec::new();
    for (token, timeframe) in TOKENS.into_iter().flat_map(|token| TIMEFRAMES.map(|timeframe| (token, timeframe))) {
        wishes.push(wish(Topic::Candles { token, timeframe, live: false }, token, timeframe));
        for id in INDICATORS {
            let id = id.parse().unwrap();
            wishes.push(wish(Topic::Indicator { token, timeframe, id }, token, timeframe));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(engine.begin(wishes)).unwrap();
    go.store(true, Ordering::Relaxed);
    eventually_within(speed, || engine.counters().ticks.get() >= ticks);
    assert_eq!(engine.counters().overruns.get(), 0);
    // The last bars are closed by the ticks behind them, so everything is there.
    let (mut bars, mut values) = (Vec::new(), Vec::new());
    for message in std::iter::from_fn(|| inbox.mail.take()).filter_map(Mail::open) {
        let message: Value = serde_json::from_slice(message.frame(Format::Json).unwrap().1).unwrap();
        if message["closed"] != true {
            continue;
        }
        if message["type"] == "candle" {
            let data = &message["data"];
            let price = |name: &str| data[name].as_f64().unwrap();
            let text = |name: &str| message[name].as_str().unwrap().to_owned();
            let prices = [price("open"), price("high"), price("low"), price("close")];
            let volume = data["volume"].as_u64().unwrap();
            bars.push((text("token"), text("timeframe"), data["start"].as_i64().unwrap(), prices, volume));
        } else {
            let key = format!("{} {} {}", message["symbol"], message["timeframe"], message["indicator_id"]);
            values.push((key, message["candle_time"].to_string(), message["value"].clone()));
        }
    }
    bars.sort_by(|a, b| (&a.0, &a.1, a.2).cmp(&(&b.0, &b.1, b.2)));
    values.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    (bars, values)
}

/// Waits as long as the tape takes at that speed, and generously longer.
fn eventually_within(speed: Speed, done: impl Fn() -> bool) {
    let length = match speed {
        Speed::Times(times) => f64::from(SECONDS) / times,
        Speed::Max => 0.0,
    };
    std::thread::sleep(std::time::Duration::from_secs_f64(length));
    eventually_true("the tape is played", done);
}

/// The same offline.
fn offline(path: &Path) -> Vec<Told> {
    let options = CandlesOptions {
        timeframes: TIMEFRAMES.to_vec(),
        tokens: Vec::new(),
        calendar: Calendar::around_the_clock(),
        grace_ns: DEFAULT_GRACE_NS,
    };
    let mut csv = Vec::new();
    candles(TapeReader::open(path).unwrap(), &options, |_| SegmentKind::Cash, &mut csv).unwrap();
    let mut told: Vec<Told> = csv::Reader::from_reader(&csv[..])
        .records()
        .map(|record| {
            let record = record.unwrap();
            let number = |at: usize| record[at].parse::<f64>().unwrap();
            let start = chrono(&record[2]);
            let prices = [number(4), number(5), number(6), number(7)];
            (record[0].to_owned(), record[1].to_owned(), start, prices, record[8].parse().unwrap())
        })
        .collect();
    told.sort_by(|a, b| (&a.0, &a.1, a.2).cmp(&(&b.0, &b.1, b.2)));
    told
}

/// Unix seconds of a time of this test's day: `2026-11-20T10:01:00+05:30`.
fn chrono(text: &str) -> i64 {
    let pair = |at: usize| text[at..at + 2].parse::<i64>().unwrap();
    assert!(text.starts_with("2026-11-20T"), "{text}");
    i64::from(BEGIN) - 10 * 3_600 + pair(11) * 3_600 + pair(14) * 60 + pair(17)
}

/// What indicators say of bars told offline.
fn indicators(bars: &[Told]) -> Vec<(String, String, Value)> {
    let mut values = Vec::new();
    for (token, timeframe) in TOKENS.into_iter().flat_map(|token| TIMEFRAMES.map(|timeframe| (token, timeframe))) {
        for text in INDICATORS {
            let id: IndicatorId = text.parse().unwrap();
            let mut indicator = Indicator::new(&id);
            for bar in bars.iter().filter(|bar| bar.0 == token.to_string() && bar.1 == timeframe.name()) {
                let raw = bar.3.map(|price| (price * 100.0).round() as i32);
                let candle =
                    Candle { volume: bar.4, ..Candle::historical(bar.2, bar.2 + 60, raw[0], raw[1], raw[2], raw[3]) };
                let outputs = indicator.update(&tickfan::engine::track::bar(token, &candle));
                let start = tickfan::market::calendar::Utc(bar.2).to_string();
                let key = format!("\"{token}\" \"{timeframe}\" \"{id}\"");
                values.push((key, format!("\"{start}\""), read_again(&tickfan::engine::core::value(&outputs))));
            }
        }
    }
    values.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    values
}

/// Once through text, as the other side came: the reader of these tests is an ulp off now and then, the writer is not.
fn read_again(value: &Value) -> Value {
    serde_json::from_str(&value.to_string()).unwrap()
}

/// Speeds can be chosen by `TICKFAN_TAPE_SPEEDS`, such as `1,100`; 1 takes seven minutes.
#[test]
fn the_same_tape_gives_the_same_candles_and_values_at_any_speed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seven-minutes.tape");
    let ticks = make(&path);
    let all = offline(&path);
    let speeds = std::env::var("TICKFAN_TAPE_SPEEDS").unwrap_or_else(|_| "100,max".into());
    for speed in speeds.split(',') {
        let (bars, values) = live(&path, ticks, speed.parse().map_or(Speed::Max, Speed::Times));
        // What the end of the tape cuts is only told offline.
        let cut = i64::from(BEGIN + SECONDS) - 60;
        let length = |bar: &Told| bar.1.parse::<Timeframe>().unwrap().seconds().unwrap();
        let closed: Vec<Told> = all.iter().filter(|bar| bar.2 + length(bar) <= cut).cloned().collect();
        assert_eq!(bars.len(), TOKENS.len() * (6 + 2), "six bars of a minute and two of three are closed");
        assert_eq!(bars, closed, "candles at speed {speed}");
        assert_eq!(values, indicators(&closed), "values at speed {speed}");
        println!("speed {speed}: {} candles and {} values are those of the tape", bars.len(), values.len());
    }
}

fn subscribe(tab: &mut Client, tokens: &[u32], more: Value) -> Value {
    let mut request = json!({"action": "subscribe", "mode": "ltp",
        "tokens": tokens.iter().map(u32::to_string).collect::<Vec<_>>()});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tab.ask(&request)
}

/// Reads until a message of a type satisfies.
fn until(tab: &mut Client, wanted: impl Fn(&Value) -> bool) -> (Value, Vec<Value>) {
    let mut before = Vec::new();
    loop {
        let message = tab.next();
        if wanted(&message) {
            return (message, before);
        }
        before.push(message);
    }
}

#[test]
fn candles_go_to_those_who_asked_for_both_the_token_and_the_timeframe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seven-minutes.tape");
    make(&path);
    let (gateway, go, _) = play(&path, Speed::Times(60.0));
    let (mut one, mut other, mut every, mut live) =
        (gateway.client(), gateway.client(), gateway.client(), gateway.client());
    let reply = subscribe(&mut one, &[257], json!({"timeframes": ["1m"]}));
    assert_eq!(reply["timeframes"], json!(["1m"]));
    subscribe(&mut other, &[513], json!({"timeframes": ["3min"]}));
    subscribe(&mut every, &[], json!({"timeframes": ["1min"]}));
    let reply =
        subscribe(&mut live, &[257], json!({"timeframes": ["1min"], "live_candles": true, "throttle_ms": 1000}));
    assert_eq!(reply["live_candles"], true);
    let listeners = || gateway.app.context.engine.counters().listeners.get();
    eventually_true("all subscriptions have begun", || listeners() == 1 + 1 + 3 + 1);
    go.store(true, Ordering::Relaxed);

    let mut sequence = 0;
    while sequence < 3 {
        let (candle, _) = until(&mut one, |message| message["type"] == "candle");
        sequence += 1;
        assert_eq!(
            (&candle["token"], &candle["timeframe"], &candle["closed"]),
            (&json!("257"), &json!("1m"), &json!(true))
        );
        assert_eq!(candle["sequence"], sequence);
        assert_eq!(candle["data"]["start"], BEGIN + 60 * (sequence - 1));
        assert_eq!(candle["data"]["end"], BEGIN + 60 * sequence);
    }
    let (candle, _) = until(&mut other, |message| message["type"] == "candle");
    assert_eq!((&candle["token"], &candle["timeframe"]), (&json!("513"), &json!("3min")));
    let mut tokens: Vec<String> = (0..6)
        .map(|_| until(&mut every, |message| message["type"] == "candle").0["token"].as_str().unwrap().to_owned())
        .collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens, ["257", "513", "769"]);
    let (closed, before) = until(&mut live, |message| message["type"] == "candle" && message["closed"] == true);
    let forming = before.iter().filter(|message| message["type"] == "candle").count();
    assert!(
        forming > 0
            && before.iter().filter(|message| message["type"] == "candle").all(|candle| candle["closed"] == false)
    );
    assert_eq!(closed["timeframe"], "1min");

    // Once given up, no candle follows the reply.
    one.say(&json!({"action": "unsubscribe", "timeframes": ["1minute"]}));
    let (reply, _) = until(&mut one, |message| message["type"] == "unsubscribed");
    assert_eq!((&reply["timeframes"], &reply["tokens"]), (&json!(["1minute"]), &json!([])));
    let (_, before) = until(&mut other, |message| message["type"] == "candle");
    assert!(before.iter().all(|message| message["type"] != "candle"));
    while let Some(message) = one.next_within(std::time::Duration::from_millis(200)) {
        assert_ne!(message["type"], "candle");
        if message["timestamp"].as_f64().is_some_and(|at| at >= f64::from(BEGIN + SECONDS - 1)) {
            break;
        }
    }
    every.say(&json!({"action": "unsubscribe"}));
    let (reply, _) = until(&mut every, |message| message["type"] == "unsubscribed");
    assert_eq!(reply["timeframes"], json!(["1min"]));
    drop((one, other, every, live));
    gateway.until_empty_but_for_the_linger();
}

#[test]
fn history_is_told_oldest_first_and_alerts_fire_once_for_their_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seven-minutes.tape");
    make(&path);
    let (gateway, go, progress) = play(&path, Speed::Times(400.0));
    let (mut one, mut other) = (gateway.client(), gateway.client());
    subscribe(&mut one, &[257], json!({"timeframes": ["1m"]}));
    subscribe(&mut other, &[257], json!({"timeframes": ["1m"]}));
    let register = |tab: &mut Client, alert: Value| tab.ask(&json!({"action": "register_alert", "alert": alert}));
    let crossing = json!({"threshold": 101.0, "direction": "above"});
    let reply = register(&mut one, json!({"type": "price_cross", "token": 257, "params": crossing}));
    assert_eq!(reply["type"], "alert_registered");
    let id = reply["alert_id"].clone();
    let spike = json!({"type": "volume_spike", "token": "257", "timeframe": "1m", "params": {"threshold": 1}});
    let removed = register(&mut one, spike)["alert_id"].clone();
    let reply = one.ask(&json!({"action": "remove_alert", "alert_id": removed}));
    assert_eq!(reply, json!({"type": "alert_removed", "alert_id": removed}));
    for (request, field) in [
        (json!({"action": "remove_alert", "alert_id": removed}), "alert_id"),
        (json!({"action": "register_alert", "alert": {"type": "moon", "token": 257}}), "alert.type"),
        (
            json!({"action": "register_alert", "alert": {"type": "price_cross", "token": 1, "params": {"threshold": 1}}}),
            "alert.token",
        ),
        (
            json!({"action": "register_alert", "alert": {"type": "price_cross", "token": 257, "params": {}}}),
            "alert.params.threshold",
        ),
        (json!({"action": "register_alert"}), "alert"),
        (json!({"action": "history", "token": 257, "timeframe": "7min"}), "timeframe"),
        (json!({"action": "history", "token": 5, "timeframe": "5min"}), "token"),
        (json!({"action": "history", "timeframe": "5min"}), "token"),
        (json!({"action": "subscribe", "timeframes": ["fortnight"]}), "timeframes"),
    ] {
        let reply = one.ask(&request);
        assert_eq!((&reply["type"], &reply["field"]), (&json!("error"), &json!(field)), "{request} {reply}");
    }
    go.store(true, Ordering::Relaxed);
    let (alert, _) = until(&mut one, |message| message["type"] == "alert");
    assert_eq!(
        (&alert["alert_id"], &alert["alert_type"], &alert["token"]),
        (&id, &json!("price_cross"), &json!("257"))
    );
    assert!(alert["data"]["price"].as_f64().unwrap() >= 101.0 && alert["params"] == crossing, "{alert}");
    eventually_true("the tape is played", || progress.finished());
    let history = |tab: &mut Client, count: u64| {
        tab.say(&json!({"action": "history", "token": "257", "timeframe": "1minute", "count": count}));
        until(tab, |message| message["type"] == "history")
    };
    eventually_true("six bars are closed", || gateway.app.context.engine.counters().closed_bars.get() >= 6);
    let (reply, before) = history(&mut one, 4);
    assert!(before.iter().all(|message| message["type"] != "alert"), "an alert fires once");
    assert_eq!((&reply["count"], &reply["timeframe"], &reply["token"]), (&json!(4), &json!("1minute"), &json!("257")));
    let starts: Vec<i64> =
        reply["candles"].as_array().unwrap().iter().map(|bar| bar["start"].as_i64().unwrap()).collect();
    assert_eq!(starts, [2, 3, 4, 5].map(|minute| i64::from(BEGIN) + 60 * minute));
    // From 1 to 500, else 50.
    assert_eq!(history(&mut one, 0).0["count"], 6);
    let (_, before) = history(&mut other, 1);
    assert!(before.iter().all(|message| message["type"] != "alert"), "it is not his");
}

#[test]
fn a_folder_of_bars_is_the_history_and_makes_indicators_warm() {
    let folder = tempfile::tempdir().unwrap();
    let mut csv = String::from("timestamp,open,high,low,close,volume\n");
    for minute in 0..700 {
        let price = 1_500 + minute % 11;
        csv += &format!("{},{price},{},{},{price}.5,{minute}\n", BEGIN + minute * 60, price + 2, price - 2);
    }
    std::fs::write(folder.path().join("NSE_INFY_1min.csv"), csv).unwrap();
    let history = History::folder(folder.path().to_owned(), Arc::new(Calendar::around_the_clock())).unwrap();
    let mut settings = settings();
    settings.engine.history = true;
    let script = Script::default();
    let gateway = start_with(settings, script.source(&[INFY]), Past { history, ..Past::default() });
    let mut tab = gateway.client();
    let reply = tab.ask(&json!({"action": "history", "token": INFY, "timeframe": "5m", "count": 3}));
    assert_eq!((&reply["count"], &reply["candles"][2]["end"]), (&json!(3), &json!(BEGIN + 700 * 60)));
    let last = &reply["candles"][2];
    assert_eq!(last["volume"], 695 + 696 + 697 + 698 + 699);
    let engine = Arc::clone(&gateway.app.context.engine);
    let inbox = Arc::new(Inbox::new(Ring::new(1), 0, Arc::new(Port::new(1))));
    let wish = |id: &str| Wish {
        topic: Topic::Indicator { token: InstrumentToken(INFY), timeframe: Timeframe::Min1, id: id.parse().unwrap() },
        wording: Wording { symbol: "INFY".into(), timeframe: "1m".into() },
        subscriber: Subscriber { of: Arc::default(), inbox: Arc::clone(&inbox), format: Format::Json },
        since: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(engine.begin(vec![wish("RSI_14")])).unwrap();
    let told = support::eventually("the history is loaded", || inbox.mail.take().and_then(Mail::open));
    let told: Value = serde_json::from_slice(told.frame(Format::Json).unwrap().1).unwrap();
    assert_eq!((&told["warm"], &told["indicator_id"]), (&json!(true), &json!("RSI_14")), "{told}");
    assert!(told["value"].as_f64().is_some_and(|value| value > 0.0 && value < 100.0));
}

#[test]
fn a_condition_lets_through_only_what_meets_it() {
    let script = Script::default();
    let gateway = start(settings(), script.source(&[INFY]));
    let (mut moves, mut above, mut busy) = (gateway.client(), gateway.client(), gateway.client());
    let reply = subscribe(&mut moves, &[INFY], json!({"when": {"move_pct": 1.0}}));
    assert_eq!(reply["when"], json!({"move_pct": 1.0}));
    subscribe(&mut above, &[INFY], json!({"when": {"above": 1000, "below": 1020}}));
    subscribe(&mut busy, &[INFY], json!({"when": {"volume_above": 4}, "mode": "quote"}));
    for (at, price) in [100_000, 100_500, 101_000, 101_100, 102_000, 100_900, 100_000].into_iter().enumerate() {
        let tick = Tick { mode: Mode::Quote, volume_traded: at as u32, ..Tick::ltp(InstrumentToken(INFY), price) };
        script.push(&[tick]);
    }
    let prices = |tab: &mut Client, count: usize| -> Vec<f64> {
        (0..count).map(|_| tab.next()["price"].as_f64().unwrap()).collect()
    };
    assert_eq!(prices(&mut moves, 2), [1000.0, 1010.0]);
    assert_eq!(prices(&mut above, 4), [1005.0, 1010.0, 1011.0, 1009.0]);
    assert_eq!(prices(&mut busy, 2), [1009.0, 1000.0]);
    for (when, field) in [
        (json!({"moves": 1}), "when"),
        (json!("above"), "when"),
        (json!({"above": "high"}), "above"),
        (json!({"move_pct": -1}), "move_pct"),
        (json!({"volume_above": 1}), "volume_above"),
    ] {
        let reply = subscribe(&mut moves, &[INFY], json!({"when": when}));
        assert_eq!((&reply["type"], &reply["field"]), (&json!("error"), &json!(field)), "{reply}");
    }
}
