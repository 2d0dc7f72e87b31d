//! A gateway whose upstream is a gateway.

use crate::support::eventually_true;
use crate::support::gateway::{settings, start};
use crate::support::kite_client::KiteClient;
use crate::support::script::Script;
use crate::support::ticks::{INFY, RELIANCE, TCS, full, quote};
use crate::{on_kite, upstream};
use serde_json::json;
use std::collections::BTreeMap;
use tickfan::gateway::Settings;
use tickfan::kite::packet;
use tickfan::market::{Mode, Tick};

fn bytes(tick: &Tick) -> Vec<u8> {
    let mut out = Vec::new();
    packet::encode(tick, &mut out);
    out
}

#[test]
fn a_gateway_on_a_gateway_is_as_good_as_one_on_kite() {
    let script = Script::default();
    let first = start(settings(), script.source(&[]));
    let address = first.address;
    let (second, _) = on_kite(settings(), &format!("ws://{address}/kite"), &[]);
    let mut client = KiteClient::connect(second.address);
    client.ask("subscribe", &[INFY, TCS]);
    client.mode("full", &[INFY]);
    let mut tab = second.client();
    tab.subscribe(&[RELIANCE], json!({"mode": "ltp"}));
    let wanted = |modes: &[(u32, Mode)]| modes.iter().copied().collect::<BTreeMap<_, _>>();
    let all = wanted(&[(INFY, Mode::Full), (TCS, Mode::Quote), (RELIANCE, Mode::Ltp)]);
    script.until_wanted(&all);
    for number in 1..=50 {
        script.push(&[full(INFY, number), quote(TCS, number), full(RELIANCE, number)]);
        assert_eq!(client.until_packet_of(INFY), bytes(&full(INFY, number)));
        let tick = tab.until("tick");
        assert_eq!((&tick["token"], &tick["mode"]), (&json!(RELIANCE.to_string()), &json!("ltp")));
    }
    eventually_true("heartbeats go through", || {
        let counters = second.app.feed_counters.list();
        counters.iter().any(|counter| counter.name == "heartbeats" && counter.value > 0)
    });
    client.mode("ltp", &[INFY]);
    client.ask("unsubscribe", &[TCS]);
    let fewer = wanted(&[(INFY, Mode::Ltp), (RELIANCE, Mode::Ltp)]);
    script.until_wanted(&fewer);
    // The first ends and comes back at the same address.
    first.stop();
    let stale = tab.until("stale");
    assert_eq!(stale["tokens"], json!([RELIANCE.to_string()]));
    let again = Script::default();
    let _first = start(Settings { listen: address, ..settings() }, again.source(&[]));
    again.until_wanted(&fewer);
    again.push(&[full(INFY, 100), full(RELIANCE, 100)]);
    let ltp = Tick { mode: Mode::Ltp, ..full(INFY, 100) };
    while client.until_packet_of(INFY) != bytes(&ltp) {}
    assert_eq!(tab.until("fresh")["tokens"], json!([RELIANCE.to_string()]));
    again.push(&[full(RELIANCE, 101)]);
    while tab.until("tick")["price"] != 1_001.01 {}
    eventually_true("it is connected", || upstream(&second)["diagnosis"] == "connected");
}
