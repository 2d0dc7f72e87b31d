//! Staying connected.

use crate::support::client::Raw;
use crate::support::gateway::{Running, settings, start};
use crate::support::kite_client::{KiteClient, LOGIN, token_of};
use crate::support::script::Script;
use crate::support::ticks::full;
use crate::support::{eventually, eventually_true};
use crate::{gateway, handshake};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tickfan::gateway::Settings;
use tokio_tungstenite::tungstenite::Message;

#[test]
fn a_heartbeat_comes_every_second_and_nothing_else_unasked() {
    let (_script, gateway) = gateway();
    // Before it can come: a client that is held up finds several at once.
    let began = Instant::now();
    let mut client = KiteClient::connect(gateway.address);
    client.text();
    client.text();
    for _ in 0..4 {
        assert_eq!(client.next(), Message::binary(vec![0]));
    }
    // The first may come at once, and a machine may be slow; five seconds are the clients' limit for one.
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_ping_is_answered_with_its_own_payload() {
    let (_script, gateway) = gateway();
    let mut raw = Raw::connect(gateway.address);
    raw.send(handshake(LOGIN).as_bytes());
    raw.head();
    raw.send(&crate::support::client::client_frame(0x89, b"\0\0\0\x07"));
    let pong = eventually("a pong", || Some(raw.frame()).filter(|(first, _)| *first == 0x8a));
    assert_eq!(pong.1, b"\0\0\0\x07");
}

#[test]
fn a_restart_closes_with_1001() {
    let (_script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    client.text();
    gateway.stop();
    assert_eq!(client.until_closed(), 1001);
}

#[test]
fn one_that_does_not_read_delays_nobody_and_then_gets_the_newest_of_each_token() {
    let tokens: Vec<u32> = (1..=10).map(|number| number << 8 | 1).collect();
    let script = Script::default();
    let mut small = Settings { ring_capacity: 64, ..settings() };
    small.accept.send_buffer = Some(8_192);
    small.writer.budget = 4_096;
    let gateway = start(small, script.source(&[]));
    let tcp = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    tcp.set_recv_buffer_size(4_096).unwrap();
    tcp.connect(&gateway.address.into()).unwrap();
    let mut lazy = KiteClient::over(TcpStream::from(tcp), LOGIN);
    let mut busy = KiteClient::connect(gateway.address);
    for client in [&mut lazy, &mut busy] {
        client.mode("full", &tokens);
    }
    eventually_true("both have subscribed", || {
        gateway.app.context.board.subscriber_counts().iter().filter(|(_, count)| *count == 2).count() == tokens.len()
    });
    let mut number = 0;
    let blocked =
        |gateway: &Running| gateway.connections().iter().any(|tab| tab["blocked_seconds"].as_f64() > Some(0.0));
    // Long enough that it is full, and then that its ring runs over again and again.
    let mut left = 100;
    while left > 0 {
        number += 1;
        script.push(&tokens.iter().map(|token| full(*token, number)).collect::<Vec<_>>());
        let mut got = 0;
        while got < tokens.len() {
            got += busy.packets().len();
        }
        left -= u32::from(blocked(&gateway));
        assert!(number < 100_000, "it never became full");
    }
    let volume = |packet: &[u8]| u32::from_be_bytes(packet[16..20].try_into().unwrap());
    let mut seen = BTreeMap::new();
    let mut count = 0;
    while seen.values().filter(|volume| **volume == number).count() < tokens.len() {
        for packet in lazy.packets() {
            count += 1;
            let before = seen.insert(token_of(&packet), volume(&packet));
            assert!(before < Some(volume(&packet)), "went back, or came twice: {before:?}, {}", volume(&packet));
        }
    }
    assert!(count < tokens.len() as u32 * number / 2, "{count} of {number} rounds: nothing was conflated");
}
