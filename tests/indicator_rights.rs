//! Keys of one client share its indicators; each connection gets of them what its own key may have.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::client::Client;
use support::eventually;
use support::gateway::{Running, settings, start_behind};
use support::keys::{key_of, now};
use support::script::Script;
use support::ticks::INFY;
use tickfan::feed::market;
use tickfan::identity::api_key::ApiKeys;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::market::{InstrumentToken, Mode, Tick};

/// An instrument of another exchange, and how to name it.
fn bse() -> (InstrumentToken, String) {
    let listings = market::listings(market::built_in_count());
    let one = listings.into_iter().find(|one| one.segment == "BSE").unwrap();
    (one.token, format!("BSE:{}", one.symbol))
}

fn connect(gateway: &Running, key: &str) -> Client {
    let mut tab = Client::knock(gateway.address, &format!("/indicators/stream?api_key={key}"), &[]).unwrap();
    assert_eq!(tab.next()["type"], "success");
    tab
}

/// The symbols a tab hears of until it has heard of `last` five times, while both instruments trade.
fn symbols_until(tab: &mut Client, script: &Script, last: &str) -> Vec<Value> {
    let mut symbols = Vec::new();
    let mut volume = now() as u32 % 1_000_000 * 100;
    eventually("the last is heard of", || {
        volume += 1;
        let now_s = now() as u32;
        let tick = |token| Tick {
            mode: Mode::Full,
            volume_traded: volume,
            last_trade_time: now_s,
            exchange_timestamp: now_s,
            ..Tick::ltp(token, 150_000 + (volume % 1_000) as i32)
        };
        script.push(&[tick(InstrumentToken(INFY)), tick(bse().0)]);
        let update = tab.next_within(Duration::from_millis(20))?;
        if update["type"] == "indicator_update" {
            symbols.push(update["symbol"].clone());
        }
        (symbols.iter().filter(|symbol| **symbol == *last).count() == 5).then_some(())
    });
    symbols
}

#[test]
fn a_connection_gets_what_its_own_key_may_have_and_after_a_refresh_no_more() {
    let words = ["segment:NSE", "segment:BSE", "indicators"];
    let ((wide, one), (narrow, two)) = (key_of("desk", Some(&words)), key_of("desk", Some(&words[1..])));
    let api_keys = ApiKeys::new([one, two]).unwrap();
    let script = Script::default();
    let mut settings = settings();
    settings.engine.forming_ns = 1_000_000;
    let gate = GateSettings { policy: Policy::Required, api_keys, ..GateSettings::default() };
    let gateway = start_behind(gate, settings, script.source(&[]));
    let (mut rich, mut poor) = (connect(&gateway, &wide), connect(&gateway, &narrow));
    for symbol in ["INFY", &bse().1] {
        let request = json!({"action": "subscribe", "symbol": symbol, "timeframe": "1m", "indicators": ["VWAP"]});
        rich.say(&request);
        assert_eq!(rich.until("success")["message"], "Subscribed to 1 indicator");
    }
    assert!(symbols_until(&mut rich, &script, "INFY").contains(&json!("INFY")));
    assert!(!symbols_until(&mut poor, &script, &bse().1).contains(&json!("INFY")));
    let mut late = connect(&gateway, &narrow);
    assert!(!symbols_until(&mut late, &script, &bse().1).contains(&json!("INFY")));

    rich.say(&json!({"action": "refresh", "token": narrow}));
    assert_eq!(rich.until("success")["message"], "Token refreshed");
    assert!(!symbols_until(&mut rich, &script, &bse().1).contains(&json!("INFY")), "nothing follows the answer");
    assert!(
        symbols_until(&mut connect(&gateway, &wide), &script, "INFY").contains(&json!("INFY")),
        "the client has it"
    );
}
