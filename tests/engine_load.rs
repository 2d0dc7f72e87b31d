//! The engine under load: nothing is conflated on its queue, and what it costs is told.
//!
//! At full scale, in a release build, on a machine that does nothing else:
//!
//! ```text
//! TICKFAN_ENGINE_INSTRUMENTS=2000 TICKFAN_ENGINE_RATE=5000 TICKFAN_ENGINE_SECONDS=60 \
//!     cargo test --release --test engine_load -- --nocapture
//! ```

mod support;

use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::gateway::{settings, start};
use tickfan::engine::command::{Topic, Wish};
use tickfan::engine::view::{Subscriber, Wording};
use tickfan::fanout::mail::Mail;
use tickfan::fanout::port::Port;
use tickfan::fanout::ring::Ring;
use tickfan::fanout::slot::Inbox;
use tickfan::feed::Feed;
use tickfan::feed::market::{MarketFeed, MarketOptions};
use tickfan::gateway::FeedSource;
use tickfan::market::{Candle, InstrumentToken, Timeframe};
use tickfan::server::app::FeedStatus;
use tickfan::wire::Format;

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

#[test]
fn nothing_is_conflated_on_the_engine_s_queue() {
    let instruments = scale("TICKFAN_ENGINE_INSTRUMENTS", 60) as usize;
    let rate = scale("TICKFAN_ENGINE_RATE", 500) as u32;
    let seconds = scale("TICKFAN_ENGINE_SECONDS", 3);
    let mut options = MarketOptions::new(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32);
    (options.rate, options.instruments) = (rate, instruments);
    let feed = MarketFeed::new(options).unwrap();
    let tokens = feed.universe();
    let status = FeedStatus(Arc::new(|| json!({"name": "market"})));
    let gateway = start(settings(), FeedSource { feed: Box::new(feed), status, control: None, upstream: None });
    let engine = Arc::clone(&gateway.app.context.engine);

    let inboxes: Vec<Arc<Inbox>> =
        tokens.chunks(TOGETHER).map(|_| Arc::new(Inbox::new(Ring::new(1), 0, Arc::new(Port::new(1))))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for (tokens, inbox) in tokens.chunks(TOGETHER).zip(&inboxes) {
        let wish = |token: &InstrumentToken, timeframe: Timeframe, id: &str| Wish {
            topic: Topic::Indicator { token: *token, timeframe, id: id.parse().unwrap() },
            wording: Wording { symbol: token.to_string().into(), timeframe: timeframe.name().into() },
            subscriber: Subscriber { of: Arc::default(), inbox: Arc::clone(inbox), format: Format::Json },
        };
        for timeframe in TIMEFRAMES {
            let wishes = tokens.iter().flat_map(|token| INDICATORS.map(|id| wish(token, timeframe, id))).collect();
            assert!(runtime.block_on(engine.begin(wishes)).unwrap().iter().all(Result::is_ok));
        }
    }
    for token in &tokens {
        for timeframe in TIMEFRAMES {
            runtime.block_on(engine.loaded(*token, timeframe, Some(history(timeframe))));
        }
    }
    let counters = engine.counters();
    assert_eq!(counters.computations.get() as usize, tokens.len() * TIMEFRAMES.len() * INDICATORS.len());

    // A reader that keeps up, in place of the writers.
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (stop, inboxes) = (Arc::clone(&stop), inboxes.clone());
        std::thread::spawn(move || {
            let mut read = 0u64;
            while !stop.load(Ordering::Relaxed) {
                for inbox in &inboxes {
                    read += std::iter::from_fn(|| inbox.mail.take()).filter_map(Mail::open).count() as u64;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            read
        })
    };
    let (began, busy, ticks, messages) =
        (Instant::now(), counters.busy_ns.get(), counters.ticks.get(), counters.messages.get());
    std::thread::sleep(Duration::from_secs(seconds));
    let elapsed = began.elapsed();
    let share = (counters.busy_ns.get() - busy) as f64 / elapsed.as_nanos() as f64;
    let each = |since: u64, counter: &tickfan::stats::Counter| (counter.get() - since) as f64 / elapsed.as_secs_f64();
    println!(
        "{} instruments x {} timeframes x {} indicators: {:.0} ticks/s, {:.0} messages/s, {} bars closed, \
         busy {:.1} % of a core, at most {} ticks waited, {} conflated",
        tokens.len(),
        TIMEFRAMES.len(),
        INDICATORS.len(),
        each(ticks, &counters.ticks),
        each(messages, &counters.messages),
        counters.closed_bars.get(),
        share * 100.0,
        counters.deepest.get(),
        counters.conflated.get(),
    );
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0 && counters.ticks.get() > ticks);
    assert_eq!((counters.overruns.get(), counters.conflated.get()), (0, 0));
    assert!(inboxes.iter().all(|inbox| !inbox.mail.is_overrun()));
}
