//! Bars against sums and aggregates of random trades, and against real minute bars of the shared folder.

use proptest::prelude::*;
use std::path::PathBuf;
use tickfan::market::calendar::{Calendar, Date, SegmentKind};
use tickfan::market::candle::{Bars, Candle, CandleBuilder, Trades, TradesOptions};
use tickfan::market::{InstrumentToken, Layout, Mode, Tick, Timeframe};

const TOKEN: InstrumentToken = InstrumentToken(408_065);
const NS: u64 = 1_000_000_000;

fn open() -> i64 {
    "2026-07-24".parse::<Date>().unwrap().midnight() + 9 * 3_600 + 15 * 60
}

/// A packet of the exchange's second `time`, received so many milliseconds later.
#[derive(Clone, Copy, Debug)]
struct Received {
    time: i64,
    delay_ms: u64,
    price: i32,
    cumulative: u32,
}

impl Received {
    fn tick(&self) -> Tick {
        Tick {
            mode: Mode::Full,
            volume_traded: self.cumulative,
            last_trade_time: self.time as u32,
            exchange_timestamp: self.time as u32,
            ..Tick::ltp(TOKEN, self.price)
        }
    }

    fn received_ns(&self) -> u64 {
        self.time.unsigned_abs() * NS + self.delay_ms * NS / 1_000
    }
}

/// Trades of a morning, in the order of receipt, at most `delay_ms` late; the first is a baseline before the open.
fn morning(delay_ms: u64) -> impl Strategy<Value = Vec<Received>> {
    let trade = (0..40i64, 0..delay_ms, -50..50i32, 0..1_000u32);
    (any::<u32>(), prop::collection::vec(trade, 1..300)).prop_map(|(baseline, trades)| {
        let mut last = Received { time: open() - 60, delay_ms: 0, price: 100_000, cumulative: baseline };
        let mut received = vec![last];
        last.time = open();
        for (pause, delay_ms, change, volume) in trades {
            last = Received {
                time: last.time + pause,
                delay_ms,
                price: last.price + change,
                cumulative: last.cumulative.wrapping_add(volume),
            };
            // One connection delivers in order.
            if last.received_ns() < received[received.len() - 1].received_ns() {
                let at = received[received.len() - 1].received_ns();
                last.delay_ms = (at - last.time.unsigned_abs() * NS).div_ceil(NS / 1_000);
            }
            received.push(last);
        }
        received
    })
}

struct Outcome {
    bars: Bars,
    closed: Vec<(Timeframe, Candle)>,
}

impl Outcome {
    fn of(&self, timeframe: Timeframe) -> Vec<Candle> {
        self.closed.iter().filter(|(of, _)| *of == timeframe).map(|(_, bar)| *bar).collect()
    }
}

/// Feeds the packets; closes what is due before every packet, or only before each `every`-th.
fn run(received: &[Received], timeframes: &[Timeframe], every: usize) -> Outcome {
    let calendar = Calendar::built_in().unwrap();
    let mut bars = Bars::new(Trades::new(SegmentKind::Cash, TradesOptions::default()));
    timeframes.iter().for_each(|&timeframe| bars.add(CandleBuilder::new(timeframe)));
    let mut closed = Vec::new();
    for (at, packet) in received.iter().enumerate() {
        let now_ns = packet.received_ns();
        if at % every == 0 {
            bars.close_due(now_ns, |timeframe, bar| closed.push((timeframe, bar)));
        }
        bars.on_tick(&packet.tick(), now_ns, &calendar, |_, _| {});
    }
    bars.close_due(u64::MAX, |timeframe, bar| closed.push((timeframe, bar)));
    Outcome { bars, closed }
}

/// Bars of a longer timeframe from bars of one minute.
fn aggregate(minutes: &[Candle], timeframe: Timeframe) -> Vec<(i64, [i32; 4], u64)> {
    let mut bars: Vec<(i64, [i32; 4], u64)> = Vec::new();
    let length = timeframe.seconds().unwrap();
    for minute in minutes {
        let start = open() + (minute.start - open()) / length * length;
        match bars.last_mut().filter(|bar| bar.0 == start) {
            Some((_, [_, high, low, close], volume)) => {
                (*high, *low, *close) = ((*high).max(minute.high), (*low).min(minute.low), minute.close);
                *volume += minute.volume;
            }
            None => bars.push((start, [minute.open, minute.high, minute.low, minute.close], minute.volume)),
        }
    }
    bars
}

fn values(bars: &[Candle]) -> Vec<(i64, [i32; 4], u64)> {
    bars.iter().map(|bar| (bar.start, [bar.open, bar.high, bar.low, bar.close], bar.volume)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_volume_is_lost_however_late_packets_are(received in morning(5_000)) {
        let outcome = run(&received, &Timeframe::ALL[..7], 1);
        let traded = received.windows(2).map(|two| u64::from(two[1].cumulative.wrapping_sub(two[0].cumulative)));
        let traded: u64 = traded.sum();
        for builder in outcome.bars.builders() {
            let bars = outcome.of(builder.timeframe());
            let sum: u64 = bars.iter().map(|bar| bar.volume).sum();
            prop_assert_eq!(sum + builder.carried_volume(), traded);
            prop_assert_eq!(builder.tally().lost_volume, 0);
        }
    }

    #[test]
    fn longer_bars_are_aggregates_of_minutes(received in morning(900)) {
        let outcome = run(&received, &Timeframe::ALL[..7], 1);
        let minutes = outcome.of(Timeframe::Min1);
        for timeframe in &Timeframe::ALL[1..7] {
            prop_assert_eq!(values(&outcome.of(*timeframe)), aggregate(&minutes, *timeframe));
        }
    }

    #[test]
    fn bars_close_once_and_in_order(received in morning(5_000)) {
        let outcome = run(&received, &Timeframe::ALL[..7], 1);
        for timeframe in &Timeframe::ALL[..7] {
            let bars = outcome.of(*timeframe);
            prop_assert!(bars.windows(2).all(|two| two[0].end <= two[1].start));
            let numbers: Vec<u64> = bars.iter().map(|bar| bar.sequence).collect();
            prop_assert_eq!(numbers, (1..=bars.len() as u64).collect::<Vec<_>>());
            for bar in bars {
                prop_assert!(bar.low <= bar.open.min(bar.close) && bar.open.max(bar.close) <= bar.high);
                prop_assert!(bar.closed && bar.packets > 0);
            }
        }
    }

    #[test]
    fn bars_do_not_depend_on_when_they_are_closed(received in morning(5_000), every in 2..60usize) {
        let promptly = run(&received, &[Timeframe::Min1, Timeframe::Min5], 1);
        let rarely = run(&received, &[Timeframe::Min1, Timeframe::Min5], every);
        for timeframe in [Timeframe::Min1, Timeframe::Min5] {
            prop_assert_eq!(promptly.of(timeframe), rarely.of(timeframe));
        }
    }

    #[test]
    fn a_stored_state_goes_on_as_if_nothing_had_been(received in morning(3_000), at in 0..300usize) {
        let calendar = Calendar::built_in().unwrap();
        let mut bars = Bars::new(Trades::new(SegmentKind::Cash, TradesOptions::default()));
        bars.add(CandleBuilder::new(Timeframe::Min3));
        let mut closed = Vec::new();
        for (index, packet) in received.iter().enumerate() {
            if index == at {
                bars = serde_json::from_str(&serde_json::to_string(&bars).unwrap()).unwrap();
            }
            bars.close_due(packet.received_ns(), |_, bar| closed.push(bar));
            bars.on_tick(&packet.tick(), packet.received_ns(), &calendar, |_, _| {});
        }
        bars.close_due(u64::MAX, |_, bar| closed.push(bar));
        prop_assert_eq!(closed, run(&received, &[Timeframe::Min3], 1).of(Timeframe::Min3));
    }
}

// ---- real bars -------------------------------------------------------------------------------------------------------

/// A bar of the shared folder: date, start, prices in paise, volume.
type Real = (Date, i64, [i32; 4], u32);

fn real(name: &str) -> Option<Vec<Real>> {
    let folder = std::env::var_os("TICKFAN_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = folder.join("data/nse-minute").join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not there; set TICKFAN_SHARED to the shared folder", path.display());
        return None;
    };
    let bar = |line: &str| {
        let fields: Vec<i64> = line.split(',').skip(1).map(|field| field.parse().unwrap()).collect();
        let date = Date::new((fields[0] / 10_000) as i32, (fields[0] / 100 % 100) as u32, (fields[0] % 100) as u32);
        let date = date.unwrap();
        let price = |at: usize| fields[at] as i32;
        (date, date.midnight() + fields[1] / 1_000, [price(2), price(3), price(4), price(5)], fields[6] as u32)
    };
    Some(text.lines().skip(1).map(bar).collect())
}

/// Feeds each bar as four trades at its prices and returns what comes back, and how many trades made no bar.
fn rebuilt(real: &[Real], index: bool) -> (Vec<Real>, u64) {
    let calendar = Calendar::built_in().unwrap();
    let kind = if index { SegmentKind::Index } else { SegmentKind::Cash };
    let mut bars = Bars::new(Trades::new(kind, TradesOptions::default()));
    bars.add(CandleBuilder::new(Timeframe::Min1));
    let mut closed: Vec<Candle> = Vec::new();
    let (mut cumulative, mut day) = (0u32, Date(0));
    for &(date, start, [open, high, low, close], volume) in real {
        if date != day {
            (day, cumulative) = (date, 0);
            // Connected before the open.
            let time = date.midnight() + 9 * 3_600;
            feed(&mut bars, &calendar, &mut closed, tick(time, close, 0, index));
        }
        for (at, price) in [open, high, low, close].into_iter().enumerate() {
            // A bar of less than four is traded with its last prices: each needs one to be traded.
            let share = volume / 4 + u32::from((3 - at as u32) < volume % 4);
            cumulative += share;
            feed(&mut bars, &calendar, &mut closed, tick(start + at as i64 * 15, price, cumulative, index));
        }
    }
    bars.close_due(u64::MAX, |_, bar| closed.push(bar));
    assert!(closed.iter().all(|bar| !bar.partial && bar.end - bar.start == 60));
    let back =
        |bar: &Candle| (Date::of(bar.start), bar.start, [bar.open, bar.high, bar.low, bar.close], bar.volume as u32);
    (closed.iter().map(back).collect(), bars.trades().tally().outside)
}

fn tick(time: i64, price: i32, cumulative: u32, index: bool) -> Tick {
    let tick = Tick { mode: Mode::Full, exchange_timestamp: time as u32, ..Tick::ltp(TOKEN, price) };
    match index {
        true => Tick { layout: Layout::Index, token: InstrumentToken(256_265), ..tick },
        false => Tick { last_trade_time: time as u32, volume_traded: cumulative, ..tick },
    }
}

fn feed(bars: &mut Bars, calendar: &Calendar, closed: &mut Vec<Candle>, tick: Tick) {
    let now_ns = u64::from(tick.exchange_timestamp) * NS + NS / 3;
    bars.close_due(now_ns, |_, bar| closed.push(bar));
    bars.on_tick(&tick, now_ns, calendar, |_, _| {});
}

/// Whether continuous trading was on when the bar began.
fn within(bar: &Real) -> bool {
    let second = bar.1 - bar.0.midnight();
    (9 * 3_600 + 15 * 60..15 * 3_600 + 30 * 60).contains(&second)
}

#[test]
fn yes_bank_s_days_come_back_without_the_closing_session() {
    let Some(real) = real("yesbank.csv") else { return };
    let expected: Vec<Real> = real.iter().copied().filter(within).collect();
    let (bars, outside) = rebuilt(&real, false);
    assert_eq!(bars, expected);
    // Two bars at 15:30 and three at 15:40, of at least four each.
    assert_eq!((real.len() - expected.len(), outside), (5, 20));
}

#[test]
fn an_illiquid_fund_s_gaps_come_back_as_gaps() {
    let Some(real) = real("juniorbees.csv") else { return };
    // Bars of less than four shares cannot have four trades: they come back with fewer prices, but they come back.
    let (bars, _) = rebuilt(&real, false);
    let place = |bars: &[Real]| bars.iter().map(|bar| (bar.1, bar.3)).collect::<Vec<_>>();
    assert_eq!(place(&bars), place(&real));
    let full = |bar: &&(Real, Real)| bar.0.3 >= 4;
    let both: Vec<(Real, Real)> = real.iter().copied().zip(bars).collect();
    assert!(both.iter().filter(full).count() > 500);
    assert!(both.iter().filter(full).all(|(real, bar)| real == bar));
    let days: std::collections::BTreeSet<Date> = real.iter().map(|bar| bar.0).collect();
    assert!(real.len() < 220 * days.len(), "there are gaps");
}

#[test]
fn nifty_s_days_come_back_without_pre_open_and_closing_values() {
    let Some(real) = real("nifty50.csv") else { return };
    let expected: Vec<Real> = real.iter().copied().filter(within).collect();
    let (bars, _) = rebuilt(&real, true);
    assert_eq!(bars, expected);
    assert!(expected.len() < real.len());
}
