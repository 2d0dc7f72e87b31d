//! Rows 19 to 22 and 27: frames.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::Message;

use crate::support::client::{HANDSHAKE, Raw, client_frame};
use crate::support::gateway::Running;
use crate::with;

/// The close code a client gets for these bytes.
#[track_caller]
fn close_code(gateway: &Running, bytes: &[u8]) -> (u16, String) {
    let mut raw = Raw::stream(gateway.address, bytes);
    let (first, body) = raw.frame();
    assert_eq!(first, 0x88);
    (u16::from_be_bytes([body[0], body[1]]), String::from_utf8(body[2..].to_vec()).unwrap())
}

#[test]
fn row_20_lengths_are_only_believed_as_far_as_allowed() {
    let (gateway, _script) = with(|_| {});
    for length in [1_u64 << 31, 1 << 32, 1 << 63, u64::MAX] {
        let frame = [[0x82, 0xFF].as_slice(), &length.to_be_bytes(), &[0; 4]].concat();
        let (code, _) = close_code(&gateway, &frame);
        assert!(matches!(code, 1_002 | 1_009), "{length}: {code}");
    }
    // A length written longer than needed is one all the same: it reads as what it says, or is refused.
    let request = br#"{"action":"ping"}"#;
    let padded = [[0x81, 0xFF].as_slice(), &(request.len() as u64).to_be_bytes(), &[0; 4], request].concat();
    let (first, body) = Raw::stream(gateway.address, &padded).frame();
    assert!(first == 0x81 && body.starts_with(b"{\"type\":\"pong\"") || first == 0x88, "{first} {body:?}");
    gateway.until_empty();
}

#[test]
fn row_21_fragments_without_end_end_the_connection() {
    let (gateway, _script) = with(|_| {});
    let few =
        [client_frame(0x01, br#"{"action""#), client_frame(0x00, b":"), client_frame(0x80, br#""ping"}"#)].concat();
    let (first, body) = Raw::stream(gateway.address, &few).frame();
    assert!(first == 0x81 && body.starts_with(b"{\"type\":\"pong\""), "{body:?}");
    let mut many = client_frame(0x01, b"x");
    (0..20).for_each(|_| many.extend(client_frame(0x00, b"x")));
    assert_eq!(close_code(&gateway, &many), (1_008, "too many fragments".to_owned()));
    // The same, after the handshake, with pings between.
    let mut raw = Raw::stream(gateway.address, b"");
    raw.send(&[client_frame(0x01, b""), client_frame(0x89, b"")].concat());
    assert_eq!(raw.frame().0, 0x8A);
    raw.send(&client_frame(0x00, b"").repeat(17));
    assert_eq!(raw.frame().0, 0x88);
    gateway.until_empty();
    assert_eq!(gateway.app.context.vigil.counters.abuses.load(Ordering::Relaxed), 2);
}

#[test]
fn row_21_a_message_that_does_not_end_ends_the_connection() {
    let (gateway, _script) = with(|_| {});
    let mut unfinished = Raw::stream(gateway.address, &client_frame(0x01, b"{"));
    // Half a head, half a body.
    let mut others =
        [Raw::stream(gateway.address, &[0x81]), Raw::stream(gateway.address, &client_frame(0x81, b"{}")[..7])];
    // One that sends all the time, and always half of the next message, finishes each: it stays.
    let mut honest = Raw::stream(gateway.address, b"");
    let ping = client_frame(0x81, br#"{"action":"ping"}"#);
    honest.send(&ping[..9]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        honest.send(&[&ping[9..], &ping[..9]].concat());
        assert_eq!(honest.frame().0, 0x81);
        std::thread::sleep(Duration::from_millis(20));
    }
    for raw in std::iter::once(&mut unfinished).chain(&mut others) {
        let (first, body) = raw.frame();
        assert_eq!((first, &body[2..]), (0x88, b"unfinished message".as_slice()));
    }
}

#[test]
fn row_22_compression_is_not_negotiated_and_compressed_frames_are_refused() {
    let (gateway, _script) = with(|_| {});
    let mut raw = Raw::connect(gateway.address);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    raw.send(HANDSHAKE.replacen("\r\n\r\n", &format!("\r\n{offer}"), 1).as_bytes());
    let head = raw.head().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && !head.contains("extensions"), "{head}");
    assert_eq!(close_code(&gateway, &client_frame(0xC1, b"x")).0, 1_002);
}

#[test]
fn row_27_a_flood_of_pings_holds_no_memory() {
    let (gateway, _script) = with(|_| {});
    let mut tab = gateway.client();
    tab.expect_silence();
    tab.tcp().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let pings = client_frame(0x89, &[7; 100]).repeat(100);
    // It never reads: after so many unread pongs it is not heard any further.
    let mut tcp = tab.tcp();
    for _ in 0..1_000 {
        if tcp.write_all(&pings).is_err() {
            break;
        }
    }
    let unsent = gateway.connections()[0]["unsent_bytes"].as_u64().unwrap();
    assert!(unsent < 64 * 1_024, "{unsent}");
    // Others are served.
    let mut other = gateway.client();
    other.expect_silence();
    assert_eq!(tab.next_message(), Message::Pong(vec![7; 100].into()));
}
