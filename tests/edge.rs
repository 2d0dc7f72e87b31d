//! The edge: who may connect, how long he may take, how connections end, what operators see, and what is written down.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use support::client::{Client, HANDSHAKE, Raw, client_frame, get, request};
use support::gateway::{Running, settings, start};
use support::script::Script;
use support::ticks::{INFY, RELIANCE, full};
use support::{PATIENCE, eventually, eventually_true};
use tickfan::account::journal::{Journal, Keep};
use tickfan::gateway::Settings;
use tickfan::secret::Secret;
use tickfan::server::admin::{AdminSettings, Place};
use tickfan::server::peer::TrustedProxies;
use tickfan::server::tls::{Tls, TlsFiles};
use tickfan::session::vigil::VigilSettings;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client::client};

fn with(change: impl FnOnce(&mut Settings)) -> (Running, Script) {
    let mut settings = settings();
    change(&mut settings);
    let script = Script::default();
    (start(settings, script.source(&[])), script)
}

/// A connection from another address of this machine.
fn from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(address.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether the other side has ended it, without an answer.
#[track_caller]
fn ends_unanswered(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest)),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

// ---- rows 18, 28, 31, 37, 38: the door -------------------------------------------------------------------------------

#[test]
fn row_18_half_open_peers_keep_nobody_out_and_are_gone_by_the_deadline() {
    let (gateway, _script) = with(|_| {});
    let waiting = || gateway.app.edge.lobby.len();
    let mut half: Vec<_> = (0..600).map(|_| from("127.0.0.2", gateway.address)).collect();
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
    let _half: Vec<_> = (0..20).map(|_| from("127.0.0.2", gateway.address)).collect();
    eventually_true("they wait", || gateway.app.edge.lobby.len() == 20);
    ends_unanswered(&mut from("127.0.0.2", gateway.address));
    assert_eq!(gateway.app.edge.counters.address_full.load(Ordering::Relaxed), 1);
    // A session is no longer one that waits.
    let _tabs: Vec<_> = (0..20).map(|_| gateway.client()).collect();
    let _more: Vec<_> = (0..10).map(|_| from("127.0.0.3", gateway.address)).collect();
    eventually_true("all places are taken", || gateway.app.edge.lobby.len() == 30);
    ends_unanswered(&mut from("127.0.0.4", gateway.address));
    assert_eq!(gateway.app.edge.counters.lobby_full.load(Ordering::Relaxed), 1);
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

// ---- rows 19 to 22: frames -------------------------------------------------------------------------------------------

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

// ---- row 23: ends ----------------------------------------------------------------------------------------------------

fn quick(settings: &mut Settings) {
    settings.vigil = VigilSettings {
        ping: Duration::from_millis(100),
        stale: Duration::from_secs(2),
        slow: Some(Duration::from_millis(500)),
    };
    settings.accept.send_buffer = Some(8_192);
}

/// Publishes until something is so: a tab that does not read stays full meanwhile.
#[track_caller]
fn press(what: &str, script: &Script, mut done: impl FnMut() -> bool) {
    let mut number = 0;
    eventually_true(what, || {
        if script.waiting() < 100 {
            (0..50).for_each(|step| script.push(&[full(INFY, number + step)]));
            number += 50;
        }
        done()
    });
}

/// Publishes until a tab has been evicted as too slow.
#[track_caller]
fn evict(gateway: &Running, script: &Script) {
    let slow = &gateway.app.context.vigil.counters.slow;
    press("it is evicted", script, || slow.load(Ordering::Relaxed) == 1);
}

#[test]
fn row_23_a_tab_that_takes_nothing_is_told_that_it_is_too_slow() {
    let (gateway, script) = with(|settings| {
        quick(settings);
        settings.vigil.ping = Duration::from_secs(600);
    });
    let mut frozen = Client::with_receive_buffer(gateway.address, 4_096);
    frozen.subscribe(&[INFY], json!({"mode": "full"}));
    evict(&gateway, &script);
    // It wakes up just in time for the reason, behind what it had not taken.
    assert_eq!(frozen.until_closed().0, 4_408);
    gateway.until_empty();
}

#[test]
fn row_23_a_tab_that_takes_a_byte_now_and_then_is_evicted_too() {
    let (gateway, script) = with(quick);
    let mut trickle = Client::with_receive_buffer(gateway.address, 4_096);
    trickle.subscribe(&[INFY], json!({"mode": "full"}));
    let slow = &gateway.app.context.vigil.counters.slow;
    let mut byte = [0];
    press("it is evicted", &script, || {
        let _ = trickle.tcp().read(&mut byte);
        slow.load(Ordering::Relaxed) == 1
    });
    gateway.until_empty();
}

#[test]
fn row_23_without_a_limit_a_frozen_tab_stays() {
    let (gateway, script) = with(|settings| {
        quick(settings);
        settings.vigil.slow = None;
        settings.vigil.stale = Duration::from_secs(600);
    });
    let mut frozen = Client::with_receive_buffer(gateway.address, 4_096);
    frozen.subscribe(&[INFY], json!({"mode": "full"}));
    let blocked = || gateway.connections()[0]["blocked_seconds"].as_f64().unwrap();
    press("it is full for longer than the other tests allow", &script, || blocked() > 1.5);
    assert_eq!(frozen.next()["type"], "tick");
}

#[test]
fn a_client_that_answers_pings_stays_and_one_that_does_not_goes() {
    let (gateway, _script) = with(quick);
    let mut alive = gateway.client();
    // It answers no ping: half-open, as a machine that was unplugged.
    let mut dead = Raw::stream(gateway.address, b"");
    let (first, body) = dead.frame();
    assert_eq!((first, body.len()), (0x89, 0));
    alive.tcp().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let stale = &gateway.app.context.vigil.counters.stale;
    eventually_true("the dead one is gone", || {
        // Reading answers pings.
        alive.next_within(Duration::from_millis(20));
        stale.load(Ordering::Relaxed) == 1 && gateway.connections().len() == 1
    });
    let close = loop {
        let (first, body) = dead.frame();
        if first == 0x88 {
            break body;
        }
    };
    assert_eq!(&close[..2], &1_008_u16.to_be_bytes());
    alive.expect_silence();
}

#[test]
fn every_way_a_connection_ends_leaves_nothing_behind() {
    let (gateway, script) = with(quick);
    let subscribed = || {
        let mut tab = gateway.client();
        tab.subscribe(&[INFY, RELIANCE], json!({}));
        tab
    };
    subscribed().close();
    gateway.until_empty();
    subscribed().tcp().shutdown(std::net::Shutdown::Write).unwrap();
    gateway.until_empty();
    subscribed().vanish();
    gateway.until_empty();
    // Silence: nobody answers pings, since nobody reads.
    let silent = subscribed();
    gateway.until_empty();
    drop(silent);
    // Eviction.
    let mut frozen = Client::with_receive_buffer(gateway.address, 4_096);
    frozen.subscribe(&[INFY], json!({"mode": "full"}));
    evict(&gateway, &script);
    gateway.until_empty();
    // A client that breaks the protocol.
    let broken = Raw::stream(gateway.address, &client_frame(0x83, b""));
    gateway.until_empty();
    drop(broken);
    // The server stops.
    let mut last = subscribed();
    gateway.stop();
    assert_eq!(last.until_closed().0, 1_001);
}

// ---- row 17: operators -----------------------------------------------------------------------------------------------

const KEY: &str = "an-admin-key-of-some-length";
const PAGES: [&str; 5] =
    ["/metrics", "/stats/latency", "/stats/latency/total.hgrm", "/stats/subscriptions", "/ws/connections"];

fn ask(address: SocketAddr, method: &str, path: &str, more: &str) -> support::client::Answer {
    request(address, &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n"))
}

#[test]
fn row_17_operators_pages_leave_the_public_listener() {
    let (gateway, _script) = with(|settings| {
        settings.admin = AdminSettings { place: Place::Own, key: Some(Secret::new(KEY)) };
        settings.admin_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    });
    let admin = gateway.admin_address.unwrap();
    let mut tab = gateway.client();
    let id = eventually("the session is listed", || gateway.connections().first()?["id"].as_str().map(str::to_owned));
    let bearer = format!("Authorization: Bearer {KEY}\r\n");
    for path in PAGES {
        assert_eq!(ask(gateway.address, "GET", path, &bearer).status, 404, "{path}");
        let refused = ask(admin, "GET", path, "");
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")), "{path}");
        for wrong in ["Authorization: Bearer wrong\r\n", "Cookie: admin_key=an-admin-key-of-some-length\r\n"] {
            assert_eq!(ask(admin, "GET", path, wrong).status, 401, "{path}");
        }
        assert_eq!(ask(admin, "GET", &format!("{path}?key={KEY}"), "").status, 401, "{path}");
        assert_eq!(ask(admin, "GET", path, &bearer).status, 200, "{path}");
    }
    for path in ["/", "/ws/stream", "/instruments/search"] {
        assert_eq!(ask(admin, "GET", path, &bearer).status, 404, "{path}");
    }
    let path = format!("/ws/connections/{id}");
    assert_eq!(ask(gateway.address, "DELETE", &path, &bearer).status, 404);
    assert_eq!(ask(admin, "DELETE", &path, "").status, 401);
    assert_eq!(ask(gateway.address, "POST", "/upstream/token", &bearer).status, 404);
    assert_eq!(ask(admin, "POST", "/upstream/token", "").status, 401);
    assert_eq!(ask(admin, "DELETE", "/ws/connections/nobody", &bearer).status, 404);
    assert_eq!(ask(admin, "DELETE", &path, &bearer).status, 200);
    assert_eq!(tab.until_closed(), (1_008, "closed by the operator".to_owned()));
    gateway.until_empty();
}

#[test]
fn row_17_without_a_key_nothing_changes_and_foreign_names_see_nothing() {
    let (gateway, _script) = with(|settings| {
        settings.admin.place = Place::Own;
        settings.admin_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    });
    let admin = gateway.admin_address.unwrap();
    assert_eq!(get(admin, "/metrics").status, 200);
    assert_eq!(ask(admin, "DELETE", "/ws/connections/x", "").status, 403);
    // A page elsewhere whose name leads here.
    let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(request(admin, rebound).status, 403);
}

#[test]
fn row_17_on_one_listener_changes_need_the_key_and_an_exposed_one_shows_nothing() {
    let (gateway, _script) = with(|settings| settings.admin.key = Some(Secret::new(KEY)));
    for path in PAGES {
        assert_eq!(get(gateway.address, path).status, 200, "{path}");
    }
    assert_eq!(ask(gateway.address, "DELETE", "/ws/connections/x", "").status, 401);
    let (gateway, _script) = with(|settings| settings.admin.place = Place::Refused);
    for path in PAGES {
        assert_eq!(get(gateway.address, path).status, 403, "{path}");
    }
    assert_eq!(get(gateway.address, "/health").status, 200);
    gateway.client().close();
}

#[test]
fn row_17_what_users_write_is_never_markup() {
    let (gateway, _script) = with(|_| {});
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let mut tab = gateway.client();
    let reply = tab.ask(&json!({"action": "subscribe", "symbols": [evil], "tokens": [INFY], "timeframes": []}));
    assert_eq!(reply["unknown_symbols"], json!([evil]));
    let query: String = evil.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for path in
        ["/ws/connections", "/stats/subscriptions", "/ws/health", &format!("/mapping/symbol-to-token?symbol={query}")]
    {
        let answer = get(gateway.address, path);
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    let page = get(gateway.address, "/");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'nonce-"));
    for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!page.body.contains(sink), "{sink}");
    }
}

// ---- the account -----------------------------------------------------------------------------------------------------

#[test]
fn what_happened_is_in_the_audit_log() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.log");
    let journal = Journal::open(file.clone(), Keep { bytes: 1 << 20, files: 1 }).unwrap();
    let (gateway, script) = with(|settings| {
        quick(settings);
        settings.journal = Some(journal);
        settings.admin.key = Some(Secret::new(KEY));
    });
    let mut tab = gateway.client();
    tab.subscribe(&[INFY, RELIANCE], json!({"symbols": ["no\nsuch\x1b[31m"]}));
    tab.ask(&json!({"action": "unsubscribe", "tokens": [INFY]}));
    tab.close();
    gateway.until_empty();
    let mut frozen = Client::with_receive_buffer(gateway.address, 4_096);
    frozen.subscribe(&[INFY], json!({"mode": "full"}));
    evict(&gateway, &script);
    gateway.until_empty();
    ask(gateway.address, "DELETE", "/ws/connections/x%0ay", &format!("Authorization: Bearer {KEY}\r\n"));
    ask(gateway.address, "DELETE", "/ws/connections/x", "Authorization: Bearer a-wrong-key-of-some-length\r\n");
    gateway.stop();
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| format!("{} {}", line["event"].as_str().unwrap(), line["result"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            "start done",
            "connect done",
            "subscribe done",
            "unsubscribe done",
            "close done",
            "connect done",
            "subscribe done",
            "evict done",
            "close done",
            "admin refused",
            "admin refused",
            "stop done",
        ]
    );
    assert_eq!((&lines[2]["tokens"], &lines[2]["unknown"], &lines[2]["mode"]), (&json!(2), &json!(1), &json!("quote")));
    assert_eq!((&lines[3]["tokens"], &lines[4]["reason"]), (&json!(1), &json!("client")));
    assert_eq!((&lines[7]["reason"], &lines[8]["code"]), (&json!("too slow"), &json!(4_408)));
    assert!(lines[1..5].iter().all(|line| line["session"] == lines[1]["session"] && line["user"] == lines[1]["user"]));
    assert_eq!(lines[9]["target"], "x\\u{a}y");
    assert!(!text.contains(KEY) && !text.contains("a-wrong-key"), "{text}");
}

#[test]
fn what_is_wanted_most_is_known() {
    let (gateway, _script) = with(|_| {});
    let (mut one, mut two) = (gateway.client(), gateway.client());
    one.subscribe(&[INFY, RELIANCE], json!({}));
    two.subscribe(&[INFY], json!({}));
    one.close();
    let report = eventually("a session has ended", || {
        let report = get(gateway.address, "/stats/subscriptions").json();
        (report["day"]["sessions_ended"]["count"] == 1).then_some(report)
    });
    for span in ["minute", "hour", "day"] {
        assert_eq!(report[span]["subscriptions"], 3, "{report}");
        assert_eq!(report[span]["topics"][0], json!({"topic": INFY.to_string(), "subscriptions": 2}));
        assert_eq!(report[span]["users"].as_array().unwrap().len(), 2);
    }
}

// ---- draining --------------------------------------------------------------------------------------------------------

#[test]
fn draining_tells_everybody_and_when_to_come_back() {
    let (gateway, _script) = with(|_| {});
    let mut tabs: Vec<_> = (0..40).map(|_| gateway.client()).collect();
    let address = gateway.address;
    gateway.drain(PATIENCE);
    let hints: BTreeMap<String, usize> = tabs.iter_mut().fold(BTreeMap::new(), |mut hints, tab| {
        let (code, reason) = tab.until_closed();
        assert_eq!(code, 1_001);
        let seconds =
            reason.strip_prefix("server is going away; retry after ").and_then(|rest| rest.strip_suffix(" s"));
        let seconds: f64 = seconds.unwrap_or_else(|| panic!("{reason}")).parse().unwrap();
        assert!((1.0..5.0).contains(&seconds), "{reason}");
        *hints.entry(reason).or_default() += 1;
        hints
    });
    assert!(hints.len() > 5, "spread: {hints:?}");
    gateway.until_empty();
    assert!(TcpStream::connect(address).is_err(), "nobody is let in any more");
}

/// The program.
struct Program {
    child: Child,
    address: SocketAddr,
    admin: Option<SocketAddr>,
}

impl Program {
    /// Runs it in a shell that may prepare it.
    fn run(prepare: &str, flags: &[&str]) -> Self {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("{prepare} exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_tickfan"))
            .args(["--listen", "127.0.0.1:0", "--log", "warn"])
            .args(flags)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |scheme: &str| {
            let line = lines.next().unwrap().unwrap();
            line.split_once(scheme).unwrap_or_else(|| panic!("{line}")).1.parse().unwrap()
        };
        let listening = address("://");
        let admin = flags.contains(&"--admin-listen").then(|| address("http://"));
        Self { child, address: listening, admin }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    #[track_caller]
    fn until_ended(&mut self) -> Option<i32> {
        eventually("it has ended", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_program_drains_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut program = Program::run("", &[]);
        let mut tab = Client::connect(program.address);
        tab.subscribe(&[INFY], json!({}));
        program.signal(signal);
        let (code, reason) = tab.until_closed();
        assert!(code == 1_001 && reason.starts_with("server is going away; retry after "), "{code} {reason}");
        assert_eq!(program.until_ended(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut program = Program::run(
        "",
        &["--drain-s", "3600", "--slow-after-s", "0", "--send-buffer-bytes", "4096", "--market-rate", "20000"],
    );
    // Frozen tabs, so many that it takes a while to let them go.
    let _tabs: Vec<_> = (0..200).map(|_| Client::connect(program.address)).collect();
    let mut last = Client::connect(program.address);
    last.subscribe(&[INFY], json!({}));
    program.signal(Signal::TERM);
    eventually_true("nobody is let in", || TcpStream::connect(program.address).is_err());
    program.signal(Signal::TERM);
    let code = program.until_ended();
    // It may have been quicker than the second signal.
    assert!(matches!(code, Some(130 | 0)), "{code:?}");
}

#[test]
fn row_31_with_few_descriptors_operators_still_get_in() {
    let mut program = Program::run("ulimit -n 256;", &["--admin-listen", "127.0.0.1:0"]);
    let admin = program.admin.unwrap();
    let mut tabs = Vec::new();
    let mut refused = 0;
    while refused < 20 {
        match Client::try_connect(program.address) {
            Some(tab) => tabs.push(tab),
            None => refused += 1,
        }
        assert!(tabs.len() < 256, "there are no more descriptors than that");
    }
    assert!(tabs.len() > 150, "{}", tabs.len());
    let metrics = get(admin, "/metrics");
    assert_eq!(metrics.status, 200);
    let value = |name: &str| -> u64 {
        let line = metrics.body.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    assert!(value("tickfan_edge_shed_total ") >= 20);
    assert_eq!(value("tickfan_edge_accept_errors_total "), 0);
    // Those who are in are served, and when they go others can come.
    let mut first = tabs.remove(0);
    first.subscribe(&[INFY], json!({}));
    tabs.truncate(10);
    eventually_true("there is room again", || Client::try_connect(program.address).is_some());
    program.signal(Signal::TERM);
    assert_eq!(program.until_ended(), Some(0));
}

// ---- row 39: TLS -----------------------------------------------------------------------------------------------------

fn pair(name: &str) -> TlsFiles {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    TlsFiles { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
}

type Secured = StreamOwned<ClientConnection, TcpStream>;

/// A TLS connection that trusts only the certificate of that name.
fn secured(address: SocketAddr, trusted: &str, tcp: Option<TcpStream>) -> Result<Secured, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pair(trusted).cert).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tcp = tcp.unwrap_or_else(|| TcpStream::connect(address).unwrap());
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(connection, tcp))
}

fn tls_tab(address: SocketAddr, tcp: Option<TcpStream>) -> WebSocket<Secured> {
    let stream = secured(address, "a", tcp).unwrap();
    client("wss://localhost/ws/stream", stream).unwrap().0
}

fn read(tab: &mut WebSocket<Secured>) -> Value {
    loop {
        match tab.read().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn row_39_tabs_over_tls_get_what_others_get() {
    let (gateway, script) = with(|settings| settings.tls = Some(Arc::new(Tls::open(pair("a")).unwrap())));
    let mut tab = tls_tab(gateway.address, None);
    tab.send(Message::text(json!({"action": "subscribe", "tokens": [INFY], "mode": "full"}).to_string())).unwrap();
    assert_eq!(read(&mut tab)["type"], "subscribed");
    for number in 1..200 {
        script.push(&[full(INFY, number)]);
        assert_eq!(read(&mut tab)["volume_traded"], number);
    }
    assert!(gateway.connections()[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    tab.close(None).unwrap();
    while tab.read().is_ok() {}
    gateway.until_empty();
    // Gone without a word, and told when the server stops.
    drop(tls_tab(gateway.address, None));
    gateway.until_empty();
    let mut last = tls_tab(gateway.address, None);
    eventually_true("a session", || gateway.connections().len() == 1);
    gateway.drain(PATIENCE);
    let close = loop {
        if let Message::Close(close) = last.read().unwrap() {
            break close.unwrap();
        }
    };
    assert_eq!(u16::from(close.code), 1_001);
}

#[test]
fn row_39_what_is_no_tls_is_not_answered_and_pages_are_served() {
    let (gateway, _script) = with(|settings| settings.tls = Some(Arc::new(Tls::open(pair("a")).unwrap())));
    let mut plain = TcpStream::connect(gateway.address).unwrap();
    plain.write_all(HANDSHAKE.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert!(secured(gateway.address, "b", None).is_err(), "another certificate is not trusted");
    let mut page = secured(gateway.address, "a", None).unwrap();
    page.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = Vec::new();
    let _ = page.read_to_end(&mut text);
    assert!(text.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&text));
    eventually_true("failures are counted", || gateway.app.edge.counters.tls_failed.load(Ordering::Relaxed) == 2);
}

#[test]
fn row_39_half_handshakes_keep_nobody_out() {
    let (gateway, _script) = with(|settings| settings.tls = Some(Arc::new(Tls::open(pair("a")).unwrap())));
    let mut half: Vec<_> = (0..500).map(|_| from("127.0.0.2", gateway.address)).collect();
    half.iter_mut().for_each(|stream| stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap());
    let accepted = &gateway.app.edge.counters.accepted;
    eventually_true("all are let in", || accepted.load(Ordering::Relaxed) == 500);
    let _tab = tls_tab(gateway.address, None);
    half.iter_mut().for_each(ends_unanswered);
    eventually_true("nobody waits", || gateway.app.edge.lobby.is_empty());
}

#[test]
fn row_39_a_slow_tab_over_tls_is_conflated_and_evicted() {
    let (gateway, script) = with(|settings| {
        quick(settings);
        settings.tls = Some(Arc::new(Tls::open(pair("a")).unwrap()));
    });
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&gateway.address.into()).unwrap();
    let mut tab = tls_tab(gateway.address, Some(socket.into()));
    tab.send(Message::text(json!({"action": "subscribe", "tokens": [INFY], "mode": "full"}).to_string())).unwrap();
    assert_eq!(read(&mut tab)["type"], "subscribed");
    evict(&gateway, &script);
    gateway.until_empty();
}

#[test]
fn row_39_a_new_pair_is_taken_over_only_if_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    let put = |cert: &str, key: &str| {
        std::fs::copy(pair(key).key, &files.key).unwrap();
        std::fs::copy(pair(cert).cert, &files.cert).unwrap();
    };
    put("a", "a");
    let (gateway, _script) = with(|settings| settings.tls = Some(Arc::new(Tls::open(files.clone()).unwrap())));
    let counters = &gateway.app.edge.counters;
    let _old = tls_tab(gateway.address, None);
    // Half a renewal: the key of another certificate.
    put("a", "b");
    eventually_true("it is looked at", || counters.tls_reload_failures.load(Ordering::Relaxed) > 0);
    assert!(secured(gateway.address, "a", None).is_ok());
    std::fs::write(&files.cert, "nonsense").unwrap();
    eventually_true("it is looked at", || counters.tls_reload_failures.load(Ordering::Relaxed) > 1);
    assert!(secured(gateway.address, "a", None).is_ok());
    put("b", "b");
    eventually_true("it is taken over", || counters.tls_reloads.load(Ordering::Relaxed) > 0);
    assert!(secured(gateway.address, "b", None).is_ok());
    assert!(secured(gateway.address, "a", None).is_err());
    assert_eq!(gateway.connections().len(), 1, "who is in stays in");
}

#[test]
fn row_39_a_second_client_finds_only_new_protocols() {
    if Command::new("openssl").arg("version").output().is_err() {
        return println!("skipped: no openssl here");
    }
    let (gateway, _script) = with(|settings| settings.tls = Some(Arc::new(Tls::open(pair("a")).unwrap())));
    let shake = |flags: &[&str]| {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &gateway.address.to_string(), "-alpn", "h2,http/1.1"])
            .args(flags)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let told = shake(&[flag]);
        assert!(told.contains(&format!("New, {version}, Cipher is ")), "{told}");
        assert!(told.contains("GCM") || told.contains("CHACHA20"), "{told}");
        assert!(told.contains("ALPN protocol: http/1.1"), "{told}");
    }
    for flags in
        [&["-tls1_1"][..], &["-tls1"], &["-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"]]
    {
        let told = shake(flags);
        assert!(
            !told.contains("Cipher is ECDHE") && !told.contains("Cipher is AES") && !told.contains("Cipher is TLS_"),
            "{told}"
        );
    }
}
