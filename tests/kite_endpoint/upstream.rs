//! What upstream hears of it.

use crate::bytes;
use crate::support::client::get;
use crate::support::gateway::{settings, start};
use crate::support::kite_client::{KiteClient, last_of};
use crate::support::kite_server::{Answer, KiteServer, Peer};
use crate::support::ticks::{INFY, NIFTY_50, TCS, full, index};
use crate::support::{eventually, eventually_true};
use serde_json::Value;
use std::time::Duration;
use tickfan::assembly;
use tickfan::clock::Clock;
use tickfan::config::{Config, FeedChoice};
use tickfan::demand::DemandSettings;
use tickfan::gateway::Settings;
use tickfan::secret::Secret;
use tokio_tungstenite::tungstenite::Message;

/// What has been asked of the upstream stand-in until now.
fn asked(peer: &Peer) -> Vec<String> {
    std::iter::from_fn(|| peer.heard()).filter_map(|message| Some(message.to_text().ok()?.to_owned())).collect()
}

#[test]
fn upstream_hears_of_each_token_once_however_clients_repeat_themselves_and_may_go_away() {
    let server = KiteServer::start();
    let mut config = Config::defaults().unwrap();
    config.feed = FeedChoice::Kite;
    config.kite_root = server.root().parse().unwrap();
    config.kite_api_key = Some(Secret::new("upkey"));
    config.kite_access_token = Some(Secret::new("uptoken"));
    let source = assembly::feed(&config, &Clock::system()).unwrap();
    let demand = DemandSettings { debounce: Duration::from_millis(50), linger: Duration::from_secs(60) };
    let gateway = start(Settings { demand, ..settings() }, source);
    let mut call = eventually("the gateway connects", || server.call());
    let peer = call.peer.as_mut().unwrap();
    let mut client = KiteClient::connect(gateway.address);
    client.say_together(&[
        r#"{"a": "subscribe", "v": [408065, 256265]}"#,
        r#"{"a": "mode", "v": ["full", [408065]]}"#,
        r#"{"a": "subscribe", "v": [408065]}"#,
        r#"{"a": "mode", "v": ["full", [408065]]}"#,
        r#"{"a": "subscribe", "v": [256265]}"#,
        r#"{"a": "mode", "v": ["quote", [256265]]}"#,
    ]);
    let mut heard = Vec::new();
    eventually_true("upstream is asked", || {
        heard.extend(asked(peer));
        heard.iter().any(|text| text.contains("256265")) && heard.iter().any(|text| text.contains("full"))
    });
    // Once the token is told, a value comes: so all of this demand was told.
    peer.send(&crate::support::ticks::message(&[full(INFY, 1), index(NIFTY_50, 2)]));
    assert_eq!(last_of(&client.packets()).len(), 2);
    heard.extend(asked(peer));
    let subscriptions: Vec<Value> = heard
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .filter(|text: &Value| text["a"] == "subscribe")
        .collect();
    let tokens: Vec<_> = subscriptions.iter().flat_map(|text| text["v"].as_array().unwrap().clone()).collect();
    assert_eq!(tokens.len(), 2, "each token is subscribed once: {heard:?}");
    // The same again, as Python does after a drop, and .NET, which gives up everything first.
    client.say_together(&[
        r#"{"a": "subscribe", "v": [408065, 256265]}"#,
        r#"{"a": "mode", "v": ["full", [408065]]}"#,
        r#"{"a":"unsubscribe","v":[408065,256265]}"#,
        r#"{"a":"subscribe","v":[408065,256265]}"#,
        r#"{"a":"mode","v":["full", [408065]]}"#,
    ]);
    client.say(r#"{"a":"subscribe","v":[256265]}"#);
    let again = client.until_packet_of(INFY);
    assert_eq!(again, bytes(&full(INFY, 1)));
    // Something new, so that whatever was told before it has arrived too.
    client.ask("subscribe", &[TCS]);
    let mut heard = Vec::new();
    eventually_true("upstream is asked for the new one", || {
        heard.extend(asked(peer));
        heard.iter().any(|text| text.contains(&TCS.to_string()))
    });
    assert!(heard.iter().all(|text| !text.contains("408065") && !text.contains("256265")), "{heard:?}");

    // Upstream goes away and refuses to come back: heartbeats go on.
    for _ in 0..3 {
        server.answer(Answer::Refuse(500, "later".to_owned()));
    }
    call.peer.as_mut().unwrap().drop_tcp();
    eventually("the gateway tries again", || server.call());
    for _ in 0..3 {
        while client.next() != Message::binary(vec![0]) {}
    }
    assert!(get(gateway.address, "/ws/test").body.contains("\"state\""));
    let mut call = eventually("the gateway is back", || server.call().filter(|call| call.peer.is_some()));
    let peer = call.peer.as_mut().unwrap();
    let mut heard = Vec::new();
    eventually_true("all three are asked for again", || {
        heard.extend(asked(peer));
        [INFY, NIFTY_50, TCS].iter().all(|token| heard.iter().any(|text| text.contains(&token.to_string())))
    });
    peer.send(&crate::support::ticks::message(&[full(INFY, 9)]));
    assert_eq!(client.until_packet_of(INFY), bytes(&full(INFY, 9)));
}
