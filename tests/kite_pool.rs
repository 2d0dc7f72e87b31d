//! Several sockets and keys against a stand-in Kite server, over real sockets.

mod support;

use std::time::Duration;

use support::kite_bench::{Bench, message};
use support::kite_server::Peer;
use support::ticks;
use tickfan::feed::Outage;
use tickfan::feed::kite::{Credentials, KiteState, Notice, SetTokenError, Source};
use tickfan::market::{InstrumentToken, Mode, Tick};
use tokio_tungstenite::tungstenite::Message;

const QUOTE: Option<Mode> = Some(Mode::Quote);
const FULL: Option<Mode> = Some(Mode::Full);
/// Of [`message`]: its first three instruments.
const A: u32 = 257;
const B: u32 = 513;
const C: u32 = 769;

fn pool(max_tokens: usize) -> Bench {
    Bench::with(vec![], |settings| {
        settings.sockets = 3;
        settings.max_tokens = max_tokens;
        settings.spill = Duration::from_millis(300);
    })
}

/// The next connection that is accepted.
#[track_caller]
fn accepted(bench: &mut Bench) -> Peer {
    bench.until(|bench| bench.server.call().and_then(|call| call.peer))
}

fn tick(token: u32, exchange_s: u32) -> Vec<u8> {
    ticks::message(&[Tick { exchange_timestamp: exchange_s, ..ticks::full(token, exchange_s) }])
}

#[test]
fn sockets_open_when_those_before_are_full_and_no_token_is_on_two() {
    let mut bench = pool(2);
    let first = accepted(&mut bench);
    bench.demand(&[(1, QUOTE), (2, FULL)]);
    assert_eq!(bench.requests(&first, 2)[0], r#"{"a":"subscribe","v":[1,2]}"#);
    assert!(bench.server.call().is_none(), "one socket is enough");
    bench.demand(&[(3, QUOTE), (4, QUOTE), (5, QUOTE)]);
    let (one, two) = (accepted(&mut bench), accepted(&mut bench));
    let mut requests = Vec::new();
    bench.until(|_| {
        requests.extend([&one, &two].map(Peer::heard).into_iter().flatten().map(|text| text.to_string()));
        (requests.len() == 2).then_some(())
    });
    requests.sort();
    assert_eq!(requests, [r#"{"a":"subscribe","v":[3,4]}"#, r#"{"a":"subscribe","v":[5]}"#]);
    bench.demand(&[(6, QUOTE), (7, QUOTE)]);
    let snapshot = bench.until(|bench| Some(bench.status.snapshot()).filter(|status| status.subscribed == 6));
    assert_eq!((snapshot.capacity, snapshot.refused), (6, 1), "the seventh is told to have no place");
    assert_eq!(snapshot.sockets.iter().map(|socket| socket.subscribed).collect::<Vec<_>>(), [2, 2, 2]);
    bench.demand(&[(1, None)]);
    let turn = [r#"{"a":"unsubscribe","v":[1]}"#, r#"{"a":"subscribe","v":[7]}"#];
    assert_eq!(bench.requests(&first, 2), turn, "a place that is free goes to who waits");
}

#[test]
fn modes_go_up_at_once_on_the_socket_where_the_token_is() {
    let mut bench = pool(1);
    bench.demand(&[(A, Some(Mode::Ltp)), (B, QUOTE)]);
    let first = accepted(&mut bench);
    let second = accepted(&mut bench);
    bench.until(|bench| (bench.status.snapshot().subscribed == 2).then_some(()));
    bench.demand(&[(B, FULL)]);
    let wanted =
        |peer: &Peer| std::iter::from_fn(|| peer.heard()).any(|text| text.to_string().contains(r#"["full",[513]]"#));
    bench.until(|_| (wanted(&first) || wanted(&second)).then_some(()));
}

#[test]
fn a_storm_of_changes_is_few_requests() {
    let pace = Duration::from_millis(200);
    let mut bench = Bench::with(vec![], |settings| settings.pace = pace);
    let peer = accepted(&mut bench);
    bench.until(|bench| (bench.status.snapshot().state == KiteState::Live).then_some(()));
    let began = std::time::Instant::now();
    // Odd ones stay, even ones come and go.
    for round in 1..=500 {
        bench.demand(&[(round, QUOTE)]);
        bench.turn();
        if round % 2 == 0 {
            bench.demand(&[(round, None)]);
        }
    }
    bench.until(|bench| (bench.status.snapshot().subscribed == 250).then_some(()));
    bench.idle(Duration::from_millis(30));
    let batches = began.elapsed().as_millis() / pace.as_millis() + 1;
    let requests = std::iter::from_fn(|| peer.heard()).count() as u128;
    assert!(requests <= 2 * batches, "{requests} requests in {batches} times {pace:?}");
}

#[test]
fn what_was_on_a_socket_that_stays_dead_moves_once() {
    let mut bench = pool(3);
    bench.demand(&[(A, FULL), (B, FULL), (C, FULL), (4, FULL)]);
    let mut first = accepted(&mut bench);
    let second = accepted(&mut bench);
    bench.until(|bench| (bench.status.snapshot().subscribed == 4).then_some(()));
    bench.server.set_down(true);
    first.drop_tcp();
    // As far as there is room.
    bench.until(|_| second.heard().filter(|text| text.to_string() == r#"{"a":"subscribe","v":[257,513]}"#));
    assert_eq!(bench.status.snapshot().sockets[1].subscribed, 3);
    assert_eq!(bench.status.snapshot().refused, 0);
    bench.server.set_down(false);
    // The first one left is now on the first or the third socket, whichever came back first; the others stay.
    bench.until(|bench| (bench.status.snapshot().subscribed == 4).then_some(()));
    bench.idle(Duration::from_millis(50));
    assert_eq!(bench.status.snapshot().sockets[1].subscribed, 3);
}

#[test]
fn packets_from_the_wrong_socket_never_go_on() {
    let mut bench = pool(1);
    bench.demand(&[(A, FULL)]);
    let mut first = accepted(&mut bench);
    bench.until(|bench| (bench.status.snapshot().subscribed == 1).then_some(()));
    // A, and two that nobody wants: one message of three, of which one is left.
    first.send(&message(3));
    assert_eq!(bench.until_received(1), [message(1)]);
    first.send(&tick(B, 5));
    bench.until(|bench| (bench.status.snapshot().unwanted_packets == 3).then_some(()));
    assert_eq!(bench.received.len(), 1);
}

#[test]
fn values_do_not_go_back_after_a_reconnect() {
    let mut bench = pool(3);
    bench.demand(&[(A, FULL)]);
    let mut peer = accepted(&mut bench);
    bench.until(|bench| (bench.status.snapshot().subscribed == 1).then_some(()));
    peer.send(&tick(A, 100));
    bench.until_received(1);
    peer.drop_tcp();
    let mut peer = accepted(&mut bench);
    bench.until(|bench| (bench.status.snapshot().subscribed == 1).then_some(()));
    // What Kite begins with: the last packet some server has seen, as a quote and then in full.
    peer.send(&ticks::message(&[ticks::quote(A, 99)]));
    peer.send(&tick(A, 99));
    peer.send(&tick(A, 101));
    peer.send(&tick(A, 98));
    bench.until_received(3);
    let received: Vec<_> = bench.received.iter().map(|(_, bytes)| bytes.clone()).collect();
    // The exchange itself may take a value back: only the beginning is judged.
    assert_eq!(received, [tick(A, 100), tick(A, 101), tick(A, 98)]);
    assert_eq!(bench.status.snapshot().outdated_packets, 2);
}

#[test]
fn a_second_key_is_used_when_the_first_is_full() {
    let mut bench = Bench::with(vec![], |settings| {
        settings.credentials =
            vec![Source::Fixed(Credentials::new("first", "one")), Source::Fixed(Credentials::new("second", "two"))];
        settings.max_tokens = 1;
    });
    assert!(bench.call().head.contains("api_key=first&access_token=one"));
    bench.demand(&[(1, QUOTE), (2, QUOTE)]);
    assert!(bench.call().head.contains("api_key=second&access_token=two"));
    let keys = bench.status.snapshot().keys;
    assert!(keys.iter().all(|key| key.token_usable && key.token_expires_in_s.is_some_and(|left| left > 0)), "{keys:?}");
    assert_eq!(bench.keys.set_access_token(None, "three"), Err(SetTokenError::WhichKey));
}

fn order_text(id: &str) -> String {
    format!(r#"{{"type":"order","data":{{"order_id":"{id}"}}}}"#)
}

#[test]
fn an_order_that_every_socket_tells_is_told_once() {
    let mut bench = pool(1);
    bench.demand(&[(1, QUOTE), (2, QUOTE)]);
    let (mut one, mut two) = (accepted(&mut bench), accepted(&mut bench));
    bench.until(|bench| (bench.status.snapshot().subscribed == 2).then_some(()));
    for order in ["1", "2"] {
        let text = order_text(order);
        one.say(Message::text(text.clone()));
        two.say(Message::text(text));
    }
    let mut orders = Vec::new();
    bench.until(|bench| {
        orders.extend(bench.notices.try_recv().ok());
        (bench.status.snapshot().texts == 4).then_some(())
    });
    bench.idle(Duration::from_millis(50));
    orders.extend(std::iter::from_fn(|| bench.notices.try_recv().ok()));
    let order = |id: &str| Notice::Order(order_text(id));
    assert!(orders.len() == 2 && orders.contains(&order("1")) && orders.contains(&order("2")), "{orders:?}");
}

#[test]
fn a_refused_token_is_tried_by_one_socket_and_swapped_without_touching_another() {
    let mut bench = pool(1);
    bench.demand(&[(1, QUOTE)]);
    let first = accepted(&mut bench);
    bench.until(|bench| (bench.status.snapshot().subscribed == 1).then_some(()));
    // The token dies; the open socket lives on. Two more are needed.
    bench.server.expire("s3cret%2Btoken");
    bench.demand(&[(2, QUOTE), (3, QUOTE)]);
    bench.until(|bench| {
        let refused = |number: usize| bench.status.snapshot().sockets[number].state == KiteState::TokenRefused;
        (refused(1) && refused(2)).then_some(())
    });
    bench.idle(Duration::from_millis(100));
    let snapshot = bench.status.snapshot();
    assert_eq!((snapshot.diagnosis, snapshot.keys[0].token_usable), ("token rejected", false));
    assert_eq!(snapshot.sockets[0].state, KiteState::Live);
    let calls = std::iter::from_fn(|| bench.server.call()).count();
    assert!((1..=2).contains(&calls), "{calls} attempts with a token that was refused");
    bench.keys.set_access_token(None, "another").unwrap();
    bench.until(|bench| (bench.status.snapshot().subscribed == 3).then_some(()));
    while let Some(call) = bench.server.call() {
        assert!(call.head.contains("access_token=another "), "{}", call.head);
    }
    assert_eq!(bench.status.snapshot().reconnects, 0);
    assert!(!std::iter::from_fn(|| first.heard()).any(|message| message.is_close()));
}

/// What is told next, while time passes.
#[track_caller]
fn told(bench: &mut Bench) -> Outage {
    bench.until(|bench| {
        bench.clock.advance(Duration::from_millis(10));
        bench.outages.try_recv().ok()
    })
}

#[test]
fn a_lost_connection_is_told_and_its_return_with_the_first_packet() {
    let mut bench = Bench::by_hand(|settings| settings.stale = Duration::from_millis(200));
    bench.demand(&[(A, FULL), (B, FULL)]);
    let mut peer = accepted(&mut bench);
    bench.until(|bench| (bench.status.snapshot().subscribed == 2).then_some(()));
    peer.send(&message(2));
    bench.until_received(1);
    bench.server.set_down(true);
    peer.drop_tcp();
    let Outage::Begun { mut tokens, since_ns } = told(&mut bench) else { panic!("over before it began") };
    tokens.sort_unstable();
    assert_eq!(tokens, [A, B].map(InstrumentToken));
    // What is subscribed meanwhile is lost as well.
    bench.demand(&[(C, FULL)]);
    assert_eq!(told(&mut bench), Outage::Begun { tokens: vec![InstrumentToken(C)], since_ns });
    // What nobody wants any more is not.
    bench.demand(&[(C, None)]);
    assert_eq!(told(&mut bench), Outage::Over(vec![(InstrumentToken(C), since_ns)]));
    bench.server.set_down(false);
    let mut peer = accepted(&mut bench);
    bench.until(|bench| (bench.status.snapshot().subscribed == 2).then_some(()));
    peer.send(&message(1));
    assert_eq!(told(&mut bench), Outage::Over(vec![(InstrumentToken(A), since_ns)]));
    // B has nothing new to say, but its socket is alive: for a second, in which it is never silent for as long as is stale.
    for _ in 0..2 {
        bench.clock.advance(Duration::from_millis(500));
        bench.hear(&mut peer, &[0]);
    }
    assert_eq!(told(&mut bench), Outage::Over(vec![(InstrumentToken(B), since_ns)]));
}

#[test]
fn silence_is_told_before_the_watchdog_bites_and_a_heartbeat_is_no_silence() {
    let mut bench = Bench::by_hand(|settings| settings.stale = Duration::from_millis(200));
    bench.demand(&[(A, FULL)]);
    let mut peer = bench.peer();
    bench.until(|bench| (bench.status.snapshot().subscribed == 1).then_some(()));
    for _ in 0..4 {
        // Half a second more than is stale: heartbeats may be late.
        bench.clock.advance(Duration::from_millis(699));
        bench.hear(&mut peer, &[0]);
    }
    bench.clock.advance(Duration::from_millis(699));
    bench.idle(Duration::from_millis(20));
    assert!(bench.outages.try_recv().is_err(), "it is alive, though nothing ticks");
    bench.clock.advance(Duration::from_millis(1));
    assert!(matches!(bench.until(|bench| bench.outages.try_recv().ok()), Outage::Begun { .. }));
    assert_eq!(bench.status.snapshot().state, KiteState::Live, "the connection is still given a chance");
    bench.clock.advance(Duration::from_millis(10));
    peer.send(&tick(A, 1));
    assert!(matches!(bench.until(|bench| bench.outages.try_recv().ok()), Outage::Over(_)));
}
