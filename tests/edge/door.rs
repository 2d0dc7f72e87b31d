//! Rows 18, 28, 37, 38: who may connect, and how long he may take.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tickfan::server::peer::TrustedProxies;

use crate::support::client::{HANDSHAKE, Raw, connect_from, get, request};
use crate::support::gateway::Running;
use crate::support::{eventually, eventually_true};
use crate::{ends_unanswered, with};

#[test]
fn row_18_half_open_peers_keep_nobody_out_and_are_gone_by_the_deadline() {
    let (gateway, _script) = with(|_| {});
    let waiting = || gateway.app.edge.lobby.len();
    let mut half: Vec<_> = (0..600).map(|_| connect_from("127.0.0.2", gateway.address)).collect();
    for (at, stream) in half.iter_mut().enumerate() {
        match at % 3 {
            0 => {}
            1 => stream.write_all(b"GET /ws/stream HTTP/1.1\r\nHost: x\r\n").unwrap(),
            _ => stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap(),
        }
    }
    let accepted = &gateway.app.edge.counters.accepted;
    eventually_true("all are let in", || accepted.load(Ordering::Relaxed) == 600);
    for _ in 0..50 {
        gateway.client().close();
    }
    for stream in &mut half {
        // What was begun may be answered with 400 or 408 before the end.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    eventually_true("nobody waits", || waiting() == 0);
    gateway.until_empty();
}

#[test]
fn row_18_an_address_has_so_many_waiting_connections_and_others_have_theirs() {
    let (gateway, _script) = with(|settings| {
        settings.accept.waiting = 30;
        settings.accept.waiting_each = 20;
    });
    let edge = &gateway.app.edge;
    // Places that no deadline ends.
    let take = |address: &str, count: usize| {
        let address: IpAddr = address.parse().unwrap();
        (0..count).map(|_| edge.lobby.enter(Some(address)).unwrap()).collect::<Vec<_>>()
    };
    // The last place is that of a connection that says nothing: the next finds none.
    let until_refused = |address: &str, refused: &AtomicU64| {
        let mut half = Vec::new();
        eventually_true("one too many is refused", || {
            half.push(connect_from(address, gateway.address));
            refused.load(Ordering::Relaxed) > 0
        });
        ends_unanswered(half.last_mut().unwrap());
    };
    let _taken = take("127.0.0.2", 19);
    until_refused("127.0.0.2", &edge.counters.address_full);
    // A session is no longer one that waits.
    let _tabs: Vec<_> = (0..20).map(|_| gateway.client()).collect();
    eventually_true("they wait no more", || edge.lobby.len() == 19);
    let _more = take("127.0.0.3", 10);
    assert_eq!(edge.counters.lobby_full.load(Ordering::Relaxed), 0);
    until_refused("127.0.0.4", &edge.counters.lobby_full);
}

#[test]
fn row_28_too_many_handshakes_in_a_second_are_asked_to_come_back() {
    let (gateway, _script) = with(|settings| settings.accept.handshakes = 5);
    let mut refused = Vec::new();
    let mut served = 0;
    while refused.len() < 10 {
        let mut raw = Raw::connect(gateway.address);
        raw.send(HANDSHAKE.as_bytes());
        let head = raw.head();
        if head.starts_with("HTTP/1.1 101 ") {
            served += 1;
        } else {
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
            let retry = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
            refused.push(retry.parse::<u32>().unwrap());
        }
        assert!(served < 1_000, "no limit");
    }
    assert!(served >= 5, "the burst is served: {served}");
    assert!(refused.iter().all(|seconds| (1..=8).contains(seconds)), "{refused:?}");
    // Pages are not handshakes.
    assert_eq!(get(gateway.address, "/health").status, 200);
}

#[test]
fn row_37_only_listed_proxies_are_believed() {
    let forwarded = |gateway: &Running| {
        let mut raw = Raw::connect(gateway.address);
        raw.send(
            HANDSHAKE.replace("Host: localhost", "Host: localhost\r\nX-Forwarded-For: 6.6.6.6, 9.9.9.9").as_bytes(),
        );
        assert!(raw.head().starts_with("HTTP/1.1 101 "));
        let peer = eventually("a session", || gateway.connections().pop())["peer"].clone();
        (raw, peer)
    };
    let (gateway, _script) = with(|_| {});
    let (_raw, peer) = forwarded(&gateway);
    assert!(peer.as_str().unwrap().starts_with("127.0.0.1:"), "{peer}");
    let (gateway, _script) =
        with(|settings| settings.accept.proxies = TrustedProxies(vec!["127.0.0.0/8".parse().unwrap()]));
    let (_raw, peer) = forwarded(&gateway);
    assert_eq!(peer, "9.9.9.9");
    // The PROXY protocol is not spoken.
    let answer = request(gateway.address, &format!("PROXY TCP4 6.6.6.6 1.1.1.1 1 2\r\n{HANDSHAKE}"));
    assert_eq!(answer.status, 400);
}

#[test]
fn row_38_ambiguous_requests_are_refused_and_nothing_is_smuggled() {
    let (gateway, _script) = with(|_| {});
    let smuggled = "GET /ws/health HTTP/1.1\r\nHost: x\r\n\r\n";
    for (head, wanted) in [
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Transfer-Encoding: chunked, identity\r\n", 400),
        ("Content-Length: +5\r\n", 400),
    ] {
        let answer = request(gateway.address, &format!("GET /health HTTP/1.1\r\nHost: x\r\n{head}\r\n{smuggled}"));
        assert_eq!(answer.status, wanted, "{head}");
        assert!(!answer.body.contains("websocket_stats"), "{head}");
    }
    // With both lengths, chunks count and the connection ends: what follows is no request of its own.
    let both = format!(
        "GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
    );
    let answer = request(gateway.address, &both);
    assert!(answer.status == 400 || !answer.body.contains("websocket_stats"), "{answer:?}");
    // HTTP/2 is not offered.
    let h2c = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
    assert_eq!(request(gateway.address, h2c).status, 200);
    // Bytes behind the head of a handshake are frames, whatever they look like.
    let mut raw = Raw::stream(gateway.address, smuggled.as_bytes());
    let (first, body) = raw.frame();
    assert_eq!((first, &body[..2]), (0x88, &1_002_u16.to_be_bytes()[..]));
}
