//! How much upstream has room for, and who may take it.

use crate::support::eventually_true;
use crate::support::gateway::{settings, start};
use crate::support::script::Script;
use crate::support::ticks::{INFY, RELIANCE, TCS};
use crate::{token, with_room};
use serde_json::json;
use std::collections::BTreeMap;
use tickfan::gateway::Settings;

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
