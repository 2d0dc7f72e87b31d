//! A tab that does not read costs the others nothing and the server little, and finds the truth when it comes back.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::{Client, Raw, client_frame};
use support::gateway::{Running, settings, start};
use support::script::Script;
use support::ticks::{INFY, full};
use support::{PATIENCE, eventually, eventually_true};
use tickfan::duty::Idle;
use tickfan::gateway::{Settings, Threads};
use tokio_tungstenite::tungstenite::Message;

/// Small, so that a tab that does not read is felt soon.
const BUFFER: usize = 8_192;
const TOKENS: u32 = 10;
/// A tick in mode full is below this.
const FRAME: u64 = 1_500;

fn small(threads: Threads, idle: Idle) -> Settings {
    let mut small = Settings { threads, idle, ring_capacity: 64, ..settings() };
    small.accept.send_buffer = Some(BUFFER);
    small.writer.budget = 4_096;
    small
}

const fn token(at: u32) -> u32 {
    (at + 1) << 8 | 1
}

fn tokens() -> Vec<u32> {
    (0..TOKENS).map(token).collect()
}

/// Publishes one tick of every token and waits until `tab` has them all: nobody who reads is ever hurried.
#[track_caller]
fn round(script: &Script, number: u32, tab: &mut Client) {
    script.push(&(0..TOKENS).map(|at| full(token(at), number)).collect::<Vec<_>>());
    for at in 0..TOKENS {
        let tick = tab.next();
        assert_eq!((&tick["token"], &tick["volume_traded"]), (&json!(token(at).to_string()), &json!(number)), "{tick}");
    }
}

/// What an operator sees of the tab that is full, once there is one.
#[track_caller]
fn blocked(gateway: &Running) -> Value {
    eventually("a tab is full", || gateway.connections().into_iter().find(|tab| tab["unsent_bytes"].as_u64() > Some(0)))
}

/// What a tab gets until it has the last value of every token: values by token, and how many it was told to have missed.
#[derive(Default)]
struct Caught {
    seen: BTreeMap<String, Vec<u64>>,
    missed: u64,
}

impl Caught {
    fn ticks(&self) -> u64 {
        self.seen.values().map(|numbers| numbers.len() as u64).sum()
    }

    fn note(&mut self, message: &Value) {
        match message["type"].as_str() {
            Some("tick") => {
                let numbers = self.seen.entry(message["token"].as_str().unwrap().to_owned()).or_default();
                let number = message["volume_traded"].as_u64().unwrap();
                assert!(numbers.last().is_none_or(|last| *last < number), "back to {number} from {numbers:?}");
                numbers.push(number);
            }
            Some("conflated") => self.missed += message["count"].as_u64().unwrap(),
            Some("batch") => message["messages"].as_array().unwrap().iter().for_each(|inner| self.note(inner)),
            _ => panic!("not expected: {message}"),
        }
    }
}

#[test]
fn a_frozen_tab_costs_nobody_anything_and_finds_the_truth() {
    /// More than is needed to fill a tab whose writer runs.
    const ROUNDS: u32 = 600;
    for (threads, idle) in
        [(Threads::One, Idle::Park), (Threads::Split(2), Idle::Yield), (Threads::Split(1), Idle::Park)]
    {
        let script = Script::default();
        let gateway = start(small(threads, idle), script.source(&[]));
        let mut reader = gateway.client();
        let mut frozen = Client::with_receive_buffer(gateway.address, BUFFER);
        reader.subscribe(&tokens(), json!({"mode": "full"}));
        frozen.subscribe(&tokens(), json!({"mode": "full"}));
        let mut rounds = 0;
        // Again when its writer was held up: it then had only the newest of each token to send.
        let tab = eventually("a tab is full, and its ring let go", || {
            for _ in 0..ROUNDS {
                rounds += 1;
                round(&script, rounds, &mut reader);
            }
            let is_full = |tab: &Value| tab["unsent_bytes"].as_u64() > Some(0) && tab["queue_depth"] == 0;
            gateway.connections().into_iter().find(is_full)
        });
        assert!(tab["unsent_bytes"].as_u64().unwrap() <= 4_096 + FRAME, "{tab}");
        eventually_true("the time of silence is shown", || blocked(&gateway)["blocked_seconds"].as_f64() > Some(0.0));
        let counted: Vec<u64> =
            gateway.app.writer_counters.iter().map(|counters| counters.blocked_tabs.get()).collect();
        assert_eq!(counted.iter().sum::<u64>(), 1);

        let mut caught = Caught::default();
        while caught.ticks() + caught.missed < u64::from(rounds * TOKENS) {
            caught.note(&frozen.next());
        }
        assert_eq!(caught.ticks() + caught.missed, u64::from(rounds * TOKENS), "every value was sent or told of");
        assert!(caught.missed > u64::from(rounds), "it was frozen: {} missed", caught.missed);
        assert_eq!(caught.seen.len(), TOKENS as usize);
        let last = u64::from(rounds);
        assert!(caught.seen.values().all(|numbers| numbers.last() == Some(&last)), "{:?}", caught.seen);
        for number in rounds + 1..rounds + 20 {
            round(&script, number, &mut reader);
            let again: Vec<Value> = (0..TOKENS).map(|_| frozen.next()["volume_traded"].clone()).collect();
            assert_eq!(again, vec![json!(number); TOKENS as usize], "every tick again");
        }
        frozen.expect_silence();
        let stats = gateway.connections();
        let sum = |name: &str| stats.iter().map(|tab| tab[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("unsent_bytes"), sum("conflated")), (0, caught.missed));
        assert_eq!(sum("delivered") + caught.missed, u64::from((rounds + 19) * TOKENS * 2));
    }
}

#[test]
fn a_frozen_tab_that_ends_leaves_nothing_behind() {
    let script = Script::default();
    let gateway = start(small(Threads::One, Idle::Park), script.source(&[]));
    let mut reader = gateway.client();
    reader.subscribe(&tokens(), json!({"mode": "full"}));
    let mut number = 0;
    for leave in [|tab: Client| tab.vanish(), |tab: Client| drop(tab)] {
        let mut frozen = Client::with_receive_buffer(gateway.address, BUFFER);
        frozen.subscribe(&tokens(), json!({"mode": "full"}));
        while gateway.app.writer_counters[0].blocked_tabs.get() == 0 {
            number += 1;
            round(&script, number, &mut reader);
        }
        leave(frozen);
        let context = &gateway.app.context;
        eventually_true("only the reader is left", || context.registry.len() == 1);
        eventually_true("its key is free", || context.doors[0].tabs() == 1);
        assert_eq!(gateway.app.writer_counters[0].blocked_tabs.get(), 0);
        assert!(context.board.subscriber_counts().iter().all(|(_, count)| *count == 1));
        number += 1;
        round(&script, number, &mut reader);
    }
}

#[test]
fn requests_without_end_are_answered_when_somebody_reads_the_answers() {
    const PINGS: usize = 10_000;
    let script = Script::default();
    let gateway = start(small(Threads::One, Idle::Park), script.source(&[]));
    let tab = Client::with_receive_buffer(gateway.address, BUFFER);
    let mut writer = tab.tcp().try_clone().unwrap();
    // In a thread: the server stops reading, so at some time this cannot write.
    let pings = std::thread::spawn(move || {
        let ping = client_frame(0x81, br#"{"action":"ping"}"#);
        (0..PINGS).for_each(|_| writer.write_all(&ping).unwrap());
    });
    blocked(&gateway);
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < Duration::from_millis(300) {
        most = most.max(blocked(&gateway)["unsent_bytes"].as_u64().unwrap());
        std::thread::sleep(Duration::from_millis(2));
    }
    // The limit, and what was on its way when it was reached.
    assert!(most < 16_384 + 16_384, "{most} bytes of answers are kept for one that does not read");
    // Others are served meanwhile.
    gateway.client().expect_silence();
    let mut reader = tab;
    for _ in 0..PINGS {
        assert_eq!(reader.next()["type"], "pong");
    }
    pings.join().unwrap();
    reader.expect_silence();
}

#[test]
fn pings_of_the_socket_without_end_cost_little_too() {
    let script = Script::default();
    let gateway = start(small(Threads::One, Idle::Park), script.source(&[]));
    let tab = Client::with_receive_buffer(gateway.address, BUFFER);
    let mut writer = tab.tcp().try_clone().unwrap();
    let pings = std::thread::spawn(move || {
        let ping = client_frame(0x89, &[b'x'; 125]);
        let mut sent = 0;
        while sent < 20_000 && writer.write_all(&ping).is_ok() {
            sent += 1;
        }
    });
    blocked(&gateway);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(300) {
        let unsent = blocked(&gateway)["unsent_bytes"].as_u64().unwrap();
        assert!(unsent < 16_384 + 16_384, "{unsent} bytes of pongs are kept for one that does not read");
        std::thread::sleep(Duration::from_millis(2));
    }
    tab.tcp().shutdown(Shutdown::Both).unwrap();
    tab.vanish();
    pings.join().unwrap();
    gateway.until_empty();
}

#[test]
fn a_client_that_sends_no_more_has_left() {
    let script = Script::default();
    let gateway = start(small(Threads::One, Idle::Park), script.source(&[]));
    let mut raw = Raw::stream(gateway.address, &client_frame(0x81, br#"{"action":"subscribe","tokens":[408065]}"#));
    raw.frame();
    raw.finish();
    // Its other half ends too, with a word about the manner.
    assert!(matches!(raw.rest()[..], [] | [0x88, ..]));
    gateway.until_empty();
    // Within a frame, within a head.
    let mut raw = Raw::stream(gateway.address, &[0x81]);
    raw.finish();
    raw.rest();
    gateway.until_empty();
    // And one that is full and only then sends no more.
    let mut reader = gateway.client();
    reader.subscribe(&tokens(), json!({"mode": "full"}));
    let mut frozen = Client::with_receive_buffer(gateway.address, BUFFER);
    frozen.subscribe(&tokens(), json!({"mode": "full"}));
    let mut number = 0;
    while gateway.app.writer_counters[0].blocked_tabs.get() == 0 {
        number += 1;
        round(&script, number, &mut reader);
    }
    frozen.tcp().shutdown(Shutdown::Write).unwrap();
    eventually_true("only the reader is left", || gateway.app.context.registry.len() == 1);
    drop(reader);
    gateway.until_empty();
}

#[test]
fn a_write_that_was_cut_goes_on_where_it_was() {
    const BATCH: u32 = 300;
    for format in ["json", "msgpack"] {
        let script = Script::default();
        let mut wide = small(Threads::One, Idle::Park);
        wide.ring_capacity = 4_096;
        wide.writer.batch_delay_ns = 3_600_000_000_000;
        let gateway = start(wide, script.source(&[]));
        let mut tab = gateway.client();
        let asked = json!({"mode": "full", "batch": true, "batch_size": BATCH, "format": format});
        tab.subscribe(&tokens(), asked);
        // Ten batches of about 250 KB, each many times what the socket takes at once, with replies between.
        for number in 1..=BATCH {
            script.push(&(0..TOKENS).map(|at| full(token(at), number)).collect::<Vec<_>>());
            if number % 30 == 0 {
                tab.say(&json!({"action": "ping"}));
            }
        }
        let (mut caught, mut batches, mut pongs) = (Caught::default(), 0, 0);
        while batches < TOKENS || pongs < 10 {
            let message = tab.next();
            match message["type"].as_str() {
                Some("batch") => {
                    assert_eq!(message["messages"].as_array().unwrap().len(), BATCH as usize);
                    caught.note(&message);
                    batches += 1;
                }
                Some("pong") => pongs += 1,
                _ => panic!("{message}"),
            }
        }
        let all: Vec<u64> = (1..=u64::from(BATCH)).collect();
        assert!(caught.seen.len() == TOKENS as usize && caught.seen.values().all(|numbers| *numbers == all));
        assert!(gateway.app.writer_counters[0].blocked_writes.get() > 0, "the test has cut no write");
    }
}

#[test]
fn a_reset_in_the_middle_of_a_handshake_or_a_stream_harms_nobody() {
    let script = Script::default();
    let gateway = start(small(Threads::One, Idle::Park), script.source(&[]));
    let mut witness = gateway.client();
    witness.subscribe(&[INFY], json!({}));
    for turn in 1..=50 {
        let tab = gateway.client();
        if turn % 2 == 0 {
            let mut tab = tab;
            tab.send(Message::text(r#"{"action":"subscribe","tokens":[408065]}"#));
            tab.vanish();
        } else {
            tab.vanish();
        }
        script.push(&[full(INFY, turn)]);
        assert_eq!(witness.next()["volume_traded"], turn);
    }
    eventually_true("all have left", || gateway.app.context.registry.len() == 1);
    witness.tcp().set_read_timeout(Some(PATIENCE)).unwrap();
    witness.close();
    gateway.until_empty();
    let mut nobody = std::net::TcpStream::connect(gateway.address).unwrap();
    nobody.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    nobody.read_to_end(&mut rest).unwrap();
}
