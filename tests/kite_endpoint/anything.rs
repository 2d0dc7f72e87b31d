//! Whatever clients and upstream do.

use crate::support::eventually_true;
use crate::support::gateway::{settings, start};
use crate::support::kite_client::{KiteClient, cut, last_of, token_of};
use crate::support::script::Script;
use crate::support::ticks::full;
use crate::{SENTINEL, bytes, name};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tickfan::gateway::Settings;
use tickfan::kite::packet::visible_length;
use tickfan::market::{Mode, Tick};
use tokio_tungstenite::tungstenite::Message;

#[derive(Clone, Debug)]
enum Step {
    /// A tick of a token in that mode.
    Tick(usize, Mode),
    Subscribe(usize),
    Unsubscribe(usize),
    Mode(usize, Mode),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let token = 0..4_usize;
    let mode = prop_oneof![Just(Mode::Ltp), Just(Mode::Quote), Just(Mode::Full)];
    let step = prop_oneof![
        8 => (token.clone(), mode.clone()).prop_map(|(token, mode)| Step::Tick(token, mode)),
        1 => token.clone().prop_map(Step::Subscribe),
        1 => token.clone().prop_map(Step::Unsubscribe),
        2 => (token, mode).prop_map(|(token, mode)| Step::Mode(token, mode)),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A client that asks for this and that while ticks come never sees a token go back, and in the end has the newest value
/// of each, cut to its mode.
fn never_back_and_newest_in_the_end(steps: &[Step]) {
    let script = Script::default();
    let tokens: Vec<u32> = (1..=4).map(|number| (number + 900) << 8 | 1).collect();
    let universe: Vec<u32> = tokens.iter().copied().chain([SENTINEL]).collect();
    let gateway = start(Settings { ring_capacity: 16, ..settings() }, script.source(&universe));
    let mut client = KiteClient::connect(gateway.address);
    client.ask("subscribe", &[SENTINEL]);
    let mut wanted: BTreeMap<u32, Mode> = BTreeMap::new();
    let mut newest: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for (number, step) in (1..).zip(steps) {
        match *step {
            Step::Tick(at, mode) => {
                let mut tick = Tick { mode, ..full(tokens[at], number) };
                // Some changes are not seen in mode ltp.
                tick.last_price = 1_000 + number.cast_signed() / 4;
                newest.insert(tokens[at], bytes(&tick));
                script.push(&[tick]);
            }
            Step::Subscribe(at) => {
                wanted.entry(tokens[at]).or_insert(Mode::Quote);
                client.ask("subscribe", &[tokens[at]]);
            }
            Step::Unsubscribe(at) => {
                wanted.remove(&tokens[at]);
                client.ask("unsubscribe", &[tokens[at]]);
            }
            Step::Mode(at, mode) => {
                wanted.insert(tokens[at], mode);
                client.mode(&name(mode), &[tokens[at]]);
            }
        }
    }
    // An error comes when all requests before it have been carried out.
    client.say("settled?");
    let mut seen: Vec<Vec<u8>> = Vec::new();
    loop {
        match client.next() {
            Message::Text(text) if text.contains("Invalid request") => break,
            Message::Binary(bytes) if *bytes != [0] => seen.extend(cut(&bytes)),
            _ => {}
        }
    }
    // The last values of what was asked for last may still be on their way, and are before this.
    eventually_true("all is published", || script.waiting() == 0);
    script.push(&[full(SENTINEL, 1)]);
    seen.extend(client.packets_before(SENTINEL));
    let mut prices: BTreeMap<u32, i32> = BTreeMap::new();
    for packet in &seen {
        let price = i32::from_be_bytes(packet[4..8].try_into().unwrap());
        let before = prices.insert(token_of(packet), price);
        assert!(before <= Some(price), "{} went back from {before:?} to {price}", token_of(packet));
    }
    let last = last_of(&seen);
    for (token, mode) in wanted {
        let Some(newest) = newest.get(&token) else { continue };
        let expected = &newest[..visible_length(newest.len(), mode)];
        assert_eq!(last.get(&token).map(Vec::as_slice), Some(expected), "{token} in {mode:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_client_never_sees_a_token_go_back_and_has_the_newest_in_the_end(steps in steps()) {
        never_back_and_newest_in_the_end(&steps);
    }
}
