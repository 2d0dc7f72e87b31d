//! Order updates.

use crate::support::client::{Client, get};
use crate::support::eventually_true;
use crate::support::gateway::settings;
use crate::support::keys::key_of;
use crate::support::kite_client::KiteClient;
use crate::support::sandbox::Stand;
use crate::support::ticks::{INFY, RELIANCE};
use crate::{on_kite, on_kite_behind};
use serde_json::json;
use std::sync::atomic::Ordering::SeqCst;
use tickfan::gateway::Settings;
use tickfan::identity::api_key::ApiKeys;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::sandbox::Fault;
use tickfan::session::orders::Audience;

#[test]
fn orders_reach_the_owner_s_kite_clients_byte_by_byte_and_nobody_else() {
    const ORDERS: usize = 100;
    let stand = Stand::new(|_| {});
    let (owner, owner_entry) = key_of("owner", Some(&["segment:*", "mode:full", "account:owner"]));
    let (other, other_entry) = key_of("other", Some(&["segment:*", "mode:full", "stream:all", "indicators"]));
    let api_keys = ApiKeys::new([owner_entry, other_entry]).unwrap();
    let gate = GateSettings { policy: Policy::Required, api_keys, ..GateSettings::default() };
    let (gateway, _) = on_kite_behind(gate, settings(), &stand.sandbox.root(), &[]);
    let connect = |key: &str| {
        let mut client = KiteClient::connect_to(gateway.address, &format!("/kite?api_key=any&access_token={key}"));
        assert_eq!(client.texts_so_far(), ["instruments_meta", "app_code"]);
        client
    };
    let (mut silent, mut busy, mut stranger) = (connect(&owner), connect(&owner), connect(&other));
    let mut tab = Client::knock(gateway.address, &format!("/ws/stream?api_key={owner}"), &[]).unwrap();
    tab.subscribe(&[INFY, RELIANCE], json!({"mode": "full"}));
    for client in [&mut busy, &mut stranger] {
        client.mode("full", &[INFY, RELIANCE]);
        client.until_packet_of(RELIANCE);
    }
    let text =
        |number: usize| format!(r#"{{ "type":"order","data": {{"order_id":"{number}","price":1.50,"x":"₹"}} }}"#);
    for number in 0..ORDERS {
        assert_eq!(stand.inject(Fault::Order { text: text(number) }), 1);
    }
    // One is subscribed to nothing, the other is in the middle of ticks.
    for client in [&mut silent, &mut busy] {
        for number in 0..ORDERS {
            assert_eq!(client.raw_text(), text(number), "all of them, in order");
        }
    }
    assert!(stranger.texts_so_far().is_empty());
    for _ in 0..200 {
        assert!(["tick", "conflated"].contains(&tab.next()["type"].as_str().unwrap()));
    }
    for line in
        ["tickfan_orders_total 100\n", "tickfan_order_deliveries_total 200\n", "tickfan_orders_unheard_total 0\n"]
    {
        // Counted when it has been passed on, which a client may notice before.
        eventually_true(line, || get(gateway.address, "/metrics").body.contains(line));
    }
}

#[test]
fn without_authentication_orders_reach_nobody_unless_a_setting_says_so() {
    for (orders_to, delivered) in [(Audience::Owners, 0), (Audience::Everybody, 1), (Audience::Nobody, 0)] {
        let stand = Stand::new(|_| {});
        let (gateway, _) = on_kite(Settings { orders_to, ..settings() }, &stand.sandbox.root(), &[]);
        let mut client = KiteClient::connect(gateway.address);
        client.mode("ltp", &[INFY]);
        client.until_packet_of(INFY);
        stand.inject(Fault::Order { text: r#"{"type":"order","data":{}}"#.into() });
        let orders = &gateway.app.context.orders;
        eventually_true("the order came", || orders.deliveries.load(SeqCst) + orders.unheard.load(SeqCst) == 1);
        assert_eq!((orders.deliveries.load(SeqCst), orders.unheard.load(SeqCst)), (delivered, 1 - delivered));
        let orders = client.texts_so_far().into_iter().filter(|kind| kind == "order").count();
        assert_eq!(orders as u64, delivered, "{orders_to:?}");
    }
}
