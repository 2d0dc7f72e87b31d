//! A tab that reads later than its way explains is sent nothing more until it has read, though its socket would take it; then
//! it gets what is new.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::client::{Client, Raw, client_frame};
use support::eventually_true;
use support::gateway::{Running, settings, start_by};
use support::script::Script;
use support::ticks::full;
use tickfan::clock::Clock;
use tickfan::gateway::Settings;

/// Ticks in mode full, above 500 bytes each: one of every token is a tenth of what brings a ping.
const TOKENS: u32 = 12;
const ROUNDS: u32 = 180;

const fn token(at: u32) -> u32 {
    (at + 1) << 8 | 1
}

fn tokens() -> Vec<u32> {
    (0..TOKENS).map(token).collect()
}

fn gateway(script: &Script, clock: &Clock) -> Running {
    let mut settings = Settings { ring_capacity: 64, ..settings() };
    settings.writer.late_after_ns = Some(25_000_000);
    start_by(settings, script.source(&[]), clock.clone())
}

/// Advances a clock as time goes by, until it is dropped.
struct Ticking(Arc<AtomicBool>);

impl Ticking {
    fn start(clock: &Clock) -> Self {
        let (clock, ends) = (clock.clone(), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&ends);
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
                clock.advance(Duration::from_millis(1));
            }
        });
        Self(ends)
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn publish(script: &Script, number: u32) {
    script.push(&(0..TOKENS).map(|at| full(token(at), number)).collect::<Vec<_>>());
}

/// What operators see of the tab that came first, or second.
fn tab(gateway: &Running, ends: &str) -> Value {
    gateway.connections().into_iter().find(|tab| tab["peer"].as_str().unwrap().ends_with(ends)).unwrap()
}

fn port(client: &Client) -> String {
    format!(":{}", client.tcp().local_addr().unwrap().port())
}

#[test]
fn a_tab_that_does_not_read_is_not_sent_what_would_grow_old_in_its_socket() {
    let (script, clock) = (Script::default(), Clock::manual(1_000_000_000));
    let gateway = gateway(&script, &clock);
    let mut reader = gateway.client();
    // So that the system would take everything.
    let mut frozen = Client::with_receive_buffer(gateway.address, 4 * 1_024 * 1_024);
    for client in [&mut reader, &mut frozen] {
        client.subscribe(&tokens(), json!({"mode": "full"}));
    }
    publish(&script, 1);
    for client in [&mut reader, &mut frozen] {
        // Its library has then answered the first ping, which came behind the reply. Nothing more is asked: a tab is not late
        // while a request of it is carried out.
        (0..TOKENS).for_each(|_| assert_eq!(client.next()["volume_traded"], 1));
    }
    let (reads, froze) = (port(&reader), port(&frozen));
    for tab_of in [&reads, &froze] {
        eventually_true("the first ping is answered", || !tab(&gateway, tab_of)["answered_in_seconds"].is_null());
    }
    for number in 2..=ROUNDS {
        publish(&script, number);
        (0..TOKENS).for_each(|_| assert_eq!(reader.next()["volume_traded"], number));
        clock.advance(Duration::from_millis(5));
    }
    let (reads, froze) = (tab(&gateway, &reads), tab(&gateway, &froze));
    assert!(gateway.app.writer_counters[0].holds.get() > 0);
    assert_eq!((&froze["unsent_bytes"], &froze["blocked_seconds"]), (&json!(0), &json!(0.0)), "{froze}");
    let (all, some) = (reads["bytes_sent"].as_u64().unwrap(), froze["bytes_sent"].as_u64().unwrap());
    // A ping after 64 KiB, and what came in the 125 ms after it.
    assert!(some < 64 * 1_024 + all / u64::from(ROUNDS) * 35 && some * 4 < all * 3, "{some} of {all}");

    // From here on time goes by of itself: a tab that was late has a pause now and then.
    let _running = Ticking::start(&clock);
    let (mut newest, mut values) = (BTreeMap::new(), 0);
    while values < u64::from(TOKENS * (ROUNDS - 1)) {
        let message = frozen.next();
        if message["type"] == "conflated" {
            values += message["count"].as_u64().unwrap();
            continue;
        }
        let number = message["volume_traded"].as_u64().unwrap();
        let before = newest.insert(message["token"].to_string(), number);
        assert!(before < Some(number), "{message}");
        values += 1;
    }
    assert!(
        newest.len() == TOKENS as usize && newest.values().all(|number| *number == u64::from(ROUNDS)),
        "{newest:?}"
    );
}

#[test]
fn a_client_that_never_answers_is_asked_once_and_gets_everything() {
    let (script, clock) = (Script::default(), Clock::manual(1_000_000_000));
    let gateway = gateway(&script, &clock);
    let mut raw = Raw::stream(gateway.address, &[]);
    let request = json!({"action": "subscribe", "tokens": tokens(), "mode": "full"});
    raw.send(&client_frame(0x81, request.to_string().as_bytes()));
    let mut pings = 0;
    while raw.frame().0 != 0x89 {}
    for number in 1..=ROUNDS {
        publish(&script, number);
        let mut ticks = 0;
        while ticks < TOKENS {
            let (kind, body) = raw.frame();
            if kind == 0x89 {
                pings += 1;
                continue;
            }
            let tick: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(tick["volume_traded"], number);
            ticks += 1;
        }
        clock.advance(Duration::from_millis(30));
    }
    assert_eq!((pings, gateway.app.writer_counters[0].holds.get()), (0, 0));
}
