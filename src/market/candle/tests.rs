//! Every rule, with a clock that the test moves.

use super::*;
use crate::market::calendar::{Calendar, Date, SegmentKind};
use crate::market::{InstrumentToken, Layout, Mode, Ohlc, Tick, Timeframe};

mod day;
mod joining;
mod restart;
mod rules;

const INFY: InstrumentToken = InstrumentToken(408_065);
const NIFTY: InstrumentToken = InstrumentToken(256_265);
/// A Friday before the closing auction came, so that all shares trade until 15:30.
const DATE: &str = "2026-07-24";

/// Unix seconds of a time of day, `HH:MM:SS`, on a date.
fn on(date: &str, time: &str) -> i64 {
    let mut parts = time.split(':').map(|part| part.parse::<i64>().unwrap());
    let mut next = || parts.next().unwrap_or(0);
    date.parse::<Date>().unwrap().midnight() + next() * 3_600 + next() * 60 + next()
}

fn at(time: &str) -> i64 {
    on(DATE, time)
}

fn ns(unix_s: i64) -> u64 {
    unix_s.unsigned_abs() * 1_000_000_000
}

/// A packet in full mode: last trade and packet at `time`.
fn full(time: i64, price: i32, cumulative: u32) -> Tick {
    Tick {
        mode: Mode::Full,
        volume_traded: cumulative,
        last_trade_time: time as u32,
        exchange_timestamp: time as u32,
        ..Tick::ltp(INFY, price)
    }
}

fn index(time: i64, value: i32) -> Tick {
    Tick { mode: Mode::Full, layout: Layout::Index, exchange_timestamp: time as u32, ..Tick::ltp(NIFTY, value) }
}

/// Bars of one instrument, a clock, and what was closed.
struct Desk {
    bars: Bars,
    calendar: Calendar,
    closed: Vec<(Timeframe, Candle)>,
    outcomes: Vec<Outcome>,
}

impl Desk {
    fn new(kind: SegmentKind, timeframes: &[Timeframe]) -> Self {
        Self::with(kind, timeframes, TradesOptions::default())
    }

    fn with(kind: SegmentKind, timeframes: &[Timeframe], options: TradesOptions) -> Self {
        let mut bars = Bars::new(Trades::new(kind, options));
        timeframes.iter().for_each(|&timeframe| bars.add(CandleBuilder::new(timeframe)));
        Self { bars, calendar: Calendar::built_in().unwrap(), closed: Vec::new(), outcomes: Vec::new() }
    }

    /// One-minute bars of a share that was seen before the open with no volume.
    fn connected() -> Self {
        let mut desk = Self::new(SegmentKind::Cash, &[Timeframe::Min1]);
        desk.tick(full(at("09:10:00"), 10_000, 0));
        desk
    }

    fn clock(&mut self, now_ns: u64) {
        let closed = &mut self.closed;
        self.bars.close_due(now_ns, |timeframe, bar| closed.push((timeframe, bar)));
    }

    fn wait_until(&mut self, unix_s: i64) {
        self.clock(ns(unix_s));
    }

    /// A packet that comes so many milliseconds after its exchange time.
    fn tick_after(&mut self, tick: Tick, delay_ms: u64) {
        self.tick_at(tick, ns(i64::from(tick.exchange_timestamp)) + delay_ms * 1_000_000);
    }

    fn tick(&mut self, tick: Tick) {
        self.tick_after(tick, 0);
    }

    fn tick_at(&mut self, tick: Tick, received_ns: u64) {
        self.clock(received_ns);
        let outcomes = &mut self.outcomes;
        self.bars.on_tick(&tick, received_ns, &self.calendar, |_, outcome| outcomes.push(outcome));
    }

    fn forming(&self) -> Option<Candle> {
        self.bars.builders()[0].forming().copied()
    }

    /// Closed bars as start, open, high, low, close, volume.
    fn closed(&self) -> Vec<(i64, [i32; 4], u64)> {
        self.closed.iter().map(|(_, bar)| (bar.start, [bar.open, bar.high, bar.low, bar.close], bar.volume)).collect()
    }
}
