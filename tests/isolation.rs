//! Many tabs that come, change their minds and go, while every token ticks: nobody ever sees a tick that is not his.
//!
//! `TICKFAN_STORM_CLIENTS` and `TICKFAN_STORM_SECONDS` make it wider and longer (100 tabs for 5 s by default). A
//! thousand tabs want `--release` and a machine to themselves.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use support::client::Client;
use support::gateway::{Running, settings, start};
use support::script::Script;
use support::ticks::full;
use support::{PATIENCE, eventually_true};
use tickfan::duty::Idle;
use tickfan::gateway::{Settings, Threads};
use tickfan::market::{Mode, Tick};
use tokio_tungstenite::tungstenite::Message;

const TOKENS: u32 = 200;
/// Ticks of one message, and messages a second: 5,000 ticks a second.
const MESSAGE: u32 = 50;
const PERIOD: Duration = Duration::from_millis(10);
/// Quiet moments within the storm, at each of which everybody's wishes are compared with the board's.
const ROUNDS: u32 = 5;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

const fn token(at: u32) -> u32 {
    (at + 1) << 8 | 1
}

type Wishes = BTreeMap<u32, Mode>;

/// One tab and what it may be sent.
struct Tab {
    client: Client,
    /// What it has, by the latest reply.
    wishes: Wishes,
    /// The highest volume of each token since it was subscribed last.
    last: BTreeMap<u32, u64>,
}

impl Tab {
    fn new(gateway: &Address) -> Self {
        Self { client: Client::connect(gateway.0), wishes: Wishes::new(), last: BTreeMap::new() }
    }

    /// Checks one message; `more` is what it may have besides, while a request is under way.
    fn check(&mut self, message: &Value, more: &Wishes, ticks: &AtomicU64) {
        match message["type"].as_str() {
            Some("tick") => {
                let token: u32 = message["token"].as_str().unwrap().parse().unwrap();
                let mode = Mode::parse(message["mode"].as_str().unwrap());
                let allowed = [self.wishes.get(&token), more.get(&token)];
                assert!(allowed.contains(&mode.as_ref()), "LEAK: {message}; {allowed:?} is allowed");
                // In mode ltp there is no volume, so the price, which grows with it, tells the order.
                let number = (message["price"].as_f64().unwrap() * 100.0).round() as u64;
                let last = self.last.insert(token, number);
                assert!(last.is_none_or(|last| last <= number), "{token} goes back from {last:?} to {number}");
                ticks.fetch_add(1, Ordering::Relaxed);
            }
            Some("batch") => {
                message["messages"].as_array().unwrap().iter().for_each(|inner| self.check(inner, more, ticks));
            }
            Some("conflated" | "heartbeat") => {}
            _ => panic!("not asked for: {message}"),
        }
    }

    /// Sends a request and reads to its reply; from there on only `wishes` are allowed.
    fn ask(&mut self, request: &Value, reply: &str, wishes: Wishes, ticks: &AtomicU64) {
        self.client.send(Message::text(request.to_string()));
        loop {
            let message = self.client.next();
            if message["type"] == reply {
                break;
            }
            // Before the reply only the old set: the server keeps that order, though the contract asks for less.
            self.check(&message, &wishes, ticks);
        }
        self.wishes = wishes;
    }

    fn subscribe(&mut self, random: &mut StdRng, ticks: &AtomicU64) {
        let mode = *Mode::ALL.choose(random).unwrap();
        let tokens: BTreeSet<u32> =
            (0..random.random_range(0..20)).map(|_| token(random.random_range(0..TOKENS))).collect();
        let batch = random.random_range(0..4) == 0;
        let throttle_ms = if random.random_range(0..4) == 0 { 50 } else { 0 };
        let format = if random.random_range(0..3) == 0 { "msgpack" } else { "json" };
        let request = json!({"action": "subscribe", "tokens": tokens, "mode": mode.name(), "batch": batch,
            "batch_size": 8, "throttle_ms": throttle_ms, "format": format});
        let wishes = tokens.into_iter().map(|token| (token, mode)).collect();
        self.ask(&request, "subscribed", wishes, ticks);
    }

    fn unsubscribe(&mut self, random: &mut StdRng, ticks: &AtomicU64) {
        let (gone, kept): (Wishes, Wishes) =
            self.wishes.clone().into_iter().partition(|_| random.random_range(0..2) == 0);
        if gone.is_empty() {
            return;
        }
        let request = json!({"action": "unsubscribe", "tokens": gone.keys().collect::<Vec<_>>()});
        self.ask(&request, "unsubscribed", kept, ticks);
    }

    fn listen(&mut self, time: Duration, ticks: &AtomicU64) {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if let Some(message) = self.client.next_within(left) {
                self.check(&message, &Wishes::new(), ticks);
            }
        }
    }
}

/// Where to connect; a type, so that threads need no more of the gateway.
#[derive(Clone, Copy)]
struct Address(std::net::SocketAddr);

/// A tick that every mode shows, whose price never falls.
fn rising(at: u32, number: u32) -> Tick {
    Tick { last_price: number.cast_signed(), ..full(token(at), number) }
}

/// Publishes all tokens in turn until it is told to stop.
fn publish(script: &Script, stop: &AtomicBool) {
    let mut next = 0;
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let ticks: Vec<Tick> =
            (next..next + MESSAGE).map(|count| rising(count % TOKENS, 1_000 + count / TOKENS)).collect();
        script.push(&ticks);
        next += MESSAGE;
        due += PERIOD;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// What the board must want: the union, each token in its highest mode.
fn union<'a>(tabs: impl IntoIterator<Item = &'a Wishes>) -> Wishes {
    let mut union = Wishes::new();
    for (token, mode) in tabs.into_iter().flatten() {
        let highest = union.entry(*token).or_insert(*mode);
        *highest = (*highest).max(*mode);
    }
    union
}

fn demand(gateway: &Running) -> Wishes {
    let demand = gateway.app.context.board.demand();
    demand.into_iter().filter_map(|demand| Some((demand.token.0, demand.mode?))).collect()
}

/// One client's life: storms of change, and quiet moments at which it shows what it has.
fn live(address: Address, seed: u64, shared: &Shared) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut tab = Tab::new(&address);
    for round in 1..=ROUNDS {
        let until = Instant::now() + shared.round;
        // The last one is longer on a machine that was held up, until there was a storm.
        let is_calm = || shared.ticks.load(Ordering::Relaxed) <= shared.enough && until.elapsed() < PATIENCE;
        while Instant::now() < until || round == ROUNDS && is_calm() {
            match random.random_range(0..10) {
                0..=3 => tab.subscribe(&mut random, &shared.ticks),
                4..=6 => tab.unsubscribe(&mut random, &shared.ticks),
                7 => {
                    let left = std::mem::replace(&mut tab, Tab::new(&address));
                    if random.random_range(0..2) == 0 { left.client.close() } else { left.client.vanish() }
                }
                _ => {}
            }
            tab.listen(Duration::from_millis(random.random_range(0..shared.pause_ms)), &shared.ticks);
        }
        shared.wishes.push(tab.wishes.clone());
        // Quiet from here …
        shared.barrier.wait();
        // … until the wishes of all were compared.
        shared.barrier.wait();
    }
    if seed.is_multiple_of(2) { tab.client.close() } else { tab.client.vanish() }
}

struct Shared {
    barrier: Barrier,
    round: Duration,
    /// Longest pause between two requests of a tab. It grows with their number, so that a wide storm is one of tabs
    /// and not of requests: the same cores serve the tabs and are the tabs.
    pause_ms: u64,
    wishes: crossbeam::queue::SegQueue<Wishes>,
    ticks: AtomicU64,
    /// How many ticks must be exceeded for it to have been a storm.
    enough: u64,
}

fn storm(threads: Threads, idle: Idle) {
    let clients = from_env("TICKFAN_STORM_CLIENTS", 100);
    let length = Duration::from_secs(from_env("TICKFAN_STORM_SECONDS", 5));
    let script = Script::default();
    // All tokens have slots from the start, so all are published, wanted or not.
    let all: Vec<u32> = (0..TOKENS).map(token).collect();
    let max_connections = clients as usize * 4;
    let gateway = start(Settings { threads, idle, max_connections, ..settings() }, script.source(&all));
    let shared = Arc::new(Shared {
        barrier: Barrier::new(clients as usize + 1),
        round: length / ROUNDS,
        pause_ms: 40 * clients.div_ceil(100),
        wishes: crossbeam::queue::SegQueue::new(),
        ticks: AtomicU64::new(0),
        enough: clients * 100,
    });
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = {
        let (script, stop) = (script.clone(), Arc::clone(&stop));
        std::thread::spawn(move || publish(&script, &stop))
    };
    let address = Address(gateway.address);
    let tabs: Vec<_> = (0..clients)
        .map(|seed| {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().stack_size(512 * 1_024);
            builder.spawn(move || guarded(|| live(address, seed, &shared))).unwrap()
        })
        .collect();
    for quiet in 0..ROUNDS {
        shared.barrier.wait();
        let wishes: Vec<Wishes> = std::iter::from_fn(|| shared.wishes.pop()).collect();
        assert_eq!(wishes.len() as u64, clients);
        let union = union(&wishes);
        // Those that vanished are gone once the server has seen their end.
        eventually_true("those that left are gone", || gateway.app.context.registry.len() as u64 == clients);
        eventually_true("their demand is gone", || demand(&gateway) == union);
        assert_eq!(demand(&gateway), union, "at quiet moment {quiet}");
        let wished: u64 = wishes.iter().map(|wishes| wishes.len() as u64).sum();
        eventually_true("their subscriptions are gone", || {
            let counts = gateway.app.context.board.subscriber_counts();
            counts.iter().map(|(_, count)| u64::from(*count)).sum::<u64>() == wished
        });
        script.until_wanted(&union);
        shared.barrier.wait();
    }
    tabs.into_iter().for_each(|tab| tab.join().unwrap());
    gateway.until_empty();
    script.until_wanted(&Wishes::new());
    stop.store(true, Ordering::Relaxed);
    publisher.join().unwrap();
    let checked = shared.ticks.load(Ordering::Relaxed);
    assert!(checked > shared.enough, "only {checked} ticks were seen: the storm was none");
    println!("{threads:?} {idle:?}: {clients} tabs checked {checked} ticks");
}

/// A tab that fails must end the test: the others would wait for it at the barrier for ever.
fn guarded(run: impl FnOnce() + std::panic::UnwindSafe) {
    if std::panic::catch_unwind(run).is_err() {
        eprintln!("a tab has failed, see above");
        std::process::exit(101);
    }
}

#[test]
fn nobody_sees_a_tick_that_is_not_his_on_one_thread() {
    storm(Threads::One, Idle::Park);
}

#[test]
fn nobody_sees_a_tick_that_is_not_his_on_split_threads() {
    storm(Threads::Split(2), Idle::Yield);
}
