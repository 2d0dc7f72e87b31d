//! Indicators over the wire: sessions of their own (v2), clients of API keys (legacy), HTTP.

mod contract;
mod http;
mod isolation;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use support::client::{Answer, Client, request};
use support::eventually;
use support::gateway::{Running, settings, start_behind_with};
use support::keys::{now, shared};
use support::script::Script;
use support::ticks::{INFY, RELIANCE};
use tickfan::gateway::{Past, Settings};
use tickfan::history::History;
use tickfan::identity::gate::GateSettings;
use tickfan::market::{Calendar, Candle, InstrumentToken, Mode, Tick};

const MINUTES: u64 = 700;

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
        let (tab, greeting) = v2(&self.gateway, &shared(user, json!({"jti": null})));
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

    /// All of a tab's updates while so many trades happen, or more until each of `wanted` has come: of those and of
    /// nothing else.
    #[track_caller]
    fn updates(&self, tab: &mut Client, trades: usize, wanted: &[&str]) -> Vec<Value> {
        let (mut all, mut traded) = (Vec::new(), 0);
        eventually("each of the indicators", || {
            self.trade();
            traded += 1;
            all.extend(std::iter::from_fn(|| tab.next_within(Duration::from_millis(10))));
            (traded >= trades && ids(&all).is_superset(&wanted.iter().copied().collect())).then_some(())
        });
        assert!(all.iter().all(|message| message["type"] == "indicator_update"), "{all:?}");
        assert_eq!(ids(&all), wanted.iter().copied().collect());
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
