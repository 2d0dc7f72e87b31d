//! The endpoint for Kite's own clients, byte by byte. The real Python and Node clients have their turn in tests/clients.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value;
use support::client::{Raw, get, request};
use support::gateway::{Running, settings, start};
use support::kite_bench::logged;
use support::kite_client::{KiteClient, LOGIN, cut, last_of, token_of};
use support::kite_server::{Answer, KiteServer, Peer};
use support::script::Script;
use support::ticks::{INFY, NIFTY_50, RELIANCE, TCS, full, index, quote};
use support::{eventually, eventually_true};
use tickfan::assembly;
use tickfan::clock::Clock;
use tickfan::config::{Config, FeedChoice};
use tickfan::demand::DemandSettings;
use tickfan::gateway::{Settings, Threads};
use tickfan::kite::packet::{self, packets, visible_length};
use tickfan::market::{Mode, Tick};
use tickfan::secret::Secret;
use tokio_tungstenite::tungstenite::Message;

/// A token that tells that everything before it has come.
const SENTINEL: u32 = 257;

fn gateway() -> (Script, Running) {
    let script = Script::default();
    let running = start(settings(), script.source(&[]));
    (script, running)
}

fn bytes(tick: &Tick) -> Vec<u8> {
    let mut out = Vec::new();
    packet::encode(tick, &mut out);
    out
}

fn name(mode: Mode) -> String {
    mode.name().to_owned()
}

/// Waits until what a client has asked for has reached the board.
#[track_caller]
fn until_wanted(script: &Script, wanted: &[(u32, Mode)]) {
    script.until_wanted(&wanted.iter().copied().collect());
}

// ---- the handshake ---------------------------------------------------------------------------------------------------

#[test]
fn clients_are_greeted_at_both_paths_whatever_else_their_query_says() {
    let (_script, gateway) = gateway();
    for target in
        [LOGIN, "/?uid=1795365179848&access_token=a+b/c%2B&api_key=key", "/kite?api_key=key&access_token=token&x"]
    {
        let mut client = KiteClient::connect_to(gateway.address, target);
        let meta = client.text();
        assert_eq!(meta["type"], "instruments_meta");
        assert!(meta["data"]["count"].as_u64() > Some(10) && meta["data"]["etag"].is_string(), "{meta}");
        let code = client.text();
        assert_eq!(code["type"], "app_code");
        assert!(code["timestamp"].as_str().is_some_and(|time| time.ends_with("+05:30")), "{code}");
    }
    gateway.until_empty();
}

#[test]
fn a_browser_still_gets_the_page() {
    let (_script, gateway) = gateway();
    let page = get(gateway.address, "/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(get(gateway.address, "/kite?api_key=key&access_token=token").status, 400);
}

fn handshake(target: &str) -> String {
    // Python writes the name of the protocol with a capital.
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
         Cache-Control: no-cache\r\nSec-WebSocket-Version: 13\r\nX-Kite-Version: 3\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    )
}

#[test]
fn a_refusal_is_plain_http_and_ends_the_connection() {
    let script = Script::default();
    let gateway = start(Settings { max_connections: 1, ..settings() }, script.source(&[]));
    for target in ["/", "/?api_key=key", "/kite?access_token=token"] {
        // It would wait in vain if the server left the connection open.
        let answer = request(gateway.address, &handshake(target));
        assert_eq!((answer.status, answer.header("connection")), (403, Some("close")), "{answer:?}");
        assert!(answer.json()["error"].as_str().is_some_and(|text| text.contains("missing")), "{answer:?}");
    }
    let _only = KiteClient::connect(gateway.address);
    let answer = request(gateway.address, &handshake(LOGIN));
    assert_eq!((answer.status, answer.header("connection")), (429, Some("close")), "{answer:?}");
}

#[test]
fn compression_is_declined_and_requests_in_the_segment_of_the_handshake_are_heard() {
    let (script, gateway) = gateway();
    let mut raw = Raw::connect(gateway.address);
    let early = support::client::client_frame(0x81, br#"{"a": "subscribe", "v": [408065]}"#);
    raw.send(&[handshake(LOGIN).as_bytes(), &early].concat());
    let head = raw.head();
    assert!(head.starts_with("HTTP/1.1 101 ") && !head.to_ascii_lowercase().contains("permessage"), "{head}");
    until_wanted(&script, &[(INFY, Mode::Quote)]);
}

#[test]
fn no_query_ever_reaches_the_log_or_an_operator() {
    let _ = logged();
    let (_script, gateway) = gateway();
    let _client = KiteClient::connect_to(gateway.address, "/?api_key=s3cretkey&access_token=s3crettoken");
    request(gateway.address, &handshake("/?api_key=s3cretkey&access_token="));
    let bad = "GET /kite?api_key=s3cretkey&access_token=s3crettoken HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Upgrade: websocket\r\n\r\n";
    assert_eq!(request(gateway.address, bad).status, 400);
    eventually_true("the session is known", || gateway.connections().len() == 1);
    let shown = [
        get(gateway.address, "/ws/connections").body,
        get(gateway.address, "/metrics").body,
        get(gateway.address, "/health").body,
    ];
    assert!(shown[0].contains(r#""format":"kite""#), "{}", shown[0]);
    assert!(shown[1].contains("tickfan_writer_kite_tabs 1"), "{}", shown[1]);
    gateway.stop();
    tracing::info!("the log is heard");
    let log = logged();
    assert!(log.contains("the log is heard"));
    assert!(!log.contains("s3cret") && shown.iter().all(|text| !text.contains("s3cret")), "{log}");
}

// ---- requests --------------------------------------------------------------------------------------------------------

#[test]
fn a_subscription_is_in_quote_and_mode_alone_subscribes() {
    let (script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    client.ask("subscribe", &[INFY]);
    client.mode("full", &[TCS]);
    client.mode("ltp", &[NIFTY_50]);
    until_wanted(&script, &[(INFY, Mode::Quote), (TCS, Mode::Full), (NIFTY_50, Mode::Ltp)]);
    client.settle();
    script.push(&[full(INFY, 1), full(TCS, 2), index(NIFTY_50, 3)]);
    let got = client.packets();
    assert_eq!(got, [&bytes(&full(INFY, 1))[..44], &bytes(&full(TCS, 2)), &bytes(&index(NIFTY_50, 3))[..8]]);
    let shown = gateway.connections();
    assert_eq!(shown[0]["filter"]["mode"], "mixed");
    assert_eq!(shown[0]["filter"]["tokens"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_subscription_and_its_mode_together_give_one_packet_in_that_mode() {
    let (script, gateway) = gateway();
    let mut first = KiteClient::connect(gateway.address);
    first.mode("full", &[INFY]);
    until_wanted(&script, &[(INFY, Mode::Full)]);
    script.push(&[full(INFY, 1)]);
    first.packet();
    let mut second = KiteClient::connect(gateway.address);
    second.say_together(&[r#"{"a": "subscribe", "v": [408065]}"#, r#"{"a": "mode", "v": ["full", [408065]]}"#]);
    assert_eq!(second.packet(), bytes(&full(INFY, 1)));
    // A second subscription keeps the mode and gives the last value again; so does Python's whole ritual after a drop.
    second.ask("subscribe", &[INFY]);
    assert_eq!(second.packet(), bytes(&full(INFY, 1)));
    script.push(&[full(INFY, 2)]);
    assert_eq!(second.packet(), bytes(&full(INFY, 2)));
    // A lower mode likewise shows its part at once.
    second.mode("ltp", &[INFY]);
    assert_eq!(second.packet(), bytes(&full(INFY, 2))[..8]);
}

#[test]
fn after_an_unsubscription_nothing_comes() {
    let (script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    client.ask("subscribe", &[INFY, TCS]);
    until_wanted(&script, &[(INFY, Mode::Quote), (TCS, Mode::Quote)]);
    client.ask("unsubscribe", &[INFY, RELIANCE]);
    until_wanted(&script, &[(TCS, Mode::Quote)]);
    script.push(&[quote(INFY, 1), quote(TCS, 2)]);
    assert_eq!(client.packets(), [bytes(&quote(TCS, 2))]);
}

#[test]
fn a_request_may_be_binary_and_have_tokens_as_text() {
    let (script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    client.say(r#"{"v":["408065"],"a":"subscribe"}"#);
    until_wanted(&script, &[(INFY, Mode::Quote)]);
    let mut raw = Raw::connect(gateway.address);
    raw.send(handshake(LOGIN).as_bytes());
    raw.head();
    raw.send(&support::client::client_frame(0x82, br#"{"a":"mode","v":["full", [2953217 ]]}"#));
    until_wanted(&script, &[(INFY, Mode::Quote), (TCS, Mode::Full)]);
}

#[test]
fn what_is_not_understood_gets_an_error_of_text_and_the_socket_stays() {
    let (script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    for (text, named) in [
        ("null", "Invalid request"),
        ("hello", "Invalid request"),
        (r#"{"a":"buy","v":[1]}"#, "Invalid action"),
        (r#"{"a":"subscribe","v":["INFY"]}"#, "Error parsing instrument token"),
        (r#"{"a":"mode","v":["depth",[1]]}"#, "Invalid mode"),
    ] {
        client.say(text);
        let error = client.error();
        assert!(error.starts_with(named), "{error}");
    }
    client.ask("subscribe", &[INFY]);
    until_wanted(&script, &[(INFY, Mode::Quote)]);
}

#[test]
fn a_connection_has_so_many_tokens_and_no_more() {
    let script = Script::default();
    let gateway = start(Settings { max_kite_tokens: 3, ..settings() }, script.source(&[]));
    let mut client = KiteClient::connect(gateway.address);
    client.ask("subscribe", &[INFY, TCS]);
    client.mode("full", &[TCS, RELIANCE, NIFTY_50]);
    assert_eq!(client.error(), "Can't subscribe to more than 3 instruments.");
    until_wanted(&script, &[(INFY, Mode::Quote), (TCS, Mode::Full), (RELIANCE, Mode::Full)]);
    // What it has already costs nothing, and what it gives up makes room.
    client.ask("subscribe", &[INFY, TCS, RELIANCE]);
    client.ask("unsubscribe", &[INFY]);
    client.ask("subscribe", &[NIFTY_50]);
    until_wanted(&script, &[(TCS, Mode::Full), (RELIANCE, Mode::Full), (NIFTY_50, Mode::Quote)]);
}

#[test]
fn three_thousand_tokens_fit_a_request_and_come_in_few_frames() {
    let tokens: Vec<u32> = (0..3_000).map(|number| (number + 400_000) << 8 | 1).collect();
    let script = Script::default();
    let gateway = start(Settings { max_message: 16_384, ..settings() }, script.source(&tokens));
    for part in tokens.chunks(1_000) {
        script.push(&part.iter().map(|token| full(*token, 7)).collect::<Vec<_>>());
    }
    eventually_true("all is published", || gateway.app.feed_counters.ticks.get() == 3_000);
    let mut client = KiteClient::connect(gateway.address);
    let list = format!("{tokens:?}");
    client.say(&format!(r#"{{"a": "mode", "v": ["full", {list}]}}"#));
    let (mut got, mut frames) = (Vec::new(), 0);
    while got.len() < tokens.len() {
        got.extend(client.packets());
        frames += 1;
    }
    assert!(frames <= 50, "{frames} frames");
    let expected: BTreeMap<_, _> = tokens.iter().map(|token| (*token, bytes(&full(*token, 7)))).collect();
    assert_eq!((got.len(), last_of(&got)), (3_000, expected));
}

// ---- ticks -----------------------------------------------------------------------------------------------------------

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

// ---- staying connected -----------------------------------------------------------------------------------------------

#[test]
fn a_heartbeat_comes_every_second_and_nothing_else_unasked() {
    let (_script, gateway) = gateway();
    let mut client = KiteClient::connect(gateway.address);
    client.text();
    client.text();
    let began = Instant::now();
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
    raw.send(&support::client::client_frame(0x89, b"\0\0\0\x07"));
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

// ---- upstream --------------------------------------------------------------------------------------------------------

/// What has been asked of the upstream stand-in until now.
fn asked(peer: &Peer) -> Vec<String> {
    std::iter::from_fn(|| peer.heard()).filter_map(|message| Some(message.to_text().ok()?.to_owned())).collect()
}

#[test]
fn upstream_hears_of_each_token_once_however_clients_repeat_themselves_and_may_go_away() {
    let server = KiteServer::start();
    let mut config = Config::defaults().unwrap();
    config.feed = FeedChoice::Kite;
    config.kite_root = server.root().parse().unwrap();
    config.kite_api_key = Some(Secret::new("upkey"));
    config.kite_access_token = Some(Secret::new("uptoken"));
    let source = assembly::feed(&config, &Clock::system()).unwrap();
    let demand = DemandSettings { debounce: Duration::from_millis(50), linger: Duration::from_secs(60) };
    let gateway = start(Settings { demand, ..settings() }, source);
    let mut call = eventually("the gateway connects", || server.call());
    let peer = call.peer.as_mut().unwrap();
    let mut client = KiteClient::connect(gateway.address);
    client.say_together(&[
        r#"{"a": "subscribe", "v": [408065, 256265]}"#,
        r#"{"a": "mode", "v": ["full", [408065]]}"#,
        r#"{"a": "subscribe", "v": [408065]}"#,
        r#"{"a": "mode", "v": ["full", [408065]]}"#,
        r#"{"a": "subscribe", "v": [256265]}"#,
        r#"{"a": "mode", "v": ["quote", [256265]]}"#,
    ]);
    let mut heard = Vec::new();
    eventually_true("upstream is asked", || {
        heard.extend(asked(peer));
        heard.iter().any(|text| text.contains("256265")) && heard.iter().any(|text| text.contains("full"))
    });
    // Once the token is told, a value comes: so all of this demand was told.
    peer.send(&support::ticks::message(&[full(INFY, 1), index(NIFTY_50, 2)]));
    assert_eq!(last_of(&client.packets()).len(), 2);
    heard.extend(asked(peer));
    let subscriptions: Vec<Value> = heard
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .filter(|text: &Value| text["a"] == "subscribe")
        .collect();
    let tokens: Vec<_> = subscriptions.iter().flat_map(|text| text["v"].as_array().unwrap().clone()).collect();
    assert_eq!(tokens.len(), 2, "each token is subscribed once: {heard:?}");
    // The same again, as Python does after a drop, and .NET, which gives up everything first.
    client.say_together(&[
        r#"{"a": "subscribe", "v": [408065, 256265]}"#,
        r#"{"a": "mode", "v": ["full", [408065]]}"#,
        r#"{"a":"unsubscribe","v":[408065,256265]}"#,
        r#"{"a":"subscribe","v":[408065,256265]}"#,
        r#"{"a":"mode","v":["full", [408065]]}"#,
    ]);
    client.say(r#"{"a":"subscribe","v":[256265]}"#);
    let again = client.until_packet_of(INFY);
    assert_eq!(again, bytes(&full(INFY, 1)));
    // Something new, so that whatever was told before it has arrived too.
    client.ask("subscribe", &[TCS]);
    let mut heard = Vec::new();
    eventually_true("upstream is asked for the new one", || {
        heard.extend(asked(peer));
        heard.iter().any(|text| text.contains(&TCS.to_string()))
    });
    assert!(heard.iter().all(|text| !text.contains("408065") && !text.contains("256265")), "{heard:?}");

    // Upstream goes away and refuses to come back: heartbeats go on.
    for _ in 0..3 {
        server.answer(Answer::Refuse(500, "later".to_owned()));
    }
    call.peer.as_mut().unwrap().drop_tcp();
    eventually("the gateway tries again", || server.call());
    for _ in 0..3 {
        while client.next() != Message::binary(vec![0]) {}
    }
    assert!(get(gateway.address, "/ws/test").body.contains("\"state\""));
    let mut call = eventually("the gateway is back", || server.call().filter(|call| call.peer.is_some()));
    let peer = call.peer.as_mut().unwrap();
    let mut heard = Vec::new();
    eventually_true("all three are asked for again", || {
        heard.extend(asked(peer));
        [INFY, NIFTY_50, TCS].iter().all(|token| heard.iter().any(|text| text.contains(&token.to_string())))
    });
    peer.send(&support::ticks::message(&[full(INFY, 9)]));
    assert_eq!(client.until_packet_of(INFY), bytes(&full(INFY, 9)));
}

// ---- anything at all -------------------------------------------------------------------------------------------------

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
