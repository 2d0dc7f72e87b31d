//! The 102 vectors of the shared folder, a few of our own, and a million frames nobody would send.

use std::path::PathBuf;

use serde_json::Value;
use tickfan::decode::tick_json;
use tickfan::kite::packet::{self, MAX_PACKET, MessageBuilder, packets};
use tickfan::market::{InstrumentToken, Layout, Mode, Tick};

/// Vectors whose prices the Python client reads unsigned; for their prices the JS client is right.
const SIGNED: [&str; 3] = ["ltp-negative", "full-negative", "quote-max-u32"];

/// The shared folder: `TICKFAN_SHARED`, or `shared` beside the repository.
fn shared() -> PathBuf {
    std::env::var_os("TICKFAN_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(&two.iter().collect::<String>(), 16).unwrap()).collect()
}

/// All ticks of a message as `tickfan decode` prints them; packets of unknown length are left out.
fn ticks(message: &[u8]) -> Result<Vec<Value>, packet::PacketError> {
    // Through text: that is what others read, and serde_json reads the vectors' floats to within one unit only, so both
    // sides must have gone that way to be compared for equality.
    let printed = |tick| serde_json::from_str(&tick_json(&tick).to_string()).unwrap();
    Ok(packets(message)?.filter_map(|packet| packet::decode(packet).ok()).map(printed).collect())
}

/// Compares a decoded value with what the clients say and counts the leaves.
fn compare(ours: &Value, python: &Value, js: &Value, signed: bool, place: &str) -> usize {
    if let Some(epoch) = python.get("epoch") {
        assert_eq!(ours, epoch, "{place}");
        return 1;
    }
    match python {
        Value::Object(fields) => {
            let ours = ours.as_object().unwrap_or_else(|| panic!("{place} is no object"));
            assert!(ours.keys().eq(fields.keys()), "{place}: {:?}, not {:?}", ours.keys(), fields.keys());
            fields
                .iter()
                .map(|(key, value)| compare(&ours[key], value, &js[key], signed, &format!("{place}.{key}")))
                .sum()
        }
        Value::Array(items) => {
            let ours = ours.as_array().unwrap_or_else(|| panic!("{place} is no array"));
            assert_eq!(ours.len(), items.len(), "{place}");
            let each =
                |(at, value): (usize, &Value)| compare(&ours[at], value, &js[at], signed, &format!("{place}[{at}]"));
            items.iter().enumerate().map(each).sum()
        }
        _ => {
            let price = ["price", "open", "high", "low", "close", "change"].iter().any(|name| place.ends_with(name));
            let expected = if signed && price { js } else { python };
            match (ours.as_f64(), expected.as_f64()) {
                (Some(ours), Some(expected)) => assert!(ours == expected, "{place}: {ours}, not {expected}"),
                _ => assert_eq!(ours, expected, "{place}"),
            }
            1
        }
    }
}

#[test]
fn every_vector_decodes_as_the_official_clients_have_it() {
    let path = shared().join("kite/vectors.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not there; set TICKFAN_SHARED to the shared folder", path.display());
        return;
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let (mut checked, mut refused, mut leaves) = (0, 0, 0);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let message = bytes(vector["hex"].as_str().unwrap());
        assert_eq!(message.len() as u64, vector["bytes"].as_u64().unwrap(), "{name}");
        let python = &vector["pykiteconnect"];
        if python.get("raises").is_some() {
            assert!(packets(&message).is_err(), "{name}: Python raises {}", python["raises"]);
            refused += 1;
        } else {
            let ours = Value::Array(ticks(&message).unwrap_or_else(|error| panic!("{name}: {error}")));
            let js = &vector["kiteconnectjs"]["ticks"];
            leaves += compare(&ours, &python["ticks"], js, SIGNED.contains(&name), name);
        }
        checked += 1;
    }
    println!("{checked} vectors, {refused} of them refused, {leaves} fields compared");
    assert_eq!((checked, refused), (102, 7));
    assert!(leaves > 2000, "only {leaves} fields were compared");
}

#[test]
fn a_few_frames_made_by_hand() {
    let table = [
        ("heartbeat", "00", Ok(vec![])),
        ("nothing", "", Ok(vec![])),
        ("ltp, divided by 100", "0001 0008 00063a01 00009c40", Ok(vec![("ltp", 400.0)])),
        ("CDS, by ten million", "0001 0008 00000103 01312d00", Ok(vec![("ltp", 2.0)])),
        ("BCD, by ten thousand", "0001 0008 00000106 00004e20", Ok(vec![("ltp", 2.0)])),
        ("NCO, by ten thousand", "0001 0008 0000010c 051014e0", Ok(vec![("ltp", 8494.0)])),
        ("a negative price", "0001 0008 0003e907 fffa4214", Ok(vec![("ltp", -3763.0)])),
        (
            "two, and junk behind",
            "0002 0008 00063a0100000064 0008 00063a01000000c8 dead",
            Ok(vec![("ltp", 1.0), ("ltp", 2.0)]),
        ),
        ("12 bytes, then ltp", "0002 000c 00063a010000006400000000 0008 00063a01000000c8", Ok(vec![("ltp", 2.0)])),
        ("44 announced, 8 there", "0001 002c 00063a0100000064", Ok(vec![("ltp", 1.0)])),
        ("cut in a length", "0002 0008 00063a0100000064 00", Err(())),
        ("no packet at all", "0001", Err(())),
        ("a packet without a token", "0001 0003 000639", Err(())),
        ("good, then one of no bytes", "0002 0008 00063a0100000064 0000", Err(())),
    ];
    for (name, hex, expected) in table {
        let found = ticks(&bytes(hex)).map_err(|_| ()).map(|ticks| {
            ticks
                .iter()
                .map(|tick| (tick["mode"].as_str().unwrap().to_owned(), tick["last_price"].as_f64().unwrap()))
                .collect()
        });
        let expected: Result<Vec<_>, ()> =
            expected.map(|ticks| ticks.into_iter().map(|(mode, price)| (String::from(mode), price)).collect());
        assert_eq!(found, expected, "{name}");
    }
}

/// A generator good enough to break things, and fast in a debug build (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is at least 1.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Good frames of every shape to start from.
fn seeds() -> Vec<Vec<u8>> {
    let mut tick = Tick::ltp(InstrumentToken(408_065), 157_370);
    let mut builder = MessageBuilder::default();
    let mut frames = Vec::new();
    let shapes = [
        (Mode::Ltp, Layout::Tradable),
        (Mode::Quote, Layout::Tradable),
        (Mode::Full, Layout::Tradable),
        (Mode::Quote, Layout::Index),
        (Mode::Full, Layout::Index),
    ];
    for length in 1..=shapes.len() {
        for (mode, layout) in &shapes[..length] {
            (tick.mode, tick.layout) = (*mode, *layout);
            builder.push(&tick);
        }
        frames.push(builder.take().to_vec());
    }
    frames
}

/// Does one thing to a frame that should not happen to a frame.
fn spoil(frame: &mut Vec<u8>, random: &mut Random) {
    match random.below(5) {
        0 => frame.truncate(random.below(frame.len() + 1)),
        1 if !frame.is_empty() => {
            let at = random.below(frame.len());
            frame[at] ^= 1 << random.below(8);
        }
        2 if frame.len() >= 2 => frame[..2].copy_from_slice(&(random.next() as u16 >> random.below(16)).to_be_bytes()),
        3 if frame.len() >= 4 => frame[2..4].copy_from_slice(&(random.next() as u16 >> random.below(16)).to_be_bytes()),
        _ => frame.extend_from_slice(&random.next().to_be_bytes()[..random.below(8)]),
    }
}

#[test]
fn a_million_random_frames_give_packets_within_the_message_and_no_panic() {
    let mut random = Random(0x7161);
    let seeds = seeds();
    let (mut frame, mut good, mut refused, mut decoded) = (Vec::new(), 0u32, 0u32, 0u32);
    for round in 0..1_000_000 {
        frame.clear();
        if round % 4 == 0 {
            let length = random.below(40);
            while frame.len() < length {
                frame.extend_from_slice(&random.next().to_be_bytes());
            }
            frame.truncate(length);
            // Most random counts are absurd; small ones get further.
            if length > 4 && round % 8 == 0 {
                (frame[0], frame[1], frame[2]) = (0, frame[1] & 3, 0);
            }
        } else {
            frame.extend_from_slice(&seeds[random.below(seeds.len())]);
            for _ in 0..=random.below(3) {
                spoil(&mut frame, &mut random);
            }
        }
        let Ok(packets) = packets(&frame) else {
            refused += 1;
            continue;
        };
        good += 1;
        let inside = frame.as_ptr_range();
        for packet in packets {
            let range = packet.as_ptr_range();
            assert!(range.start >= inside.start && range.end <= inside.end && packet.len() >= 4);
            let known = packet::decode(packet).is_ok();
            assert!(!known || packet.len() <= MAX_PACKET);
            decoded += u32::from(known);
        }
    }
    println!("{good} frames with {decoded} ticks, {refused} refused");
    assert!(good > 100_000 && refused > 100_000 && decoded > 100_000);
}
