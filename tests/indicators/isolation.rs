//! Who gets what, and nobody anything else.

use std::collections::HashSet;

use serde_json::{Value, json};
use tickfan::feed::market;
use tickfan::identity::api_key::ApiKeys;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::market::{Mode, Tick};

use crate::support::client::Client;
use crate::support::eventually_true;
use crate::support::gateway::start_behind;
use crate::support::keys::{by_secret, key_of, now, shared};
use crate::support::script::Script;
use crate::{Bench, ask, ids, quick, subscribe, subscribe_warm, v2};

#[test]
fn one_tab_gets_what_it_asked_for() {
    let bench = Bench::new(by_secret(Policy::Required));
    let mut tab = bench.tab("ann@x");
    subscribe_warm(&mut tab, &subscribe("INFY", "1min", json!(["RSI_14", "SMA_20"])));
    bench.updates(&mut tab, 20, &["RSI_14", "SMA_20"]);
}

#[test]
fn two_tabs_of_one_user_share_nothing() {
    let bench = Bench::new(by_secret(Policy::Required));
    let (mut one, mut two) = (bench.tab("ann@x"), bench.tab("ann@x"));
    subscribe_warm(&mut one, &subscribe("INFY", "1min", json!(["RSI_14"])));
    subscribe_warm(&mut two, &subscribe("INFY", "1min", json!(["SMA_20"])));
    bench.updates(&mut one, 10, &["RSI_14"]);
    bench.updates(&mut two, 10, &["SMA_20"]);
    one.close();
    eventually_true("the first has gone", || bench.counter("listeners") == 1);
    bench.updates(&mut two, 10, &["SMA_20"]);
}

#[test]
fn two_users_share_a_computation_and_nothing_else() {
    let bench = Bench::new(by_secret(Policy::Required));
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

    let of_ann = bench.updates(&mut ann, 10, &["RSI_14"]);
    assert!(of_ann.iter().all(|update| update["symbol"] == "INFY" && update["timeframe"] == "1min"), "{of_ann:?}");
    let of_bob = bench.updates(&mut bob, 10, &["RSI_14"]);
    assert!(of_bob.iter().all(|update| update["symbol"] == "nse:infy" && update["timeframe"] == "1"), "{of_bob:?}");
    drop((ann, bob));
    eventually_true("nothing is computed for nobody", || bench.counter("computations") == 0);
    assert_eq!(bench.get("", "/indicators/v2/health").json()["unique_indicators"], 0);
    bench.gateway.until_empty();
}

#[test]
fn all_connections_of_a_client_share_what_it_has() {
    let ((one_key, one), (other_key, other)) = (key_of("desk-1", None), key_of("desk-2", None));
    let api_keys = ApiKeys::new([one, other]).unwrap();
    let bench = Bench::new(GateSettings { policy: Policy::Required, api_keys, ..GateSettings::default() });
    let (mut first, mut second) = (bench.client(&one_key), bench.client(&one_key));
    let mut stranger = bench.client(&other_key);
    let (reply, _) = subscribe_warm(&mut first, &subscribe("INFY", "1min", json!(["SMA_20", "RSI_14"])));
    assert_eq!(reply["data"]["subscriptions"], json!(["SMA_20", "RSI_14"]));
    assert!(reply["data"]["initial_values"]["SMA_20"].is_number());
    for tab in [&mut first, &mut second] {
        bench.updates(tab, 10, &["RSI_14", "SMA_20"]);
    }
    bench.updates(&mut stranger, 3, &[]);
    assert_eq!(bench.counter("computations"), 2);
    // One that comes later finds it, and the values that are known.
    let mut third = bench.client(&one_key);
    bench.updates(&mut third, 3, &["RSI_14", "SMA_20"]);
    // Whoever takes away takes it from all.
    let part = json!({"action": "unsubscribe", "symbol": "INFY", "timeframe": "1m", "indicators": ["RSI_14"]});
    let (reply, _) = ask(&mut second, &part);
    assert_eq!(
        (&reply["message"], &reply["data"]["unsubscribed"]),
        (&json!("Unsubscribed from 1 indicator"), &json!(["RSI_14"]))
    );
    first.close();
    // What was on its way comes before the answer.
    ask(&mut third, &json!({"action": "ping"}));
    bench.updates(&mut third, 5, &["SMA_20"]);
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
    bench.updates(&mut again, 5, &["SMA_20", "EMA_9"]);
    let answer = bench.post(&one_key, "/indicators/unsubscribe", &json!({}));
    assert_eq!(answer.json()["message"], "Unsubscribed from 2 indicators");
    ask(&mut again, &json!({"action": "ping"}));
    bench.updates(&mut again, 3, &[]);
}

/// Every tab owns some instruments, whose prices lie where no other's do, and asks in words of its own.
#[test]
fn whatever_happens_no_tab_gets_another_s_values() {
    const TABS: usize = 6;
    const EACH: usize = 4;
    const ROUNDS: usize = 2_500;
    let script = Script::default();
    let gateway = start_behind(by_secret(Policy::Required), quick(), script.source(&[]));
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
        let (client, _) = v2(&gateway, &shared(&format!("user-{}", at / 2), json!({"jti": null})));
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
    // A seat is kept until the farewell is over.
    let ledger = &gateway.app.context.indicators.ledger;
    eventually_true("the ledger is empty", || ledger.totals() == Default::default());
}

#[test]
fn a_hundred_known_values_come_before_the_reply() {
    let bench = Bench::new(by_secret(Policy::Required));
    let mut tab = bench.tab("ann@x");
    let all: Vec<String> = (2..102).map(|length| format!("BBANDS_{length}_2")).collect();
    let (reply, updates) = subscribe_warm(&mut tab, &subscribe("INFY", "1min", json!(all)));
    assert_eq!(reply["message"], "Subscribed to 100 indicators");
    assert_eq!(ids(&updates).len(), 100);
}
