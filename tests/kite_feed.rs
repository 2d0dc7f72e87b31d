//! The upstream connection against a stand-in Kite server, over real sockets.

mod support;

use std::time::{Duration, Instant};

use support::kite_bench::{Bench, KEY, TOKEN, logged, message};
use support::kite_server::{Answer, Call};
use tickfan::feed::kite::{KiteState, Notice, Settings, Source};
use tickfan::market::Mode;
use tokio_tungstenite::tungstenite::Message;

#[test]
fn ticks_arrive_as_they_were_sent() {
    let mut bench = Bench::new(vec![]);
    let Call { head, peer, .. } = bench.call();
    let mut peer = peer.unwrap();
    assert!(head.starts_with("GET /?api_key=s3cretkey&access_token=s3cret%2Btoken HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("x-kite-version: 3\r\n"), "{head}");
    assert!(head.contains(concat!("user-agent: tickfan/", env!("CARGO_PKG_VERSION"), "\r\n")), "{head}");
    bench.want(2, &peer);
    // A tick, a heartbeat, nothing at all, and a message that announces more than it holds: all are the decoder's.
    let sent = [message(2), vec![0], vec![], vec![0, 9, 1], message(1)];
    sent.iter().for_each(|bytes| peer.send(bytes));
    assert_eq!(bench.until_received(sent.len()), sent);
    // The connection is handed over before it is told to be open.
    bench.until_state(KiteState::Live);
    let status = bench.status.snapshot();
    assert_eq!((status.messages, status.reconnects), (5, 0));
    assert_eq!(status.bytes, sent.iter().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert!(status.connected_since.is_some() && status.last_message_age_ms.is_some());
}

#[test]
fn bytes_in_the_segment_of_the_101_are_not_lost() {
    let sent = [message(1), message(3)];
    let early = sent.iter().map(|bytes| Message::binary(bytes.clone())).collect();
    // Nothing else makes the feed look: no edge tells of what the handshake has read already.
    let mut bench = Bench::with(vec![Answer::AcceptWith(early)], |settings| {
        (settings.stale, settings.watchdog) = (Duration::from_secs(3_600), Duration::from_secs(3_600));
    });
    bench.demand(&[257, 513, 769].map(|token| (token, Some(Mode::Full))));
    assert_eq!(bench.until_received(2), sent);
}

#[test]
fn who_was_held_up_asks_the_kernel_before_a_line_counts_as_silent() {
    let mut bench = Bench::new(vec![]);
    let mut peer = bench.peer();
    bench.want(1, &peer);
    peer.send(&message(1));
    bench.held_up(Duration::from_secs(3_600));
    assert_eq!(bench.received.len(), 1);
}

#[test]
fn the_largest_frame_passes() {
    let mut bench = Bench::new(vec![]);
    let mut peer = bench.peer();
    bench.want(3_000, &peer);
    let sent = message(3_000);
    assert_eq!(sent.len(), 558_002);
    let bytes = sent.clone();
    // In a thread: it is more than the socket's buffers need to take.
    let writer = std::thread::spawn(move || {
        peer.send(&bytes);
        peer
    });
    assert_eq!(bench.until_received(1), [sent]);
    writer.join().unwrap();
}

#[test]
fn requests_follow_what_is_wanted() {
    let mut bench = Bench::new(vec![]);
    bench.demand(&[(408_065, Some(Mode::Full)), (256_265, Some(Mode::Quote)), (408_065, Some(Mode::Full))]);
    let peer = bench.peer();
    let first = [r#"{"a":"subscribe","v":[256265,408065]}"#, r#"{"a":"mode","v":["full",[408065]]}"#];
    assert_eq!(bench.requests(&peer, 2), first);
    bench.demand(&[(256_265, Some(Mode::Full)), (738_561, Some(Mode::Ltp))]);
    let second = [
        r#"{"a":"subscribe","v":[738561]}"#,
        r#"{"a":"mode","v":["ltp",[738561]]}"#,
        r#"{"a":"mode","v":["full",[256265]]}"#,
    ];
    assert_eq!(bench.requests(&peer, 3), second);
    bench.demand(&[(256_265, Some(Mode::Quote)), (408_065, None), (738_561, Some(Mode::Ltp))]);
    let third = [r#"{"a":"unsubscribe","v":[408065]}"#, r#"{"a":"mode","v":["quote",[256265]]}"#];
    assert_eq!(bench.requests(&peer, 2), third);
    assert_eq!(bench.status.snapshot().subscribed, 2);
}

#[test]
fn after_a_drop_everything_is_subscribed_once() {
    let mut bench = Bench::new(vec![]);
    bench.demand(&[(257, Some(Mode::Full)), (2, Some(Mode::Quote)), (3, Some(Mode::Quote))]);
    let mut peer = bench.peer();
    bench.requests(&peer, 2);
    bench.demand(&[(2, None), (4, Some(Mode::Full))]);
    bench.requests(&peer, 3);
    peer.send(&message(1));
    bench.until_received(1);
    peer.drop_tcp();
    let peer = bench.peer();
    let all = [r#"{"a":"subscribe","v":[3,4,257]}"#, r#"{"a":"mode","v":["full",[4,257]]}"#];
    assert_eq!(bench.requests(&peer, 2), all);
    let status = bench.status.snapshot();
    assert_eq!((status.reconnects, status.subscribed), (1, 3));
}

#[test]
fn instruments_over_the_limit_wait_for_room() {
    let mut bench = Bench::with(vec![], |settings| settings.max_tokens = 2);
    bench.demand(&[(90_001, Some(Mode::Quote)), (90_002, Some(Mode::Quote)), (90_003, Some(Mode::Full))]);
    let peer = bench.peer();
    assert_eq!(bench.requests(&peer, 1), [r#"{"a":"subscribe","v":[90001,90002]}"#]);
    let status = bench.status.snapshot();
    assert_eq!((status.subscribed, status.refused), (2, 1));
    bench.until(|_| logged().contains("count=1 tokens=[90003]").then_some(()));
    bench.demand(&[(90_001, None)]);
    let turn = [
        r#"{"a":"unsubscribe","v":[90001]}"#,
        r#"{"a":"subscribe","v":[90003]}"#,
        r#"{"a":"mode","v":["full",[90003]]}"#,
    ];
    assert_eq!(bench.requests(&peer, 3), turn);
    assert_eq!(bench.status.snapshot().refused, 0);
}

#[test]
fn requests_that_would_block_are_kept_and_merged() {
    const TOKENS: u32 = 2_999;
    let mut bench = Bench::new(vec![Answer::AcceptDeaf]);
    let mut peer = bench.peer();
    // Far more than the buffers of both sockets hold; what does not fit must wait without blocking this thread.
    for round in 0..1_000 {
        let mode = if round % 2 == 0 { Mode::Full } else { Mode::Ltp };
        let all: Vec<(u32, Option<Mode>)> = (0..TOKENS).map(|n| (100_000_000 + n, Some(mode))).collect();
        bench.demand(&all);
        peer.send(&[0]);
        bench.turn();
    }
    bench.demand(&[(7, Some(Mode::Quote))]);
    assert_eq!(bench.status.snapshot().subscribed, u64::from(TOKENS), "the last one waits");
    peer.listen();
    let (mut bytes, mut subscribed) = (0, 0);
    let last = bench.until(|_| {
        let text = peer.heard()?.into_text().unwrap();
        bytes += text.len();
        subscribed += usize::from(text.contains("subscribe"));
        (text == r#"{"a":"subscribe","v":[7]}"#).then_some(text)
    });
    assert_eq!(last, r#"{"a":"subscribe","v":[7]}"#);
    assert_eq!(subscribed, 4, "all in three batches, and the last one");
    assert!(bytes < 1_000 * TOKENS as usize * 10, "changes were merged while the socket was full: {bytes}");
}

#[test]
fn silence_ends_the_connection() {
    let watchdog = Duration::from_secs(10);
    let mut bench = Bench::by_hand(|settings| settings.watchdog = watchdog);
    let mut peer = bench.peer();
    // A ping every now and then is enough to live, and is answered.
    for _ in 0..4 {
        bench.clock.advance(watchdog - Duration::from_nanos(1));
        peer.say(Message::Ping("tick".into()));
        assert_eq!(bench.until(|_| peer.heard()), Message::Pong("tick".into()));
    }
    bench.clock.advance(watchdog - Duration::from_nanos(1));
    bench.idle(Duration::from_millis(20));
    assert_eq!(bench.status.snapshot().reconnects, 0);
    bench.clock.advance(Duration::from_nanos(1));
    let _again = bench.peer();
    assert_eq!(bench.status.snapshot().reconnects, 1);
}

#[test]
fn a_refused_token_waits_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kite.toml");
    std::fs::write(&path, "api_key = \"k\"\naccess_token = \"stale\"\n").unwrap();
    let source = Source::File(path.clone());
    let refusal = Answer::Refuse(403, "{\"message\":\"stale is not valid\"}".to_owned());
    let mut bench = Bench::with(vec![refusal], |settings| settings.credentials = vec![source]);
    assert!(bench.call().peer.is_none());
    bench.until_state(KiteState::TokenRefused);
    bench.idle(Duration::from_millis(200));
    assert!(bench.server.call().is_none(), "no attempt with a token that was refused");
    let status = bench.status.snapshot();
    assert!(status.reason.starts_with("token rejected (HTTP 403"), "{}", status.reason);
    assert!(status.reason.contains("kite.toml") && !status.reason.contains("stale"), "{}", status.reason);
    assert_eq!(status.next_attempt_in_ms, None);
    std::fs::write(&path, "api_key = \"k\"\naccess_token = \"fresh\"\n").unwrap();
    assert!(bench.call().head.contains("access_token=fresh "));
    bench.until_state(KiteState::Live);
}

#[test]
fn two_early_ends_without_a_tick_mean_a_refused_token() {
    let mut bench = Bench::new(vec![]);
    bench.peer().drop_tcp();
    bench.peer().close(1000, "bye");
    bench.until_state(KiteState::TokenRefused);
    assert!(bench.status.snapshot().next_attempt_in_ms.is_some(), "a suspicion is tested again");
    bench.idle(Duration::from_millis(100));
    assert!(bench.server.call().is_none());
}

#[test]
fn an_early_end_after_a_tick_is_no_suspicion() {
    let mut bench = Bench::new(vec![]);
    bench.demand(&[(257, Some(Mode::Full))]);
    for round in 1..=4 {
        let mut peer = bench.peer();
        peer.send(&message(1));
        bench.until_received(round);
        peer.close(1000, "");
    }
    bench.peer();
}

#[test]
fn a_rate_limit_is_waited_out() {
    let refused_for = |wait: Duration| {
        let refusal = Answer::Refuse(429, String::new());
        Bench::with(vec![refusal], |settings| settings.waits.rate_limited = wait)
    };
    // The state lasts for long enough to be seen.
    let mut bench = refused_for(Duration::from_secs(3_600));
    bench.until_state(KiteState::RateLimited);
    assert!(bench.status.snapshot().next_attempt_in_ms.is_some());
    let (began, wait) = (Instant::now(), Duration::from_millis(400));
    let mut bench = refused_for(wait);
    bench.call();
    bench.peer();
    assert!(began.elapsed() >= wait, "{:?}", began.elapsed());
    assert_eq!(Settings::new(vec![]).waits.rate_limited, Duration::from_secs(60));
}

#[test]
fn other_failures_are_retried_and_named() {
    let answers = vec![Answer::Refuse(400, "bad".to_owned()), Answer::Refuse(502, String::new()), Answer::Hang];
    let mut bench = Bench::with(answers, |settings| {
        settings.waits.handshake = Duration::from_secs(4);
        settings.waits.backoff_first = Duration::from_millis(200);
    });
    let mut calls = Vec::new();
    for reason in ["malformed request (HTTP 400: bad)", "HTTP 502", "network: no answer to the handshake in time"] {
        calls.push(bench.call());
        // In the log, because the state may last for less than a turn.
        bench.until(|_| logged().contains(&format!("reason=\"{reason}")).then_some(()));
    }
    bench.peer();
}

#[test]
fn tls_against_a_server_without_it_fails_by_name() {
    let mut bench = Bench::with(vec![], |settings| {
        settings.root = settings.root.replace("ws://127.0.0.1", "wss://localhost");
        settings.waits.backoff_first = Duration::from_secs(60);
        settings.waits.handshake = Duration::from_millis(300);
    });
    bench.until_state(KiteState::BackingOff);
    assert!(bench.status.snapshot().reason.starts_with("network: "), "{:?}", bench.status);
}

#[test]
fn a_used_up_budget_is_continued_without_another_edge() {
    let mut bench = Bench::new(vec![]);
    bench.budget = 10;
    let mut peer = bench.peer();
    bench.want(5, &peer);
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(message(5));
    }
    all.iter().for_each(|bytes| peer.send(bytes));
    assert_eq!(bench.until_received(20), all);
    let most = (1..=bench.polls).map(|poll| bench.received.iter().filter(|(at, _)| *at == poll).count()).max();
    assert_eq!(most, Some(2), "ten packets are two messages of five");
}

#[test]
fn texts_become_notices() {
    let mut bench = Bench::new(vec![]);
    let mut peer = bench.peer();
    let meta = r#"{"type":"instruments_meta","data":{"count":3,"etag":"e"}}"#;
    let texts = [
        meta,
        r#"{"type":"order","data":{"order_id":"1"}}"#,
        meta,
        r#"{"type":"error","data":"Can't subscribe s3cret+token"}"#,
        "null",
    ];
    texts.iter().for_each(|text| peer.say(Message::text(*text)));
    let notices: Vec<Notice> = (0..4).map(|_| bench.until(|bench| bench.notices.try_recv().ok())).collect();
    assert_eq!(notices[0], Notice::Instruments { count: 3, etag: "e".to_owned() });
    assert_eq!(notices[1], Notice::Order(texts[1].to_owned()));
    assert_eq!(notices[2], Notice::Error("Can't subscribe s3cret+token".to_owned()));
    assert_eq!(notices[3], Notice::Unknown("null".to_owned()));
    let status = bench.status.snapshot();
    assert_eq!((status.texts, status.texts_dropped), (5, 0));
    assert_eq!(status.last_error.as_deref(), Some("Can't subscribe ***"));
}

#[test]
fn texts_nobody_takes_are_counted() {
    let mut bench = Bench::new(vec![]);
    let mut peer = bench.peer();
    for _ in 0..300 {
        peer.say(Message::text(r#"{"type":"message","data":"hi"}"#));
    }
    bench.until(|bench| (bench.status.snapshot().texts == 300).then_some(()));
    bench.until(|bench| (bench.status.snapshot().texts_dropped == 300 - 256).then_some(()));
}

#[test]
fn no_secret_is_ever_shown() {
    let echo = format!("who is {KEY} with {TOKEN} or s3cret%2Btoken?");
    let mut bench = Bench::with(vec![Answer::Refuse(500, echo.clone())], |settings| {
        assert!(!format!("{settings:?}").contains("s3cret"));
    });
    bench.call();
    bench.peer().close(4000, &echo);
    bench.peer().close(4000, &echo);
    bench.until_state(KiteState::TokenRefused);
    let mut seen = format!("{:?}", bench.status);
    seen += &serde_json::to_string(&bench.status.snapshot()).unwrap();
    assert!(seen.contains("who is *** with"), "{seen}");
    let log = logged();
    assert!(
        log.contains("HTTP 500: who is ***")
            && log.contains("code 4000")
            && log.contains("who is *** with *** or ***?"),
        "{log}"
    );
    assert!(!log.contains("s3cret") && !seen.contains("s3cret"), "{log}\n{seen}");
}

#[test]
fn both_halves_end_together() {
    let mut bench = Bench::new(vec![]);
    let peer = bench.peer();
    bench.feed = None;
    bench.until(|bench| bench.task.is_finished().then_some(()));
    assert_eq!(bench.status.snapshot().state, KiteState::Stopped);
    assert!(
        matches!(bench.until(|_| peer.heard()), Message::Close(_)),
        "Kite is told, so that the socket is not counted"
    );

    let mut bench = Bench::new(vec![Answer::Hang]);
    let _call = bench.call();
    bench.stop.send(true).unwrap();
    bench.until(|bench| bench.task.is_finished().then_some(()));
    assert_eq!(bench.status.snapshot().reason, "stopped");
}
