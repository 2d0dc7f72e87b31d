//! The engine under load: nothing is conflated on its queue, and what it costs is told.
//!
//! At full scale, in a release build, on a machine that does nothing else:
//!
//! ```text
//! TICKFAN_ENGINE_INSTRUMENTS=2000 TICKFAN_ENGINE_RATE=5000 TICKFAN_ENGINE_SECONDS=60 TICKFAN_ENGINE_PAIRS=5 \
//!     cargo test --release --test engine_load -- --nocapture --test-threads 1
//! ```

mod support;

use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::client::Client;
use support::gateway::{Running, settings, start};
use support::{eventually, eventually_true};
use tickfan::engine::Engine;
use tickfan::engine::command::{Topic, Wish};
use tickfan::engine::view::{Subscriber, Wording};
use tickfan::fanout::mail::Mail;
use tickfan::fanout::port::Port;
use tickfan::fanout::ring::Ring;
use tickfan::fanout::series::Subscription;
use tickfan::fanout::slot::Inbox;
use tickfan::feed::Feed;
use tickfan::feed::market::{MarketFeed, MarketOptions};
use tickfan::gateway::FeedSource;
use tickfan::market::{Candle, InstrumentToken, Timeframe};
use tickfan::server::app::FeedStatus;
use tickfan::stats::{Counter, Stop};
use tickfan::wire::Format;
use tokio::runtime::Runtime;

const TIMEFRAMES: [Timeframe; 3] = [Timeframe::Min1, Timeframe::Min5, Timeframe::Min15];
const INDICATORS: [&str; 5] = ["RSI_14", "SMA_20", "EMA_20", "MACD_12_26_9", "BBANDS_20_2"];
/// Bars of history.
const BARS: i64 = 600;
/// Instruments a listener takes together, so that its mailbox holds what closes in one go.
const TOGETHER: usize = 100;

fn scale(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// Bars that make every indicator warm, up to a minute ago.
fn history(timeframe: Timeframe) -> Vec<Candle> {
    let length = timeframe.seconds().unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let last = now / length * length;
    let bar = |at: i64| {
        let (start, price) = (last - at * length, 100_000 + (at * 37 % 211) as i32);
        Candle { volume: 100, ..Candle::historical(start, start + length, price, price + 50, price - 50, price + 10) }
    };
    (1..=BARS).rev().map(bar).collect()
}

/// A gateway on an embedded market, and what listens to its engine.
struct Load {
    gateway: Running,
    engine: Arc<Engine>,
    tokens: Vec<InstrumentToken>,
    inboxes: Vec<Arc<Inbox>>,
    runtime: Runtime,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<u64>>,
}

impl Load {
    fn start(instruments: usize, rate: u32) -> Self {
        let mut options = MarketOptions::new(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32);
        (options.rate, options.instruments) = (rate, instruments);
        let feed = MarketFeed::new(options).unwrap();
        let tokens = feed.universe();
        let status = FeedStatus(Arc::new(|| json!({"name": "market"})));
        let gateway = start(settings(), FeedSource { feed: Box::new(feed), status, control: None, upstream: None });
        let engine = Arc::clone(&gateway.app.context.engine);
        let inboxes: Vec<Arc<Inbox>> =
            tokens.chunks(TOGETHER).map(|_| Arc::new(Inbox::new(Ring::new(1), 0, Arc::new(Port::new(1))))).collect();
        // A reader that keeps up, in place of the writers.
        let stop = Arc::new(AtomicBool::new(false));
        let reader = {
            let (stop, inboxes) = (Arc::clone(&stop), inboxes.clone());
            std::thread::spawn(move || {
                let mut read = 0;
                loop {
                    // Looked at before: what came before the end is read.
                    let stopping = stop.load(Ordering::Relaxed);
                    for inbox in &inboxes {
                        read += std::iter::from_fn(|| inbox.mail.take()).filter_map(Mail::open).count() as u64;
                    }
                    if stopping {
                        return read;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { gateway, engine, tokens, inboxes, runtime, stop, reader: Some(reader) }
    }

    /// Subscribes every indicator of every timeframe of every instrument, all warm.
    fn begin(&self) -> Vec<Arc<Subscription>> {
        let mut subscriptions = Vec::new();
        for (tokens, inbox) in self.tokens.chunks(TOGETHER).zip(&self.inboxes) {
            for timeframe in TIMEFRAMES {
                let of: Arc<Subscription> = Arc::default();
                let wish = |token: &InstrumentToken, id: &str| Wish {
                    topic: Topic::Indicator { token: *token, timeframe, id: id.parse().unwrap() },
                    wording: Wording { symbol: token.to_string().into(), timeframe: timeframe.name().into() },
                    subscriber: Subscriber { of: Arc::clone(&of), inbox: Arc::clone(inbox), format: Format::Json },
                    since: None,
                };
                let wishes = tokens.iter().flat_map(|token| INDICATORS.map(|id| wish(token, id))).collect();
                let granted = self.runtime.block_on(self.engine.begin(wishes)).unwrap();
                assert!(granted.iter().all(Result::is_ok));
                subscriptions.push(of);
            }
        }
        for token in &self.tokens {
            for timeframe in TIMEFRAMES {
                self.runtime.block_on(self.engine.loaded(*token, timeframe, Some(history(timeframe))));
            }
        }
        let wanted = self.tokens.len() * TIMEFRAMES.len() * INDICATORS.len();
        assert_eq!(self.engine.counters().computations.get() as usize, wanted);
        subscriptions
    }

    /// Ends subscriptions, and waits until nothing is computed any more.
    fn end(&self, subscriptions: Vec<Arc<Subscription>>) {
        self.runtime.block_on(self.engine.end(subscriptions));
        eventually_true("nothing is computed", || self.engine.counters().computations.get() == 0);
    }

    /// Latencies from a message in hand to the tabs' sockets, of so many seconds; p50 and p99 in microseconds.
    fn latencies(&self, seconds: u64) -> (f64, f64) {
        let all = || self.gateway.app.with_histograms(|collector| collector.since_start().of(Stop::Total).clone());
        let before = all();
        std::thread::sleep(Duration::from_secs(seconds));
        // What was counted comes in once a second.
        let mut since = eventually("ticks were delivered", || Some(all()).filter(|now| now.len() > before.len()));
        since.subtract(&before).unwrap();
        (since.value_at_quantile(0.5) as f64 / 1e3, since.value_at_quantile(0.99) as f64 / 1e3)
    }

    /// Messages that were read.
    fn finish(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.take().unwrap().join().unwrap()
    }
}

#[test]
fn nothing_is_conflated_on_the_engine_s_queue() {
    let seconds = scale("TICKFAN_ENGINE_SECONDS", 3);
    let mut load =
        Load::start(scale("TICKFAN_ENGINE_INSTRUMENTS", 60) as usize, scale("TICKFAN_ENGINE_RATE", 500) as u32);
    let _subscriptions = load.begin();
    let counters = load.engine.counters();
    let (began, busy, ticks, messages) =
        (Instant::now(), counters.busy_ns.get(), counters.ticks.get(), counters.messages.get());
    std::thread::sleep(Duration::from_secs(seconds));
    let elapsed = began.elapsed();
    let share = (counters.busy_ns.get() - busy) as f64 / elapsed.as_nanos() as f64;
    let each = |since: u64, counter: &Counter| (counter.get() - since) as f64 / elapsed.as_secs_f64();
    println!(
        "{} instruments x {} timeframes x {} indicators: {:.0} ticks/s, {:.0} messages/s, {} bars closed, \
         busy {:.1} % of a core, at most {} ticks waited, {} conflated",
        load.tokens.len(),
        TIMEFRAMES.len(),
        INDICATORS.len(),
        each(ticks, &counters.ticks),
        each(messages, &counters.messages),
        counters.closed_bars.get(),
        share * 100.0,
        counters.deepest.get(),
        counters.conflated.get(),
    );
    eventually_true("it has had ticks", || counters.ticks.get() > ticks);
    assert_eq!((counters.overruns.get(), counters.conflated.get()), (0, 0));
    assert!(load.finish() > 0);
    assert!(load.inboxes.iter().all(|inbox| !inbox.mail.is_overrun()));
}

/// Prints the tabs' latencies with an idle engine and with a busy one, alternately; it is the reader who judges them.
#[test]
fn tabs_get_their_ticks_while_the_engine_works() {
    let seconds = scale("TICKFAN_ENGINE_SECONDS", 1);
    let pairs = scale("TICKFAN_ENGINE_PAIRS", 1);
    let mut load =
        Load::start(scale("TICKFAN_ENGINE_INSTRUMENTS", 60) as usize, scale("TICKFAN_ENGINE_RATE", 500) as u32);
    let tabs: Vec<Client> = load.tokens[..20]
        .chunks(1)
        .map(|_| {
            let mut tab = load.gateway.client();
            tab.subscribe(&load.tokens[..20].iter().map(|token| token.0).collect::<Vec<_>>(), json!({"mode": "full"}));
            tab
        })
        .collect();
    for tab in &tabs {
        let mut socket = tab.tcp().try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut socket, &mut std::io::sink()));
    }
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        std::thread::sleep(Duration::from_secs(1));
        let idle = load.latencies(seconds);
        let subscriptions = load.begin();
        std::thread::sleep(Duration::from_secs(1));
        let busy = load.latencies(seconds);
        load.end(subscriptions);
        ratios.push(busy.0 / idle.0);
        println!(
            "pair {pair}: engine idle p50 {:.1} us, p99 {:.1} us; busy p50 {:.1} us, p99 {:.1} us; p50 {:.2} times",
            idle.0,
            idle.1,
            busy.0,
            busy.1,
            busy.0 / idle.0
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median of {pairs} pairs: {:.2} times", ratios[ratios.len() / 2]);
    assert_eq!(load.engine.counters().overruns.get(), 0);
    assert!(load.finish() > 0);
}
