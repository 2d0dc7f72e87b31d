//! What is asked for, and what of it upstream hears.

use crate::scripted;
use crate::support::eventually_true;
use crate::support::ticks::{INFY, NIFTY_50, RELIANCE, TCS, full, index};
use serde_json::json;
use tickfan::market::Mode;

#[test]
fn a_subscription_names_tokens_and_symbols_and_is_echoed() {
    let (gateway, _script) = scripted();
    let mut tab = gateway.client();
    let reply = tab.ask(&json!({"action": "subscribe", "symbols": ["TCS", "NSE:INFY", "NIFTY50", "reliance", "NOPE"],
        "tokens": ["738561", 408_065], "timeframes": ["1d", "5min"], "throttle_ms": 250, "batch": true,
        "batch_size": 7, "format": "json", "mode": "full", "colour": {"deep": [1]}}));
    let expected = json!({"type": "subscribed", "symbols": ["TCS", "NSE:INFY", "NIFTY50", "reliance", "NOPE"],
        "tokens": ["738561", "408065", "2953217", "256265"], "timeframes": ["1d", "5min"], "throttle_ms": 250,
        "batch": true, "batch_size": 7, "format": "json", "mode": "full", "unknown_symbols": ["NOPE"]});
    assert_eq!(reply, expected);
}

#[test]
fn what_a_subscription_leaves_out_has_a_default() {
    let (gateway, _script) = scripted();
    let mut tab = gateway.client();
    let expected = json!({"type": "subscribed", "symbols": [], "tokens": [], "timeframes": [], "throttle_ms": 0,
        "batch": false, "batch_size": 1, "format": "json", "mode": "quote"});
    assert_eq!(tab.ask(&json!({"action": "subscribe"})), expected);
    let nulls = json!({"action": "subscribe", "symbols": null, "tokens": null, "timeframes": null,
        "throttle_ms": null, "batch": null, "batch_size": null, "format": null, "mode": null});
    assert_eq!(tab.ask(&nulls), expected);
}

#[test]
fn a_second_subscription_replaces_the_first() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[RELIANCE, INFY], json!({}));
    tab.subscribe(&[INFY, TCS], json!({"mode": "ltp"}));
    script.push(&[full(RELIANCE, 1), full(INFY, 1), full(TCS, 1)]);
    let (first, second) = (tab.next(), tab.next());
    assert_eq!((&first["token"], &first["mode"]), (&json!("408065"), &json!("ltp")));
    assert_eq!(second["token"], "2953217");
    tab.expect_silence();
    assert_eq!(tab.subscribe(&[], json!({}))["tokens"], json!([]));
    let mut other = gateway.client();
    other.subscribe(&[TCS], json!({}));
    script.push(&[full(RELIANCE, 2), full(INFY, 2), full(TCS, 2)]);
    // So that the second value is there when it is subscribed to.
    while other.next()["volume_traded"] != 2 {}
    tab.subscribe(&[TCS], json!({}));
    let snapshot = tab.next();
    assert_eq!((&snapshot["token"], &snapshot["snapshot"]), (&json!("2953217"), &json!(true)));
    tab.expect_silence();
}

#[test]
fn unsubscribing_takes_away_what_it_names() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[RELIANCE, INFY, TCS, NIFTY_50], json!({"timeframes": ["5min", "1d"]}));
    let reply = tab.ask(&json!({"action": "unsubscribe", "tokens": ["738561"], "symbols": ["TCS"]}));
    let expected =
        json!({"type": "unsubscribed", "symbols": ["TCS"], "tokens": ["738561", "2953217"], "timeframes": []});
    assert_eq!(reply, expected);
    script.push(&[full(RELIANCE, 1), full(TCS, 1), full(INFY, 1)]);
    assert_eq!(tab.next()["token"], "408065");
    // What it does not have: the reply is the same, and nothing else changes.
    let reply = tab.ask(&json!({"action": "unsubscribe", "tokens": [RELIANCE, 12_345_601]}));
    assert_eq!(reply["tokens"], json!(["738561", "12345601"]));
    let reply = tab.ask(&json!({"action": "unsubscribe", "timeframes": ["1d"]}));
    assert_eq!((&reply["tokens"], &reply["timeframes"]), (&json!([]), &json!(["1d"])));
    script.push(&[full(INFY, 2)]);
    assert_eq!(tab.next()["token"], "408065");
    let reply = tab.ask(&json!({"action": "unsubscribe"}));
    let expected =
        json!({"type": "unsubscribed", "symbols": [], "tokens": ["256265", "408065"], "timeframes": ["5min"]});
    assert_eq!(reply, expected);
    script.push(&[full(INFY, 3), index(NIFTY_50, 3)]);
    tab.expect_silence();
    let nothing = json!({"type": "unsubscribed", "symbols": [], "tokens": [], "timeframes": []});
    assert_eq!(tab.ask(&json!({"action": "unsubscribe"})), nothing);
    // The candles it had linger a little.
    eventually_true("nothing is wanted", || gateway.app.context.board.demand().is_empty());
}

#[test]
fn all_is_every_token_there_is_and_will_be_and_ends() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    let mut other = gateway.client();
    other.subscribe(&[INFY], json!({}));
    tab.subscribe(&[RELIANCE], json!({}));
    assert_eq!(tab.ask(&json!({"action": "set_all"})), json!({"type": "set_all", "all": true}));
    script.push(&[full(RELIANCE, 1), full(INFY, 1)]);
    assert_eq!((tab.next()["token"].clone(), tab.next()["token"].clone()), (json!("738561"), json!("408065")));
    // One that appears only now, because the other tab wants it.
    other.next();
    other.subscribe(&[TCS], json!({}));
    script.push(&[full(TCS, 1)]);
    assert_eq!(tab.next()["token"], "2953217");
    // Naming a part does not end it.
    tab.ask(&json!({"action": "unsubscribe", "tokens": [INFY]}));
    script.push(&[full(INFY, 2)]);
    assert_eq!(tab.next()["token"], "408065");
    assert_eq!(tab.ask(&json!({"action": "set_all", "all": false})), json!({"type": "set_all", "all": false}));
    let snapshot = tab.next();
    assert_eq!((&snapshot["token"], &snapshot["snapshot"]), (&json!("738561"), &json!(true)));
    script.push(&[full(TCS, 2), full(INFY, 3), full(RELIANCE, 2)]);
    assert_eq!(tab.next()["volume_traded"], 2);
    tab.expect_silence();
}

#[test]
fn a_subscription_ends_all() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({}));
    tab.ask(&json!({"action": "set_all", "all": true}));
    tab.subscribe(&[RELIANCE], json!({}));
    script.push(&[full(INFY, 1), full(RELIANCE, 1)]);
    assert_eq!(tab.next()["token"], "738561");
    tab.expect_silence();
    tab.ask(&json!({"action": "set_all", "all": true}));
    let snapshots = [tab.next(), tab.next()];
    assert!(snapshots.iter().all(|tick| tick["snapshot"] == true), "{snapshots:?}");
    let reply = tab.ask(&json!({"action": "unsubscribe"}));
    assert_eq!(reply["type"], "unsubscribed");
    script.push(&[full(INFY, 2), full(RELIANCE, 2)]);
    tab.expect_silence();
    assert!(gateway.app.context.board.demand().is_empty());
}

#[test]
fn upstream_is_asked_for_the_union_in_the_highest_mode() {
    let (gateway, script) = scripted();
    let (mut one, mut two) = (gateway.client(), gateway.client());
    one.subscribe(&[INFY, TCS], json!({"mode": "ltp"}));
    two.subscribe(&[INFY], json!({"mode": "full"}));
    script.until_wanted(&[(INFY, Mode::Full), (TCS, Mode::Ltp)].into());
    two.close();
    script.until_wanted(&[(INFY, Mode::Ltp), (TCS, Mode::Ltp)].into());
    one.ask(&json!({"action": "unsubscribe", "tokens": [INFY]}));
    script.until_wanted(&[(TCS, Mode::Ltp)].into());
    one.vanish();
    script.until_wanted(&[].into());
    gateway.until_empty();
}
