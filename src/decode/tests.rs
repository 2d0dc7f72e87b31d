use super::*;
use crate::market::{InstrumentToken, Mode, Tick};

fn run(input: &[u8]) -> (Summary, String, String) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let summary = decode(input, Path::new("input"), None, &mut out, &mut errors).unwrap();
    (summary, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

/// INFY at 400.00 in ltp mode.
const LTP: &str = "0001 0008 00063a01 00009c40";
const LTP_JSON: &str = "{\"tradable\":true,\"mode\":\"ltp\",\"instrument_token\":408065,\"last_price\":400.0}\n";

#[test]
fn hex_lines_give_one_object_per_tick_and_go_on_after_mistakes() {
    let text = format!("# ticks\n\n{LTP} # INFY\r\n0001\nzz\n00\n000\n0001000c00063a010000000000000000\n{LTP}");
    let (summary, out, errors) = run(text.as_bytes());
    assert_eq!(out, LTP_JSON.repeat(2));
    assert_eq!(
        errors,
        "{\"error\":\"message of 2 bytes announces 1 packets but ends within the length of packet 1\",\"message\":2}\n\
         {\"error\":\"bad hex: character 1 is not a hex digit\",\"line\":5}\n\
         {\"error\":\"bad hex: an odd number of digits (3)\",\"line\":7}\n\
         {\"skipped\":\"packet of 12 bytes; known are 8, 28, 32, 44 and 184\",\"message\":6}\n"
    );
    assert_eq!(summary, Summary { messages: 7, ticks: 2, broken: 3, skipped: 1, tape_end: None });
    assert!(summary.failed());
}

#[test]
fn a_raw_message_and_a_tape_are_recognised() {
    let mut message = Vec::new();
    hex::decode_line(LTP.as_bytes(), &mut message).unwrap();
    let (summary, out, _) = run(&message);
    assert_eq!((summary.messages, out.as_str()), (1, LTP_JSON));
    assert_eq!(run(&[0]).0, Summary { messages: 1, ..Summary::default() });

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape");
    let mut tape = crate::tape::TapeWriter::create(&path).unwrap();
    tape.append(1, &message).unwrap();
    tape.append(2, &message).unwrap();
    drop(tape);
    let mut bytes = std::fs::read(&path).unwrap();
    let (summary, out, errors) = run(&bytes);
    assert_eq!((out, errors.as_str()), (LTP_JSON.repeat(2), ""));
    assert_eq!((summary.ticks, summary.tape_end), (2, Some(TapeEnd::Complete)));
    bytes.pop();
    let (summary, out, errors) = run(&bytes);
    assert_eq!(
        (out.as_str(), errors.as_str()),
        (LTP_JSON, "{\"tape\":\"torn: ends within the record or block at byte 40\"}\n")
    );
    assert!(!summary.failed());
}

#[test]
fn keys_come_in_the_order_of_the_python_client() {
    let mut tick = Tick::ltp(InstrumentToken(256_265), 2_490_030);
    (tick.mode, tick.layout, tick.exchange_timestamp) = (Mode::Full, crate::market::Layout::Index, 7);
    (tick.ohlc.open, tick.ohlc.high, tick.ohlc.low) = (1, 2, -3);
    assert_eq!(
        serde_json::to_string(&PythonTick(&tick)).unwrap(),
        r#"{"tradable":false,"mode":"full","instrument_token":256265,"last_price":24900.3,"#.to_owned()
            + r#""ohlc":{"high":0.02,"low":-0.03,"open":0.01,"close":0.0},"change":0,"exchange_timestamp":7}"#
    );
}

#[test]
fn an_empty_input_has_nothing_in_it() {
    assert_eq!(run(b""), (Summary::default(), String::new(), String::new()));
}
