//! What the engine adds to a tick: from its queue into candles and published values.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use tickfan::clock::{Clock, MarketTime};
use tickfan::engine::command::{Topic, Wish};
use tickfan::engine::core::{Core, Wiring};
use tickfan::engine::view::{Subscriber, Wording};
use tickfan::engine::{Engine, EngineSettings};
use tickfan::fanout::board::Board;
use tickfan::fanout::port::Port;
use tickfan::fanout::publisher::Publisher;
use tickfan::fanout::ring::Ring;
use tickfan::fanout::slot::Inbox;
use tickfan::kite::packet::MessageBuilder;
use tickfan::market::{InstrumentToken, Mode, SegmentKind, Tick, Timeframe};
use tickfan::stats::{Collector, FeedCounters};
use tickfan::store::Kept;
use tickfan::wire::Format;

const TOKEN: InstrumentToken = InstrumentToken(408_065);
const INDICATORS: [&str; 5] = ["RSI_14", "SMA_20", "EMA_20", "MACD_12_26_9", "BBANDS_20_2"];
const MINUTE: Duration = Duration::from_secs(60);

/// An engine with one instrument, driven turn by turn.
struct Bench {
    core: Core,
    _engine: Arc<Engine>,
    publisher: Publisher,
    clock: Clock,
    inbox: Arc<Inbox>,
    message: Vec<u8>,
    number: u32,
}

impl Bench {
    /// With candles, and so many indicators, of one minute.
    fn new(indicators: usize) -> Option<Self> {
        let board = Arc::new(Board::new(|| {}));
        let clock = Clock::manual(1_795_113_000_000_000_000);
        let wiring = Wiring {
            board: Arc::clone(&board),
            clock: clock.clone(),
            market_time: MarketTime::default(),
            kind: Box::new(|_| SegmentKind::Cash),
            wake_writers: Box::new(|| {}),
            want_history: Box::new(|_| {}),
            keeper: None,
        };
        let settings = EngineSettings { forming_ns: 0, ..EngineSettings::default() };
        let (mut core, engine) = Core::new(settings, wiring, Kept::default());
        let inbox = Arc::new(Inbox::new(Ring::new(1), 0, Arc::new(Port::new(1))));
        let wish = |topic| Wish {
            topic,
            wording: Wording { symbol: "INFY".into(), timeframe: "1min".into() },
            subscriber: Subscriber { of: Arc::default(), inbox: Arc::clone(&inbox), format: Format::Json },
            since: None,
        };
        let timeframe = Timeframe::Min1;
        let mut wishes = vec![wish(Topic::Candles { token: TOKEN, timeframe, live: true })];
        for id in INDICATORS.iter().take(indicators) {
            wishes.push(wish(Topic::Indicator { token: TOKEN, timeframe, id: id.parse().ok()? }));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
        runtime.block_on(async { tokio::join!(engine.begin(wishes), async { core.turn() }).0 }).ok()?;
        let recorder = Collector::default().recorder();
        let publisher = Publisher::new(&board, clock.clone(), Arc::new(FeedCounters::default()), recorder);
        let mut bench = Self { core, _engine: engine, publisher, clock, inbox, message: Vec::new(), number: 0 };
        // So that every indicator has values.
        for _ in 0..60 {
            bench.clock.advance(MINUTE);
            bench.trade();
        }
        Some(bench)
    }

    /// A trade now, through the publisher and one turn of the engine; what is told is read.
    fn trade(&mut self) {
        self.number += 1;
        let now = self.clock.unix_seconds() as u32;
        let tick = Tick {
            mode: Mode::Full,
            volume_traded: self.number,
            last_trade_time: now,
            exchange_timestamp: now,
            ..Tick::ltp(TOKEN, 100_000 + (self.number % 97) as i32)
        };
        let mut builder = MessageBuilder::default();
        builder.push(&tick);
        self.message.clear();
        self.message.extend_from_slice(builder.take());
        self.publisher.message(&self.message, 0);
        while self.core.turn() {}
        while let Some(mail) = self.inbox.mail.take() {
            black_box(mail.open());
        }
    }
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    for indicators in [0, 1, 5] {
        let Some(mut bench) = Bench::new(indicators) else { continue };
        let of = |name: &str| BenchmarkId::new(name, format!("{indicators} indicators"));
        group.bench_function(of("tick to forming values"), |bencher| {
            bencher.iter(|| bench.trade());
        });
        group.bench_function(of("bar close to published values"), |bencher| {
            bencher.iter(|| {
                bench.clock.advance(MINUTE);
                bench.trade();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
