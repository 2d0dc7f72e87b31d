//! What they get of it, byte for byte.

use crate::support::gateway::{settings, start};
use crate::support::kite_client::{KiteClient, last_of, token_of};
use crate::support::script::Script;
use crate::support::ticks::{INFY, full, quote};
use crate::{SENTINEL, bytes, gateway, name, until_wanted};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tickfan::gateway::{Settings, Threads};
use tickfan::kite::packet::{self, packets, visible_length};
use tickfan::market::{Mode, Tick};

/// The vectors' messages, if they are there.
fn vectors() -> Option<Vec<Vec<u8>>> {
    let beside = || std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("TICKFAN_SHARED").map_or_else(beside, Into::into);
    let text = std::fs::read_to_string(shared.join("kite/vectors.json")).ok()?;
    let value: Value = serde_json::from_str(&text).unwrap();
    let unhex =
        |hex: &str| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    Some(value["vectors"].as_array().unwrap().iter().map(|vector| unhex(vector["hex"].as_str().unwrap())).collect())
}

/// What a client in `mode` is due of a sequence of packets, given the last packet of each token before it.
fn due(sequence: &[Vec<u8>], last: &mut BTreeMap<u32, Vec<u8>>, mode: Mode) -> Vec<Vec<u8>> {
    let mut due = Vec::new();
    for packet in sequence {
        let seen = visible_length(packet.len(), mode);
        let before = last.insert(token_of(packet), packet.clone());
        let same = before.is_some_and(|before| before.len() == packet.len() && before[..seen] == packet[..seen]);
        if seen == packet.len() || !same {
            due.push(packet[..seen].to_vec());
        }
    }
    due
}

#[test]
fn every_vector_comes_through_byte_for_byte_in_every_mode() {
    let Some(vectors) = vectors() else { return eprintln!("skipped: there are no vectors; set TICKFAN_SHARED") };
    let known = |message: &Vec<u8>| -> Vec<Vec<u8>> {
        let packets = packets(message).map(|packets| packets.map(<[u8]>::to_vec).collect()).unwrap_or_default();
        Vec::into_iter(packets).filter(|packet: &Vec<u8>| packet::decode(packet).is_ok()).collect()
    };
    let all: Vec<Vec<u8>> = vectors.iter().flat_map(known).collect();
    let tokens: BTreeSet<u32> = all.iter().map(|packet| token_of(packet)).collect();
    assert!(all.len() > 100 && tokens.len() > 20 && !tokens.contains(&SENTINEL));
    for threads in [Threads::One, Threads::Split(1)] {
        let script = Script::default();
        let gateway = start(Settings { threads, ..settings() }, script.source(&[]));
        let wanted: Vec<u32> = tokens.iter().copied().chain([SENTINEL]).collect();
        let mut clients: Vec<_> = Mode::ALL
            .into_iter()
            .map(|mode| {
                let mut client = KiteClient::connect(gateway.address);
                client.mode(&name(mode), &wanted);
                client.settle();
                client
            })
            .collect();
        // Each token's first value, so that none of the vectors is a first one, which would be conflated.
        let first: Vec<Tick> = tokens.iter().map(|token| full(*token, 1)).collect();
        for part in first.chunks(100) {
            script.push(part);
        }
        let mut last = last_of(&first.iter().map(bytes).collect::<Vec<_>>());
        script.push(&[full(SENTINEL, 0)]);
        clients.iter_mut().for_each(|client| drop(client.packets_before(SENTINEL)));
        for (number, message) in (1..).zip(&vectors) {
            script.push_bytes(message.clone());
            script.push(&[full(SENTINEL, number)]);
            let sequence = known(message);
            let before = last.clone();
            for (client, mode) in clients.iter_mut().zip(Mode::ALL) {
                last.clone_from(&before);
                assert_eq!(
                    client.packets_before(SENTINEL),
                    due(&sequence, &mut last, mode),
                    "vector {number}, {mode:?}"
                );
            }
        }
    }
}

#[test]
fn a_change_that_a_mode_does_not_show_is_not_sent_in_it() {
    let (script, gateway) = gateway();
    let mut ltp = KiteClient::connect(gateway.address);
    ltp.mode("ltp", &[INFY, SENTINEL]);
    let mut whole = KiteClient::connect(gateway.address);
    whole.mode("full", &[INFY, SENTINEL]);
    until_wanted(&script, &[(INFY, Mode::Full), (SENTINEL, Mode::Full)]);
    ltp.settle();
    whole.settle();
    for number in 0..10 {
        let mut tick = full(INFY, 1);
        tick.depth.buy[0].orders = number;
        script.push(&[tick]);
    }
    script.push(&[full(SENTINEL, 1)]);
    assert_eq!(whole.packets_before(SENTINEL).len(), 10);
    assert_eq!(ltp.packets_before(SENTINEL), [&bytes(&full(INFY, 1))[..8]]);
}

#[test]
fn what_upstream_does_not_have_is_not_made_up() {
    let (script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    client.mode("full", &[INFY]);
    until_wanted(&script, &[(INFY, Mode::Full)]);
    for tick in [quote(INFY, 1), Tick { mode: Mode::Ltp, ..quote(INFY, 2) }, full(INFY, 3)] {
        script.push(&[tick]);
        assert_eq!(client.packet(), bytes(&tick));
    }
}

#[test]
fn when_the_one_in_full_leaves_upstream_goes_down_and_the_other_sees_no_gap() {
    let (script, gateway) = gateway();
    let mut ltp = KiteClient::connect(gateway.address);
    ltp.mode("ltp", &[INFY]);
    let mut whole = KiteClient::connect(gateway.address);
    whole.mode("full", &[INFY]);
    until_wanted(&script, &[(INFY, Mode::Full)]);
    script.push(&[full(INFY, 1)]);
    assert_eq!((ltp.packet().len(), whole.packet().len()), (8, 184));
    drop(whole);
    until_wanted(&script, &[(INFY, Mode::Ltp)]);
    for number in 2..10 {
        let tick = Tick { mode: Mode::Ltp, ..full(INFY, number) };
        script.push(&[tick]);
        assert_eq!(ltp.packet(), bytes(&tick));
    }
}
