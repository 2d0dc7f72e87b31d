//! The engine as a whole, driven turn by turn with a clock that stands still until it is moved.

mod comeback;

use super::alert::{Alert, Condition};
use super::command::{Granted, Known, Topic, WantedHistory, Wish};
use super::core::{Core, Wiring};
use super::view::{Subscriber, Wording};
use super::{Engine, EngineSettings};
use crate::clock::{Clock, MarketTime};
use crate::fanout::board::Board;
use crate::fanout::mail::Mail;
use crate::fanout::port::Port;
use crate::fanout::publisher::Publisher;
use crate::fanout::ring::Ring;
use crate::fanout::series::Subscription;
use crate::fanout::slot::Inbox;
use crate::kite::packet::MessageBuilder;
use crate::market::{Candle, InstrumentToken, Mode, SegmentKind, Tick, Timeframe};
use crate::stats::{Collector, FeedCounters};
use crate::store::{BarStore, Keeper, KeeperPort, Kept, Limits};
use crate::wire::Format;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// Friday, 20 November 2026, 00:00 IST: all hours are trading hours here.
const MIDNIGHT: i64 = 1_795_113_000;
const INFY: InstrumentToken = InstrumentToken(408_065);
const TCS: InstrumentToken = InstrumentToken(2_953_217);

/// A gateway's engine and what feeds it.
struct Desk {
    core: Core,
    engine: Arc<Engine>,
    board: Arc<Board>,
    publisher: Publisher,
    clock: Clock,
    wanted: mpsc::Receiver<WantedHistory>,
    /// Cumulative volume.
    volume: u32,
}

impl Desk {
    fn new(settings: EngineSettings) -> Self {
        Self::with_store(settings, None, Kept::default(), 0)
    }

    /// One that begins so many seconds into the day, with what was kept.
    fn with_store(settings: EngineSettings, keeper: Option<KeeperPort>, kept: Kept, begin: u64) -> Self {
        let board = Arc::new(Board::new(|| {}));
        let clock = Clock::manual(MIDNIGHT.unsigned_abs() * 1_000_000_000);
        let (ask, wanted) = mpsc::channel();
        let wiring = Wiring {
            board: Arc::clone(&board),
            clock: clock.clone(),
            market_time: MarketTime::default(),
            kind: Box::new(|_| SegmentKind::Cash),
            wake_writers: Box::new(|| {}),
            want_history: Box::new(move |history| ask.send(history).unwrap()),
            keeper,
        };
        let (core, engine) = Core::new(settings, wiring, kept);
        let recorder = Collector::default().recorder();
        let publisher = Publisher::new(&board, clock.clone(), Arc::new(FeedCounters::default()), recorder);
        let mut desk = Self { core, engine, board, publisher, clock, wanted, volume: 0 };
        desk.at(begin);
        desk
    }

    /// Runs turns until there is nothing to do.
    fn settle(&mut self) {
        while self.core.turn() {}
    }

    /// What a request returns, carried out by one turn.
    fn ask<T>(&mut self, request: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let core = &mut self.core;
        runtime.block_on(async { tokio::join!(request, async { core.turn() }).0 })
    }

    fn begin(&mut self, wish: Wish) -> Granted {
        let engine = Arc::clone(&self.engine);
        self.ask(async move { engine.begin(vec![wish]).await }).unwrap().remove(0)
    }

    /// Moves the clock to a second of the day.
    fn at(&mut self, second: u64) -> &mut Self {
        let now_ns = self.clock.now_ns();
        self.clock.advance(Duration::from_nanos((second * 1_000_000_000).saturating_sub(now_ns)));
        self
    }

    /// A trade, stamped with the time now.
    fn trade(&mut self, token: InstrumentToken, price: i32, quantity: u32) -> &mut Self {
        self.volume += quantity;
        let now = self.clock.unix_seconds() as u32;
        let tick = Tick {
            mode: Mode::Full,
            volume_traded: self.volume,
            last_trade_time: now,
            exchange_timestamp: now,
            ..Tick::ltp(token, price)
        };
        self.publisher.message(&message(&tick), 0);
        self.settle();
        self
    }
}

/// A message with one tick.
fn message(tick: &Tick) -> Vec<u8> {
    let mut builder = MessageBuilder::default();
    builder.push(tick);
    builder.take().to_vec()
}

struct Tab {
    inbox: Arc<Inbox>,
    of: Arc<Subscription>,
}

impl Tab {
    fn new() -> Self {
        Self { inbox: Arc::new(Inbox::new(Ring::new(8), 0, Arc::new(Port::new(1)))), of: Arc::default() }
    }

    fn wish(&self, topic: Topic, symbol: &str, timeframe: &str) -> Wish {
        let (of, inbox) = (Arc::clone(&self.of), Arc::clone(&self.inbox));
        let wording = Wording { symbol: symbol.into(), timeframe: timeframe.into() };
        Wish { topic, wording, subscriber: Subscriber { of, inbox, format: Format::Json }, since: None }
    }

    fn read(&self) -> Vec<Value> {
        let mail = std::iter::from_fn(|| self.inbox.mail.take());
        let json = |message: &crate::fanout::series::Message| {
            serde_json::from_slice(message.frame(Format::Json).unwrap().1).unwrap()
        };
        mail.filter_map(Mail::open).map(|message| json(&message)).collect()
    }
}

fn rsi(token: InstrumentToken) -> Topic {
    Topic::Indicator { token, timeframe: Timeframe::Min1, id: "RSI_2".parse().unwrap() }
}

fn candles(token: InstrumentToken, live: bool) -> Topic {
    Topic::Candles { token, timeframe: Timeframe::Min1, live }
}

/// Two minutes of closed bars and one that forms, with prices that go up and down.
fn three_minutes(desk: &mut Desk) {
    for (minute, price) in [(1, 1_000), (2, 1_010), (3, 1_005), (4, 1_020)] {
        desk.at(minute * 60 + 1).trade(INFY, price, 10);
        desk.at(minute * 60 + 30).trade(INFY, price + 1, 10);
    }
}

#[test]
fn a_closed_candle_comes_once_and_a_forming_one_as_the_newest() {
    let mut desk = Desk::new(EngineSettings::default());
    let (closed, live) = (Tab::new(), Tab::new());
    desk.begin(closed.wish(candles(INFY, false), "", "1m")).unwrap();
    desk.begin(live.wish(candles(INFY, true), "", "1min")).unwrap();
    three_minutes(&mut desk);
    desk.at(361).settle();
    let told = closed.read();
    assert_eq!(
        told.iter().map(|candle| candle["sequence"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3), Some(4)]
    );
    assert_eq!(told[1]["timeframe"], "1m");
    assert_eq!(
        told[1]["data"],
        json!({"open": 10.1, "high": 10.11, "low": 10.1, "close": 10.11, "volume": 20,
        "start": MIDNIGHT + 120, "end": MIDNIGHT + 180})
    );
    // It never read: of what formed between two closed candles nothing is left, since each closed one says more.
    let told = live.read();
    assert_eq!(told.iter().map(|candle| candle["closed"].as_bool()).collect::<Vec<_>>(), vec![Some(true); 4]);
    assert_eq!(told[0]["timeframe"], "1min");
    desk.at(365).trade(INFY, 1_030, 5);
    desk.at(366).trade(INFY, 1_031, 5);
    let told = live.read();
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["closed"], &told[0]["data"]["close"]), (&json!(false), &json!(10.31)));
}

#[test]
fn however_many_want_it_an_indicator_is_computed_once_and_in_the_words_of_each() {
    let settings = EngineSettings { linger_ns: 5_000_000_000, ..EngineSettings::default() };
    let mut desk = Desk::new(settings);
    let (one, two) = (Tab::new(), Tab::new());
    assert_eq!(desk.begin(one.wish(rsi(INFY), "INFY", "1min")), Ok(Known::default()));
    three_minutes(&mut desk);
    let known = desk.begin(two.wish(rsi(INFY), "NSE:INFY", "1m")).unwrap().value;
    assert!(known.as_f64().is_some_and(|value| value > 50.0 && value < 100.0), "{known}");
    let greeting = two.read();
    assert_eq!((greeting.len(), &greeting[0]["value"], &greeting[0]["symbol"]), (1, &known, &json!("NSE:INFY")));
    let counters = Arc::clone(&desk.engine);
    let counters = counters.counters();
    assert_eq!((counters.started.get(), counters.shared.get(), counters.computations.get()), (1, 1, 1));
    one.read();
    let before = counters.updates.get();
    desk.at(301).settle();
    assert_eq!(counters.updates.get() - before, 1, "one bar closed, one update, two listeners");
    let (one_got, two_got) = (one.read(), two.read());
    let closed = |got: &[Value]| got.iter().filter(|message| message["closed"] == true).cloned().collect::<Vec<_>>();
    let (one_got, two_got) = (closed(&one_got), closed(&two_got));
    assert_eq!((one_got.len(), two_got.len()), (1, 1));
    assert_eq!((&one_got[0]["symbol"], &two_got[0]["timeframe"]), (&json!("INFY"), &json!("1m")));
    assert_eq!(
        (&one_got[0]["value"], &one_got[0]["candle_time"]),
        (&two_got[0]["value"], &json!("2026-11-19T18:34:00Z"))
    );

    // The first leaves: the second goes on. The last leaves: it ends, after the linger.
    let engine = Arc::clone(&desk.engine);
    desk.ask(engine.end(vec![Arc::clone(&one.of)]));
    desk.at(310).trade(INFY, 1_000, 5);
    assert!(one.read().is_empty() && !two.read().is_empty());
    desk.ask(engine.end(vec![Arc::clone(&two.of)]));
    desk.at(312).settle();
    assert_eq!(counters.computations.get(), 1, "it lingers");
    desk.at(320).settle();
    desk.at(326).settle();
    desk.at(332).settle();
    assert_eq!((counters.computations.get(), counters.ended.get(), counters.instruments.get()), (0, 1, 0));
    assert!(desk.board.demand().is_empty(), "upstream is no longer asked for it");
}

#[test]
fn what_an_indicator_needs_comes_from_the_history_and_is_mended_from_it() {
    let mut desk = Desk::new(EngineSettings { history: true, ..EngineSettings::default() });
    let tab = Tab::new();
    desk.at(3_600);
    assert_eq!(desk.begin(tab.wish(rsi(INFY), "INFY", "1min")), Ok(Known::default()));
    let wanted = desk.wanted.try_recv().unwrap();
    assert_eq!((wanted.token, wanted.bars, wanted.until, wanted.mends), (INFY, 600, MIDNIGHT + 3_600, false));
    let bar = |minute: i64| {
        let start = MIDNIGHT + minute * 60;
        let price = 1_000 + (minute % 7) as i32;
        Candle { volume: 1, ..Candle::historical(start, start + 60, price, price, price, price) }
    };
    // What trades meanwhile is not said: nobody knows yet what it follows.
    desk.at(3_601).trade(INFY, 1_000, 1).trade(INFY, 1_001, 1);
    assert!(tab.read().is_empty());
    let history: Vec<Candle> = (-500..60).map(bar).collect();
    let engine = Arc::clone(&desk.engine);
    desk.ask(engine.loaded(INFY, Timeframe::Min1, Some(history)));
    let told = tab.read();
    assert_eq!((told.len(), &told[0]["warm"]), (1, &json!(true)));
    // It joined in the middle of a bar: when that closes, it is told as it was seen, and the history is asked again.
    desk.at(3_661).settle();
    let track = desk.core.track_of(INFY, Timeframe::Min1).unwrap();
    assert!(track.closed().back().unwrap().partial);
    let wanted = desk.wanted.try_recv().unwrap();
    assert!(wanted.mends);
    let whole = Candle { open: 990, low: 980, ..bar(60) };
    desk.ask(engine.loaded(INFY, Timeframe::Min1, Some(vec![whole])));
    let last = *desk.core.track_of(INFY, Timeframe::Min1).unwrap().closed().back().unwrap();
    assert_eq!((last.low, last.partial, last.sequence), (980, false, 1));
    assert_eq!(desk.engine.counters().revised_bars.get(), 1);
    let bars = desk.ask(engine.bars(INFY, Timeframe::Min1, 50)).unwrap();
    assert_eq!((bars.closed.len(), bars.closed[49].low, bars.forming), (50, 980, None));
}

#[test]
fn an_alert_fires_once_and_for_its_owner_alone() {
    let mut desk = Desk::new(EngineSettings::default());
    let (owner, other) = (Tab::new(), Tab::new());
    let alert = |kind: &str, id: &str, timeframe: Option<(Timeframe, String)>, params: Value| Alert {
        id: id.into(),
        inbox: Arc::clone(&owner.inbox),
        token: INFY,
        timeframe,
        condition: Condition::parse(kind, &params).unwrap(),
        params,
    };
    desk.begin(other.wish(candles(INFY, false), "", "1m")).unwrap();
    let engine = Arc::clone(&desk.engine);
    let minute = || Some((Timeframe::Min1, "1m".to_owned()));
    desk.ask(engine.watch(alert("price_cross", "a", None, json!({"threshold": 10.2, "direction": "above"})))).unwrap();
    desk.ask(engine.watch(alert("price_cross", "b", None, json!({"threshold": 10.05})))).unwrap();
    desk.ask(engine.watch(alert("volume_spike", "c", minute(), json!({"lookback": 2, "multiplier": 3})))).unwrap();
    let crossing = json!({"indicator": "SMA_2", "threshold": 10.12, "direction": "above"});
    desk.ask(engine.watch(alert("indicator_cross", "d", minute(), crossing))).unwrap();
    desk.ask(engine.unwatch(INFY, "b".into()));
    assert_eq!(engine.counters().alerts.get(), 3);
    three_minutes(&mut desk);
    let told = owner.read();
    assert_eq!(told.iter().map(|alert| alert["alert_id"].as_str().unwrap()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(
        (&told[0]["type"], &told[0]["data"]["price"], &told[0]["token"]),
        (&json!("alert"), &json!(10.2), &json!("408065"))
    );
    assert_eq!(told[0]["params"], json!({"threshold": 10.2, "direction": "above"}));
    // Back and across again: it is over.
    desk.at(299).trade(INFY, 1_000, 10).trade(INFY, 1_030, 40);
    desk.at(302).settle();
    let told = owner.read();
    assert_eq!(told.iter().map(|alert| alert["alert_id"].as_str().unwrap()).collect::<Vec<_>>(), ["c", "d"]);
    assert_eq!((&told[0]["timeframe"], &told[0]["data"]["volume"]), (&json!("1m"), &json!(70)));
    assert_eq!(told[1]["data"]["indicator_id"], "SMA_2");
    assert!(other.read().iter().all(|message| message["type"] == "candle"));
    assert_eq!((engine.counters().fired.get(), engine.counters().alerts.get()), (3, 0));
}

#[test]
fn every_instrument_s_candles_include_those_of_instruments_to_come() {
    let mut desk = Desk::new(EngineSettings::default());
    desk.board.reserve(&[INFY]);
    let tab = Tab::new();
    desk.begin(tab.wish(Topic::AllCandles { timeframe: Timeframe::Min1, live: false }, "", "1m")).unwrap();
    desk.board.reserve(&[TCS]);
    desk.at(10).settle();
    desk.trade(TCS, 300, 1).at(11).trade(TCS, 301, 1).trade(INFY, 100, 1).at(12).trade(INFY, 101, 1);
    desk.at(61).settle();
    let mut tokens: Vec<Value> = tab.read().iter().map(|candle| candle["token"].clone()).collect();
    tokens.sort_by_key(Value::to_string);
    assert_eq!(tokens, ["2953217", "408065"]);
    let engine = Arc::clone(&desk.engine);
    desk.ask(engine.end(vec![Arc::clone(&tab.of)]));
    assert_eq!(engine.counters().listeners.get(), 0);
}

#[test]
fn an_engine_that_is_behind_takes_the_newest_value_of_each_instrument_and_says_so() {
    let mut desk = Desk::new(EngineSettings::default());
    let tab = Tab::new();
    desk.begin(tab.wish(candles(INFY, true), "", "1m")).unwrap();
    desk.at(10).trade(INFY, 1_000, 1);
    let exchange_timestamp = (MIDNIGHT + 11) as u32;
    let tick = |last_price, volume_traded| {
        message(&Tick { mode: Mode::Full, volume_traded, exchange_timestamp, ..Tick::ltp(INFY, last_price) })
    };
    for at in 0..70_000 {
        desk.publisher.message(&tick(1_000 + at, 2 + at as u32), 0);
    }
    desk.at(11).settle();
    let counters = desk.engine.counters();
    assert_eq!((counters.overruns.get(), counters.conflated.get()), (1, 1));
    let forming = desk.ask(Arc::clone(&desk.engine).bars(INFY, Timeframe::Min1, 1)).unwrap().forming.unwrap();
    assert_eq!((forming.close, forming.volume), (70_999, 70_000));
}

/// A restart in the middle of a session: no volume is counted twice or lost unmarked, and closed bars are all there.
#[test]
fn a_restart_goes_on_where_it_was_and_marks_what_it_missed() {
    let folder = tempfile::tempdir().unwrap();
    let wall = Clock::manual((MIDNIGHT.unsigned_abs() + 3_600) * 1_000_000_000);
    let open = || BarStore::open(folder.path(), Limits::default(), wall.clone()).unwrap();
    let bars = |desk: &mut Desk| {
        let engine = Arc::clone(&desk.engine);
        desk.ask(engine.bars(INFY, Timeframe::Min1, 50)).unwrap()
    };
    let (store, kept) = open();
    let keeper = Keeper::start(store, 1_000).unwrap();
    let mut desk = Desk::with_store(EngineSettings::default(), Some(keeper.port()), kept, 0);
    let tab = Tab::new();
    desk.begin(tab.wish(candles(INFY, false), "", "1m")).unwrap();
    three_minutes(&mut desk);
    desk.at(280).trade(INFY, 1_040, 10);
    let before = bars(&mut desk);
    assert_eq!((before.closed.len(), before.forming.unwrap().volume), (3, 30));
    let volume = desk.volume;
    desk.core.keep_states();
    drop((desk, keeper));

    // Ten seconds later, in the same minute.
    let (store, kept) = open();
    assert_eq!(kept.bars[&(INFY, Timeframe::Min1)].len(), 3);
    let keeper = Keeper::start(store, 1_000).unwrap();
    let mut desk = Desk::with_store(EngineSettings::default(), Some(keeper.port()), kept, 290);
    desk.volume = volume + 7;
    desk.begin(tab.wish(candles(INFY, false), "", "1m")).unwrap();
    desk.at(295).trade(INFY, 1_050, 5);
    let after = bars(&mut desk);
    let forming = after.forming.unwrap();
    assert_eq!(after.closed, before.closed);
    // What was traded meanwhile is in it, since both ends lie in this bar; what it cost is not known, so it is marked.
    assert_eq!((forming.open, forming.close, forming.volume, forming.partial), (1_020, 1_050, 42, true));
    desk.at(361).trade(INFY, 1_060, 1);
    desk.at(421).settle();
    let closed = bars(&mut desk).closed;
    assert_eq!(closed.iter().map(|bar| bar.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(
        closed.iter().map(|bar| bar.partial).collect::<Vec<_>>(),
        [true, false, false, true, false],
        "joined, then missed"
    );
}
