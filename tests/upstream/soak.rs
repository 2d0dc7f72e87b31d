//! Long and hard: an upstream that dies again and again, and one at its limit.

use crate::support::client::Client;
use crate::support::exchange::Exchange;
use crate::support::gateway::settings;
use crate::support::kite_client::{KiteClient, cut, token_of};
use crate::support::{PATIENCE, eventually_true, size};
use crate::{on_kite, token, upstream};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

/// What the tabs of the soak share.
struct Soak {
    stop: AtomicBool,
    /// Counts recoveries; a tab reports each once.
    recovery: AtomicU32,
    /// The first round after the recovery.
    round: AtomicU32,
    /// Tabs that are current again.
    current: AtomicUsize,
    ticks: AtomicU64,
    told: AtomicUsize,
}

/// One tab of the soak: nothing goes back, nothing closes.
fn soak_tab(mut client: Client, mine: &[u32], soak: &Soak) {
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    let mut reported = 0;
    while !soak.stop.load(SeqCst) {
        // A closed socket fails here.
        let Some(message) = client.next_within(Duration::from_millis(100)) else { continue };
        match message["type"].as_str() {
            Some("tick") => {
                let token: u32 = message["token"].as_str().unwrap().parse().unwrap();
                assert!(mine.contains(&token), "{message}");
                let number = (message["price"].as_f64().unwrap() * 100.0).round() as u32;
                let before = last.insert(token, number);
                assert!(before.is_none_or(|before| before <= number), "{token} goes back from {before:?} to {number}");
                soak.ticks.fetch_add(1, SeqCst);
            }
            Some("stale" | "fresh") => {
                soak.told.fetch_add(1, SeqCst);
            }
            Some("conflated" | "heartbeat") => {}
            _ => panic!("not asked for: {message}"),
        }
        let recovery = soak.recovery.load(SeqCst);
        let round = soak.round.load(SeqCst);
        if reported < recovery && last.len() == mine.len() && last.values().all(|number| *number > round) {
            reported = recovery;
            soak.current.fetch_add(1, SeqCst);
        }
    }
}

/// One Kite client of the soak: the same of it.
fn soak_kite(mut client: KiteClient, mine: &[u32], soak: &Soak) {
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    let mut reported = 0;
    while !soak.stop.load(SeqCst) {
        // A closed socket fails here. Heartbeats come once a second.
        match client.next() {
            // The server's own sign of life every 25 s; reading has answered it.
            Message::Ping(_) => {}
            Message::Binary(bytes) if *bytes == [0] => {}
            Message::Binary(bytes) => {
                for packet in cut(&bytes) {
                    let token = token_of(&packet);
                    assert!(mine.contains(&token) && packet.len() == 184, "{token}: {} bytes", packet.len());
                    let number = u32::from_be_bytes(packet[4..8].try_into().unwrap());
                    let before = last.insert(token, number);
                    assert!(
                        before.is_none_or(|before| before <= number),
                        "{token} goes back from {before:?} to {number}"
                    );
                    soak.ticks.fetch_add(1, SeqCst);
                }
            }
            Message::Text(text) => {
                let kind = serde_json::from_str::<Value>(&text).unwrap()["type"].clone();
                assert!(["instruments_meta", "app_code"].contains(&kind.as_str().unwrap()), "{text}");
            }
            other => panic!("not asked for: {other:?}"),
        }
        let recovery = soak.recovery.load(SeqCst);
        let round = soak.round.load(SeqCst);
        if reported < recovery && last.len() == mine.len() && last.values().all(|number| *number > round) {
            reported = recovery;
            soak.current.fetch_add(1, SeqCst);
        }
    }
}

#[test]
fn the_upstream_is_killed_every_five_seconds_and_no_tab_notices_more_than_a_pause() {
    const INSTRUMENTS: u32 = 200;
    let seconds = size("TICKFAN_SOAK_SECONDS", 10);
    let tabs = size("TICKFAN_SOAK_TABS", 50) as usize;
    let exchange = Exchange::start(Duration::from_millis(200));
    // On two sockets, so that more than one is killed.
    let (gateway, _) = on_kite(settings(), &exchange.root, &["--kite-max-tokens", "100"]);
    let soak = Arc::new(Soak {
        stop: AtomicBool::new(false),
        recovery: AtomicU32::new(0),
        round: AtomicU32::new(0),
        current: AtomicUsize::new(0),
        ticks: AtomicU64::new(0),
        told: AtomicUsize::new(0),
    });
    let threads: Vec<_> = (0..tabs as u32)
        .flat_map(|tab| {
            let mine: Vec<u32> = (0..20).map(|at| token((tab * 7 + at * 10) % INSTRUMENTS)).collect();
            let mut client = gateway.client();
            client.subscribe(&mine, json!({"mode": "full"}));
            let mut kite = KiteClient::connect(gateway.address);
            kite.mode("full", &mine);
            let (own, soak, other) = (mine.clone(), Arc::clone(&soak), Arc::clone(&soak));
            let tab = std::thread::spawn(move || soak_tab(client, &own, &soak));
            [tab, std::thread::spawn(move || soak_kite(kite, &mine, &other))]
        })
        .collect();
    let clients = threads.len();
    eventually_true("all is subscribed", || exchange.subscribed() == INSTRUMENTS.min(tabs as u32 * 20) as usize);
    let began = Instant::now();
    let (mut worst, mut kills) = (Duration::ZERO, 0);
    while kills < seconds / 5 {
        kills += 1;
        std::thread::sleep((began + Duration::from_secs(5) * kills as u32).saturating_duration_since(Instant::now()));
        exchange.kill();
        // Every other time long enough that it is told.
        std::thread::sleep(Duration::from_millis(if kills % 2 == 0 { 1_700 } else { 300 }));
        soak.current.store(0, SeqCst);
        soak.round.store(exchange.round(), SeqCst);
        soak.recovery.fetch_add(1, SeqCst);
        let restarted = Instant::now();
        exchange.restart();
        while soak.current.load(SeqCst) < clients {
            assert!(threads.iter().all(|client| !client.is_finished()), "a client has failed, see above");
            let current = soak.current.load(SeqCst);
            assert!(
                restarted.elapsed() < PATIENCE,
                "kill {kills}: {current} of {clients} are current; {}",
                upstream(&gateway)
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        worst = worst.max(restarted.elapsed());
    }
    soak.stop.store(true, SeqCst);
    threads.into_iter().for_each(|tab| tab.join().unwrap());
    let feed = upstream(&gateway);
    println!(
        "{kills} kills under {tabs} tabs and {tabs} Kite clients: current again within {worst:?}; {} ticks, {} notices, {} old packets left out",
        soak.ticks.load(SeqCst),
        soak.told.load(SeqCst),
        feed["outdated_packets"]
    );
    assert_eq!(exchange.doubled(), 0, "no token is subscribed twice");
    assert!(feed["outdated_packets"].as_u64().unwrap() > 0, "the exchange did send old packets");
    assert!(soak.told.load(SeqCst) >= tabs, "the longer outages are told");
    if seconds >= 120 {
        assert!(worst < Duration::from_secs(2), "{worst:?}");
    }
}

/// Processor time of this process's threads whose name begins so.
fn cpu_time(name: &str) -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
        if stat[open + 1..close].starts_with(name) {
            let times: Vec<u64> = stat[close + 2..].split(' ').skip(11).take(2).map(|n| n.parse().unwrap()).collect();
            ticks += times.iter().sum::<u64>();
        }
    }
    // Linux counts in hundredths of a second for user space on every architecture.
    Duration::from_millis(ticks * 10)
}

#[test]
fn nothing_of_a_flood_over_three_sockets_is_lost() {
    const INSTRUMENTS: u32 = 9_000;
    let seconds = size("TICKFAN_FLOOD_SECONDS", 2);
    let rate = size("TICKFAN_FLOOD_RATE", 4_500);
    let exchange = Exchange::start(Duration::from_secs_f64(f64::from(INSTRUMENTS) / rate as f64));
    // An exchange that is held up is not to be taken for one that is gone.
    let (gateway, _) = on_kite(settings(), &exchange.root, &["--kite-watchdog-ms", "60000"]);
    let mut tabs = Vec::new();
    for part in 0..9 {
        let mut tab = gateway.client();
        let mine: Vec<u32> = (part * 1_000..(part + 1) * 1_000).map(token).collect();
        tab.subscribe(&mine, json!({"mode": "full", "throttle_ms": 1_000, "batch": true, "batch_size": 100}));
        tabs.push(tab);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = tabs
        .into_iter()
        .map(|mut tab| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(SeqCst) {
                    tab.next_within(Duration::from_millis(100));
                }
            })
        })
        .collect();
    eventually_true("all is subscribed", || exchange.subscribed() == INSTRUMENTS as usize);
    assert_eq!(exchange.sockets(), 3);
    // From here on every packet counts.
    let (sent, cpu, began) = (exchange.packets(), cpu_time("tickfan-duty"), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let (lasted, spent) = (began.elapsed(), cpu_time("tickfan-duty") - cpu);
    exchange.halt();
    std::thread::sleep(Duration::from_millis(100));
    let flood = exchange.packets() - sent;
    let feed = &gateway.app.feed_counters;
    eventually_true("every packet sent was stored, or left out by rule", || {
        let feed_state = upstream(&gateway);
        let left_out =
            feed_state["outdated_packets"].as_u64().unwrap() + feed_state["unwanted_packets"].as_u64().unwrap();
        feed.ticks.get() + left_out == exchange.packets()
    });
    let feed_state = upstream(&gateway);
    println!(
        "{INSTRUMENTS} instruments on {} sockets: {:.0} ticks/s for {lasted:.1?}, none lost; the data plane took {:.0} % of a core",
        exchange.sockets(),
        flood as f64 / lasted.as_secs_f64(),
        100.0 * spent.as_secs_f64() / lasted.as_secs_f64(),
    );
    assert_eq!((exchange.doubled(), feed_state["reconnects"].as_u64()), (0, Some(0)));
    assert!(feed_state["sockets"].as_array().unwrap().iter().all(|socket| socket["subscribed"] == 3_000));
    stop.store(true, SeqCst);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}
