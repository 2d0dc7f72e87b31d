//! `tickfan candles`: the bars of a tape, formed as the gateway forms them, with the tape's times as the clock.

use crate::kite::packet::{self, packets};
use crate::market::candle::{Bars, Candle, CandleBuilder, Outcome, Trades, TradesOptions};
use crate::market::{Calendar, InstrumentToken, SegmentKind, Timeframe, calendar::Ist};
use crate::tape::{Records, TapeEnd, TapeError};
use rustc_hash::FxHashMap;
use std::fmt;
use std::io::{self, Write};

/// Which bars are wanted.
#[derive(Clone, Debug)]
pub struct CandlesOptions {
    /// The timeframes.
    pub timeframes: Vec<Timeframe>,
    /// The instruments; none means all.
    pub tokens: Vec<u32>,
    /// Their hours.
    pub calendar: Calendar,
    /// How long bars wait behind their end, nanoseconds.
    pub grace_ns: u64,
}

/// Why no more bars come.
#[derive(Debug, thiserror::Error)]
pub enum CandlesError {
    /// The tape cannot be read.
    #[error(transparent)]
    Tape(#[from] TapeError),
    /// The output cannot be written; a closed pipe, most likely.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Ticks on the tape, of wanted instruments.
    pub ticks: u64,
    /// Messages and packets that could not be decoded.
    pub broken: u64,
    /// Bars written.
    pub bars: u64,
    /// How the tape ended.
    pub end: Option<TapeEnd>,
}

/// Reads the tape and writes its bars as csv, in the order in which they are closed; bars that close at one moment are
/// ordered by start, timeframe and token. What the tape's end cuts is written at last, as partial. Prices are in rupees.
///
/// `kind` says which hours an instrument follows.
///
/// # Errors
/// When the tape cannot be read or the output fails. Broken messages are counted instead.
pub fn candles(
    mut tape: impl Records,
    options: &CandlesOptions,
    kind: impl Fn(InstrumentToken) -> SegmentKind,
    mut out: impl Write,
) -> Result<Summary, CandlesError> {
    writeln!(out, "token,timeframe,start,end,open,high,low,close,volume,partial")?;
    let mut replay =
        Replay { options, kind, out, bars: FxHashMap::default(), due_ns: u64::MAX, summary: Summary::default() };
    let mut now_ns = 0;
    while let Some((time_ns, message)) = tape.next()? {
        // A clock that was set back while recording does not turn time back here.
        now_ns = time_ns.max(now_ns);
        replay.message(message, now_ns)?;
    }
    replay.finish(now_ns)?;
    replay.out.flush()?;
    Ok(Summary { end: tape.end(), ..replay.summary })
}

struct Replay<'a, K, W> {
    options: &'a CandlesOptions,
    kind: K,
    out: W,
    bars: FxHashMap<u32, Bars>,
    /// When the next bar of any instrument is due.
    due_ns: u64,
    summary: Summary,
}

impl<K: Fn(InstrumentToken) -> SegmentKind, W: Write> Replay<'_, K, W> {
    fn message(&mut self, message: &[u8], now_ns: u64) -> io::Result<()> {
        if self.due_ns <= now_ns {
            self.close_due(now_ns, i64::MAX)?;
        }
        let Ok(packets) = packets(message) else {
            self.summary.broken += 1;
            return Ok(());
        };
        for packet in packets {
            let Ok(tick) = packet::decode(packet) else {
                self.summary.broken += 1;
                continue;
            };
            if !self.options.tokens.is_empty() && !self.options.tokens.contains(&tick.token.0) {
                continue;
            }
            self.summary.ticks += 1;
            let (options, kind) = (self.options, &self.kind);
            let bars = self.bars.entry(tick.token.0).or_insert_with(|| new_bars(options, kind(tick.token)));
            let ignore = |_: &CandleBuilder, _: Outcome| {};
            bars.on_tick(&tick, now_ns, &options.calendar, ignore);
            self.due_ns = self.due_ns.min(bars.due().unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Writes what is over at `now_ns`. What ends behind `cut` (Unix seconds) lacks something.
    fn close_due(&mut self, now_ns: u64, cut: i64) -> io::Result<()> {
        let mut closed: Vec<(u32, Timeframe, Candle)> = Vec::new();
        self.due_ns = u64::MAX;
        for (&token, bars) in &mut self.bars {
            bars.close_due(now_ns, |timeframe, bar| closed.push((token, timeframe, bar)));
            self.due_ns = self.due_ns.min(bars.due().unwrap_or(u64::MAX));
        }
        closed.sort_by_key(|(token, timeframe, bar)| (bar.end, bar.start, *timeframe, *token));
        for (token, timeframe, bar) in closed {
            let price = |raw| Price { raw, token: InstrumentToken(token) };
            let (start, end, partial) = (Ist(bar.start), Ist(bar.end), bar.partial || bar.end > cut);
            let (open, high, low, close) = (price(bar.open), price(bar.high), price(bar.low), price(bar.close));
            let volume = bar.volume;
            writeln!(self.out, "{token},{timeframe},{start},{end},{open},{high},{low},{close},{volume},{partial}")?;
            self.summary.bars += 1;
        }
        Ok(())
    }

    fn finish(&mut self, now_ns: u64) -> io::Result<()> {
        self.close_due(now_ns, i64::MAX)?;
        self.close_due(u64::MAX, (now_ns / 1_000_000_000) as i64)
    }
}

fn new_bars(options: &CandlesOptions, kind: SegmentKind) -> Bars {
    let mut bars = Bars::new(Trades::new(kind, TradesOptions::default()));
    for &timeframe in &options.timeframes {
        bars.add(CandleBuilder::with_grace(timeframe, options.grace_ns));
    }
    bars
}

/// A raw price in rupees, exactly, with all decimals of its segment.
struct Price {
    raw: i32,
    token: InstrumentToken,
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = self.token.segment();
        let (raw, divisor) = (i64::from(self.raw), segment.divisor());
        let sign = if raw < 0 { "-" } else { "" };
        let (rupees, rest) = (raw.abs() / divisor, raw.abs() % divisor);
        write!(f, "{sign}{rupees}.{rest:0width$}", width = segment.decimals() as usize)
    }
}

#[cfg(test)]
mod tests;
