//! Row 23: how connections end.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::support::client::{Client, Raw, client_frame};
use crate::support::ticks::{INFY, RELIANCE};
use crate::support::{PATIENCE, eventually_true};
use crate::{evict, press, quick, with};

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
    // The server stops. Without its pings: who answers one of them after the end finds no close but an error.
    let (gateway, _script) = with(|_| {});
    let mut last = gateway.client();
    last.subscribe(&[INFY, RELIANCE], json!({}));
    gateway.stop();
    assert_eq!(last.until_closed().0, 1_001);
}

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
