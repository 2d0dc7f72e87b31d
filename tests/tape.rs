//! Tapes through the whole gateway: as fast as the readers can, nothing is lost.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use support::client::Client;
use support::gateway::{Running, settings, start};
use support::ticks::{full, message};
use support::{PATIENCE, eventually_true};
use tickfan::clock::Clock;
use tickfan::duty::Idle;
use tickfan::feed::Feed;
use tickfan::feed::market::{MarketFeed, MarketOptions};
use tickfan::feed::tape::{Speed, TapeFeed, TapeOptions, TapeProgress};
use tickfan::gateway::{FeedSource, Settings, Threads};
use tickfan::market::InstrumentToken;
use tickfan::record::{Recording, record};
use tickfan::server::app::FeedStatus;
use tickfan::tape::{TapeReader, TapeWriter, scan};

const TOKENS: u32 = 20;
const MESSAGES: u32 = 600;
/// Small beside what is on the tape, but not so small that TCP's own timers set the pace.
const BUFFER: usize = 65_536;
/// Packets of one token: it is in every second message.
const EACH: u32 = MESSAGES / 2;

const fn token(at: u32) -> u32 {
    (at + 1) << 8 | 1
}

/// Six seconds of twenty instruments, half of them in each message.
fn make(path: &Path) {
    let mut tape = TapeWriter::create(path).unwrap();
    for at in 0..MESSAGES {
        let present = (0..TOKENS).filter(|token| token % 2 == at % 2);
        let ticks: Vec<_> = present.map(|of| full(token(of), at / 2 + 1)).collect();
        tape.append(1_762_257_900_000_000_000 + u64::from(at) * 10_000_000, &message(&ticks)).unwrap();
    }
    tape.flush().unwrap();
}

/// A tape that waits for its readers as long as the tests do.
fn play(path: &Path, speed: Speed, settings: Settings) -> (Running, Arc<TapeProgress>) {
    play_with(TapeOptions { speed, patience: PATIENCE, ..TapeOptions::new(path) }, settings)
}

fn play_with(options: TapeOptions, settings: Settings) -> (Running, Arc<TapeProgress>) {
    let feed = TapeFeed::open(options).unwrap();
    let progress = feed.progress();
    let status = FeedStatus(Arc::new(|| json!({"name": "tape"})));
    (start(settings, FeedSource { feed: Box::new(feed), status, control: None, upstream: None }), progress)
}

fn all_tokens() -> Vec<u32> {
    (0..TOKENS).map(token).collect()
}

/// Reads ticks until every token has shown its last value; `before` is called before each message.
fn read_to_the_end(tab: &mut Client, mut before: impl FnMut(usize)) -> BTreeMap<String, Vec<u64>> {
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut messages = 0;
    let last = u64::from(EACH);
    while seen.len() < TOKENS as usize || seen.values().any(|numbers| numbers.last() != Some(&last)) {
        before(messages);
        let tick = tab.next();
        messages += 1;
        if tick["type"] != "tick" {
            assert_eq!(tick["type"], "conflated", "{tick}");
            continue;
        }
        let numbers = seen.entry(tick["token"].as_str().unwrap().to_owned()).or_default();
        numbers.push(tick["volume_traded"].as_u64().unwrap());
    }
    seen
}

/// Every value of every token, in order.
#[track_caller]
fn assert_everything(seen: &BTreeMap<String, Vec<u64>>, way: &str) {
    for of in 0..TOKENS {
        let numbers = &seen[&token(of).to_string()];
        let lost: Vec<u64> = (1..=u64::from(EACH)).filter(|number| !numbers.contains(number)).collect();
        assert!(lost.is_empty() && numbers.len() == EACH as usize, "{way}: token {} lost {lost:?}", token(of));
        assert!(numbers.is_sorted(), "{way}: {numbers:?}");
    }
}

#[test]
fn at_full_speed_a_reader_loses_nothing_whichever_way_the_threads_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("day.tape");
    make(&path);
    for (threads, idle) in support::gateway::WAYS {
        let (gateway, progress) = play(&path, Speed::Max, Settings { threads, idle, ..settings() });
        let mut tab = gateway.client();
        assert!(!progress.started());
        tab.subscribe(&all_tokens(), json!({"mode": "full"}));
        assert_everything(&read_to_the_end(&mut tab, |_| {}), &format!("{threads:?} {idle:?}"));
        tab.expect_silence();
        // The feed says so after it has handed out the last message.
        eventually_true("the tape is over", || progress.finished());
    }
}

#[test]
fn the_final_values_do_not_depend_on_the_speed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("day.tape");
    make(&path);
    let last_values = |speed| -> BTreeMap<String, Value> {
        let (gateway, progress) = play(&path, speed, settings());
        let mut tab = gateway.client();
        tab.subscribe(&all_tokens(), json!({"mode": "full"}));
        read_to_the_end(&mut tab, |_| {});
        eventually_true("the tape is over", || progress.finished());
        // A tab that comes when all is over has the same to look at.
        let mut late = gateway.client();
        late.subscribe(&all_tokens(), json!({"mode": "full"}));
        (0..TOKENS).map(|_| late.next()).map(|tick| (tick["token"].as_str().unwrap().to_owned(), tick)).collect()
    };
    let fast = last_values(Speed::Max);
    assert_eq!(fast.len(), TOKENS as usize);
    assert_eq!(fast, last_values(Speed::Times(50.0)));
}

#[test]
fn at_full_speed_a_slow_reader_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("day.tape");
    make(&path);
    for (threads, idle) in
        [(Threads::One, Idle::Park), (Threads::Split(2), Idle::Yield), (Threads::Split(2), Idle::Park)]
    {
        let mut small = Settings { threads, idle, ..settings() };
        small.accept.send_buffer = Some(BUFFER);
        let (gateway, _progress) = play(&path, Speed::Max, small);
        let mut tab = Client::with_receive_buffer(gateway.address, BUFFER);
        tab.subscribe(&all_tokens(), json!({"mode": "full"}));
        let seen = read_to_the_end(&mut tab, |messages| {
            if messages < 1_500 {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        assert_everything(&seen, &format!("{threads:?} {idle:?}"));
    }
}

#[test]
fn a_reader_that_stopped_is_not_waited_for_long_and_costs_no_time_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("day.tape");
    make(&path);
    let mut small = settings();
    small.accept.send_buffer = Some(4_096);
    let options = TapeOptions { speed: Speed::Max, ..TapeOptions::new(&path) };
    let (gateway, progress) = play_with(options, small);
    let mut frozen = Client::with_receive_buffer(gateway.address, 4_096);
    frozen.subscribe(&all_tokens(), json!({"mode": "full"}));
    eventually_true("the tape goes on without the frozen tab", || progress.finished());
    // The thread then sleeps, although that tab stays behind.
    let cycles = || gateway.app.duty_counters[0].cycles.get();
    let before = cycles();
    std::thread::sleep(Duration::from_millis(500));
    assert!(cycles() - before < 100, "{} cycles in half a second without anything to do", cycles() - before);
    // What it finds when it reads again is the end.
    let last = read_to_the_end(&mut frozen, |_| {});
    assert_eq!(last.len(), TOKENS as usize);
}

/// A market with a clock that each poll moves on by a millisecond.
struct Timed(MarketFeed, Clock);

impl Feed for Timed {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn universe(&self) -> Vec<InstrumentToken> {
        self.0.universe()
    }

    fn poll(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        self.1.advance(Duration::from_millis(1));
        self.0.poll(now_ns, budget, sink)
    }

    fn due_ns(&self) -> Option<u64> {
        self.0.due_ns()
    }
}

#[test]
fn what_is_recorded_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("market.tape");
    let clock = Clock::manual(1_762_257_900_000_000_000);
    let mut options = MarketOptions::new(1_762_257_900);
    (options.rate, options.instruments) = (5_000, 50);
    let mut feed = Timed(MarketFeed::new(options).unwrap(), clock.clone());
    let mut poll = mio::Poll::new().unwrap();
    let stop = AtomicBool::new(false);
    let length = Some(Duration::from_millis(400));
    let recording = Recording { tokens: &[], path: &path, most_bytes: u64::MAX, length, stop: &stop };
    let recorded = record(&mut feed, &mut poll, &clock, recording, |_| {}).unwrap();
    let found = scan(&path).unwrap();
    assert_eq!((found.messages, found.broken), (recorded.messages, 0));
    assert_eq!((found.packets, found.tokens.len()), (feed.0.counters().ticks(), 50));

    // What a tab in mode full must see of it, token by token.
    let mut expected: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut reader = TapeReader::open(&path).unwrap();
    while let Some((_, message)) = reader.next().unwrap() {
        for packet in tickfan::kite::packet::packets(message).unwrap() {
            let tick = tickfan::kite::packet::decode(packet).unwrap();
            expected.entry(tick.token.to_string()).or_default().push(f64::from(tick.last_price) / 100.0);
        }
    }
    let (gateway, _progress) = play(&path, Speed::Max, settings());
    let mut tab = gateway.client();
    let tokens: Vec<u32> = found.tokens.iter().map(|InstrumentToken(token)| *token).collect();
    tab.subscribe(&tokens, json!({"mode": "full"}));
    let mut seen: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..found.packets {
        let tick = tab.next();
        assert_eq!(tick["type"], "tick", "{tick}");
        seen.entry(tick["token"].as_str().unwrap().to_owned()).or_default().push(tick["price"].as_f64().unwrap());
    }
    assert_eq!(seen, expected);
    tab.expect_silence();
}
