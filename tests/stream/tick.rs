//! What a tick says, which comes first, and that none is lost.

use crate::support::client::Client;
use crate::support::gateway::{Running, WAYS, settings, start};
use crate::support::script::Script;
use crate::support::ticks::{INFY, NIFTY_50, RELIANCE, TCS, full, index, price_of, quote};
use crate::{as_floats, fields, scripted};
use serde_json::{Value, json};
use tickfan::market::{Mode, Tick};

const LTP: [&str; 8] = ["type", "token", "price", "timestamp", "volume_traded", "last_price", "mode", "tradable"];
const OF_QUOTE: [&str; 6] =
    ["last_traded_quantity", "average_traded_price", "total_buy_quantity", "total_sell_quantity", "ohlc", "change"];
const OF_FULL: [&str; 6] = ["last_trade_time", "oi", "oi_day_high", "oi_day_low", "exchange_timestamp", "depth"];

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
    let [ltp, quote, full_mode] = tabs.each_mut().map(crate::support::client::Client::next);
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

    let [ltp, quote, full_mode] = tabs.each_mut().map(crate::support::client::Client::next);
    let index_quote = || LTP.into_iter().chain(["ohlc", "change"]);
    assert_eq!(fields(&ltp), LTP.into());
    assert_eq!(fields(&quote), index_quote().collect());
    assert_eq!(fields(&full_mode), index_quote().chain(["exchange_timestamp"]).collect());
    for tick in [ltp, quote, full_mode] {
        assert_eq!((&tick["token"], &tick["tradable"]), (&json!("256265"), &json!(false)));
        assert_eq!((&tick["price"], &tick["volume_traded"]), (&json!(1000.02), &json!(0)));
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
    [ltp, quotes, all].iter_mut().for_each(crate::support::client::Client::expect_silence);
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
    let mut odd = crate::support::ticks::message(&[full(INFY, 1), full(INFY, 2)]);
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

/// A tab that has had the first value of INFY and has given it up, of which upstream has heard.
fn gave_up(gateway: &Running, script: &Script) -> Client {
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({}));
    script.until_wanted(&[(INFY, Mode::Quote)].into());
    script.push(&[full(INFY, 1)]);
    tab.next();
    tab.ask(&json!({"action": "unsubscribe"}));
    script.until_wanted(&[].into());
    tab
}

#[test]
fn an_old_value_is_no_snapshot_once_upstream_has_ended() {
    let (gateway, script) = scripted();
    let mut tab = gave_up(&gateway, &script);
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
    let mut tab = gave_up(&gateway, &script);
    let reply = tab.subscribe(&[INFY], json!({}));
    assert_eq!(reply["tokens"], json!(["408065"]));
    // It would not come if the value were not kept up to date.
    let snapshot = tab.next();
    assert_eq!((&snapshot["snapshot"], &snapshot["volume_traded"]), (&json!(true), &json!(1)));
}
