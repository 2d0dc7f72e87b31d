//! What clients ask for.

use crate::support::client::Raw;
use crate::support::eventually_true;
use crate::support::gateway::{settings, start};
use crate::support::kite_client::{KiteClient, LOGIN, last_of};
use crate::support::script::Script;
use crate::support::ticks::{INFY, NIFTY_50, RELIANCE, TCS, full, index, quote};
use crate::{bytes, gateway, handshake, until_wanted};
use std::collections::BTreeMap;
use tickfan::gateway::Settings;
use tickfan::market::Mode;

#[test]
fn a_subscription_is_in_quote_and_mode_alone_subscribes() {
    let (script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    client.ask("subscribe", &[INFY]);
    client.mode("full", &[TCS]);
    client.mode("ltp", &[NIFTY_50]);
    until_wanted(&script, &[(INFY, Mode::Quote), (TCS, Mode::Full), (NIFTY_50, Mode::Ltp)]);
    client.settle();
    script.push(&[full(INFY, 1), full(TCS, 2), index(NIFTY_50, 3)]);
    let got = client.packets();
    assert_eq!(got, [&bytes(&full(INFY, 1))[..44], &bytes(&full(TCS, 2)), &bytes(&index(NIFTY_50, 3))[..8]]);
    let shown = gateway.connections();
    assert_eq!(shown[0]["filter"]["mode"], "mixed");
    assert_eq!(shown[0]["filter"]["tokens"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_subscription_and_its_mode_together_give_one_packet_in_that_mode() {
    let (script, gateway) = gateway();
    let mut first = KiteClient::connect(gateway.address);
    first.mode("full", &[INFY]);
    until_wanted(&script, &[(INFY, Mode::Full)]);
    script.push(&[full(INFY, 1)]);
    first.packet();
    let mut second = KiteClient::connect(gateway.address);
    second.say_together(&[r#"{"a": "subscribe", "v": [408065]}"#, r#"{"a": "mode", "v": ["full", [408065]]}"#]);
    assert_eq!(second.packet(), bytes(&full(INFY, 1)));
    // A second subscription keeps the mode and gives the last value again; so does Python's whole ritual after a drop.
    second.ask("subscribe", &[INFY]);
    assert_eq!(second.packet(), bytes(&full(INFY, 1)));
    script.push(&[full(INFY, 2)]);
    assert_eq!(second.packet(), bytes(&full(INFY, 2)));
    // A lower mode likewise shows its part at once.
    second.mode("ltp", &[INFY]);
    assert_eq!(second.packet(), bytes(&full(INFY, 2))[..8]);
}

#[test]
fn after_an_unsubscription_nothing_comes() {
    let (script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    client.ask("subscribe", &[INFY, TCS]);
    until_wanted(&script, &[(INFY, Mode::Quote), (TCS, Mode::Quote)]);
    client.ask("unsubscribe", &[INFY, RELIANCE]);
    until_wanted(&script, &[(TCS, Mode::Quote)]);
    script.push(&[quote(INFY, 1), quote(TCS, 2)]);
    assert_eq!(client.packets(), [bytes(&quote(TCS, 2))]);
}

#[test]
fn a_request_may_be_binary_and_have_tokens_as_text() {
    let (script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    client.say(r#"{"v":["408065"],"a":"subscribe"}"#);
    until_wanted(&script, &[(INFY, Mode::Quote)]);
    let mut raw = Raw::connect(gateway.address);
    raw.send(handshake(LOGIN).as_bytes());
    raw.head();
    raw.send(&crate::support::client::client_frame(0x82, br#"{"a":"mode","v":["full", [2953217 ]]}"#));
    until_wanted(&script, &[(INFY, Mode::Quote), (TCS, Mode::Full)]);
}

#[test]
fn what_is_not_understood_gets_an_error_of_text_and_the_socket_stays() {
    let (script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    for (text, named) in [
        ("null", "Invalid request"),
        ("hello", "Invalid request"),
        (r#"{"a":"buy","v":[1]}"#, "Invalid action"),
        (r#"{"a":"subscribe","v":["INFY"]}"#, "Error parsing instrument token"),
        (r#"{"a":"mode","v":["depth",[1]]}"#, "Invalid mode"),
    ] {
        client.say(text);
        let error = client.error();
        assert!(error.starts_with(named), "{error}");
    }
    client.ask("subscribe", &[INFY]);
    until_wanted(&script, &[(INFY, Mode::Quote)]);
}

#[test]
fn a_connection_has_so_many_tokens_and_no_more() {
    let script = Script::default();
    let gateway = start(Settings { max_kite_tokens: 3, ..settings() }, script.source(&[]));
    let mut client = KiteClient::connect(gateway.address);
    client.ask("subscribe", &[INFY, TCS]);
    client.mode("full", &[TCS, RELIANCE, NIFTY_50]);
    assert_eq!(client.error(), "Can't subscribe to more than 3 instruments.");
    until_wanted(&script, &[(INFY, Mode::Quote), (TCS, Mode::Full), (RELIANCE, Mode::Full)]);
    // What it has already costs nothing, and what it gives up makes room.
    client.ask("subscribe", &[INFY, TCS, RELIANCE]);
    client.ask("unsubscribe", &[INFY]);
    client.ask("subscribe", &[NIFTY_50]);
    until_wanted(&script, &[(TCS, Mode::Full), (RELIANCE, Mode::Full), (NIFTY_50, Mode::Quote)]);
}

#[test]
fn three_thousand_tokens_fit_a_request_and_come_in_few_frames() {
    let tokens: Vec<u32> = (0..3_000).map(|number| (number + 400_000) << 8 | 1).collect();
    let script = Script::default();
    let gateway = start(Settings { max_message: 16_384, ..settings() }, script.source(&tokens));
    for part in tokens.chunks(1_000) {
        script.push(&part.iter().map(|token| full(*token, 7)).collect::<Vec<_>>());
    }
    eventually_true("all is published", || gateway.app.feed_counters.ticks.get() == 3_000);
    let mut client = KiteClient::connect(gateway.address);
    let list = format!("{tokens:?}");
    client.say(&format!(r#"{{"a": "mode", "v": ["full", {list}]}}"#));
    let (mut got, mut frames) = (Vec::new(), 0);
    while got.len() < tokens.len() {
        got.extend(client.packets());
        frames += 1;
    }
    assert!(frames <= 50, "{frames} frames");
    let expected: BTreeMap<_, _> = tokens.iter().map(|token| (*token, bytes(&full(*token, 7)))).collect();
    assert_eq!((got.len(), last_of(&got)), (3_000, expected));
}
