//! One instrument: its bars in all timeframes, and the alerts on its price.

use super::EngineSettings;
use super::alert::{Alert, Condition};
use super::counters::EngineCounters;
use super::track::Track;
use crate::fanout::slot::Slot;
use crate::market::candle::{Bars, CandleBuilder, Outcome, Trades};
use crate::market::{Candle, InstrumentToken, SegmentKind, Tick, Timeframe};
use crate::wire::{Encoding, Format, push};
use serde_json::Value;
use std::sync::Arc;

/// What an instrument needs of the engine while it works.
#[derive(Clone, Copy, Debug)]
pub struct Desk<'a> {
    /// The settings.
    pub settings: &'a EngineSettings,
    /// Where everything is counted.
    pub counters: &'a EngineCounters,
}

/// A tick and its times.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The tick.
    pub tick: &'a Tick,
    /// When it came, Unix nanoseconds.
    pub received_unix_ns: u64,
    /// What time it was in the market then, Unix nanoseconds.
    pub market_ns: u64,
}

/// See the module. **Thread**: the engine's.
#[derive(Debug)]
pub struct Instrument {
    /// Its slot on the board.
    pub slot: Arc<Slot>,
    bars: Bars,
    tracks: [Option<Box<Track>>; Timeframe::ALL.len()],
    /// Alerts on its price.
    alerts: Vec<Alert>,
    /// A packet was seen, so a timeframe that is added now begins in the middle.
    seen: bool,
    /// The time for which it stands in the engine's list of bars that are due; `u64::MAX` for none.
    pub due_ns: u64,
    /// Since when nobody wants it, monotonic; 0 while somebody does.
    pub idle_since_ns: u64,
    /// Since when the feed has been lost, Unix seconds.
    lost_at: Option<i64>,
}

impl Instrument {
    /// An instrument that follows the hours of `kind`, or goes on from what was kept of it.
    pub fn new(slot: Arc<Slot>, kind: SegmentKind, kept: Option<Bars>, settings: &EngineSettings) -> Self {
        let seen = kept.is_some();
        let bars = kept.unwrap_or_else(|| Bars::new(Trades::new(kind, settings.trades)));
        Self {
            slot,
            bars,
            tracks: Default::default(),
            alerts: Vec::new(),
            seen,
            due_ns: u64::MAX,
            idle_since_ns: 0,
            lost_at: None,
        }
    }

    /// Its token.
    pub fn token(&self) -> InstrumentToken {
        self.slot.token
    }

    /// The state to be kept over a restart.
    pub fn state(&self) -> &Bars {
        &self.bars
    }

    /// The track of a timeframe.
    pub fn track_mut(&mut self, timeframe: Timeframe) -> Option<&mut Track> {
        self.tracks[timeframe as usize].as_deref_mut()
    }

    /// The track of a timeframe, and the bar that forms in it.
    pub fn track_and_forming(&mut self, timeframe: Timeframe) -> Option<(&mut Track, Option<&Candle>)> {
        let forming = forming(&self.bars, timeframe);
        self.tracks[timeframe as usize].as_deref_mut().map(|track| (track, forming))
    }

    /// All tracks.
    pub fn tracks_mut(&mut self) -> impl Iterator<Item = &mut Track> {
        self.tracks.iter_mut().flatten().map(|track| &mut **track)
    }

    /// Begins a track; `kept` are closed bars of before. `at` is the time now, Unix seconds.
    pub fn begin(&mut self, timeframe: Timeframe, kept: Vec<Candle>, at: i64, settings: &EngineSettings) {
        let mut builder = CandleBuilder::with_grace(timeframe, settings.grace_ns);
        if self.seen {
            builder.interrupt(at);
        }
        self.bars.add(builder);
        let track = Track::new(self.token(), timeframe, kept, forming(&self.bars, timeframe), at);
        self.tracks[timeframe as usize] = Some(Box::new(track));
    }

    /// Ends a track; returns its closed bars, the oldest first.
    pub fn end(&mut self, timeframe: Timeframe) -> Vec<Candle> {
        self.bars.remove(timeframe);
        self.tracks[timeframe as usize].take().map_or_else(Vec::new, |track| track.into_closed())
    }

    /// Ends it at a time in Unix seconds; returns what it can go on from later.
    pub fn into_state(mut self, at: i64) -> Bars {
        self.interrupt(at);
        self.bars
    }

    /// Whether somebody wants anything of it.
    pub fn is_wanted(&self) -> bool {
        !self.alerts.is_empty() || self.tracks.iter().any(Option::is_some)
    }

    /// When its next bar is due, Unix nanoseconds in the market.
    pub fn next_due_ns(&self) -> u64 {
        self.bars.due().unwrap_or(u64::MAX)
    }

    /// Takes a tick. `formed` is told the timeframes whose forming bar has changed, `closed` every bar that is closed
    /// or told again.
    pub fn on_tick(
        &mut self,
        seen: Seen<'_>,
        desk: Desk<'_>,
        mut formed: impl FnMut(Timeframe),
        mut closed: impl FnMut(Timeframe, &Candle),
    ) {
        let at_ns = seen.market_ns;
        // Bars depend on the times of the ticks alone: what was due before this one is closed before it is looked at.
        if self.next_due_ns() <= at_ns {
            self.close_due(at_ns, desk, &mut closed);
        }
        self.seen = true;
        if let Some(lost_at) = self.lost_at.take() {
            let until = (at_ns / 1_000_000_000) as i64;
            self.tracks_mut().for_each(|track| track.was_silent(lost_at, until));
        }
        let (tracks, settings) = (&mut self.tracks, desk.settings);
        self.bars.on_tick(seen.tick, at_ns, &settings.calendar, |builder, outcome| {
            let timeframe = builder.timeframe();
            let Some(track) = tracks[timeframe as usize].as_deref_mut() else { return };
            if let Outcome::Settled(candle) = &outcome {
                track.close(candle, at_ns, settings.kept_bars, desk.counters);
                closed(timeframe, candle);
            }
            if builder.forming().is_some() && !matches!(outcome, Outcome::Late) && track.shows_forming() {
                formed(timeframe);
            }
        });
        if !self.alerts.is_empty() {
            self.watch_price(seen, desk.counters);
        }
    }

    /// Closes the bars that are due at `at_ns`, Unix nanoseconds in the market.
    pub fn close_due(&mut self, at_ns: u64, desk: Desk<'_>, mut closed: impl FnMut(Timeframe, &Candle)) {
        let tracks = &mut self.tracks;
        self.bars.close_due(at_ns, |timeframe, candle| {
            let Some(track) = tracks[timeframe as usize].as_deref_mut() else { return };
            track.close(&candle, at_ns, desk.settings.kept_bars, desk.counters);
            closed(timeframe, &candle);
        });
    }

    /// Publishes the bar that forms.
    pub fn form(&mut self, timeframe: Timeframe, at_ns: u64, now_ns: u64, desk: Desk<'_>) {
        let Some(track) = self.tracks[timeframe as usize].as_deref_mut() else { return };
        track.queued = false;
        if let Some(candle) = forming(&self.bars, timeframe) {
            track.formed_ns = now_ns;
            track.form(candle, at_ns, desk.counters);
        }
    }

    /// A history has come. `closed` is told every bar that is told again.
    pub fn load(
        &mut self,
        timeframe: Timeframe,
        history: &[Candle],
        at_ns: u64,
        desk: Desk<'_>,
        mut closed: impl FnMut(Timeframe, &Candle),
    ) {
        let Some(track) = self.tracks[timeframe as usize].as_deref_mut() else { return };
        let kept = desk.settings.kept_bars;
        track.load(history, at_ns, kept, desk.counters);
        if let Some(builder) = self.bars.builder_mut(timeframe) {
            for candle in builder.replace(history, at_ns) {
                track.close(&candle, at_ns, kept, desk.counters);
                closed(timeframe, &candle);
            }
        }
        track.answer(forming(&self.bars, timeframe));
    }

    /// The feed was lost at `at`, Unix seconds.
    pub fn interrupt(&mut self, at: i64) {
        if self.seen {
            self.bars.interrupt(at);
            self.lost_at.get_or_insert(at);
        }
    }

    /// Watches for an alert on its price. The price known now is what the next one is compared with.
    pub fn watch(&mut self, mut alert: Alert) {
        if let Condition::Price(crossing) = &mut alert.condition {
            crossing.last = self.slot.value().map(|value| rupees(&value.tick));
        }
        self.alerts.push(alert);
    }

    /// Watches for it no longer; true when there was such an alert.
    pub fn unwatch(&mut self, id: &str) -> bool {
        let before = self.alerts.len();
        self.alerts.retain(|alert| *alert.id != *id);
        let mut found = self.alerts.len() < before;
        for track in self.tracks_mut() {
            let Some(at) = track.alerts.iter().position(|alert| *alert.id == *id) else { continue };
            found = true;
            if let Condition::Indicator { id, .. } = track.alerts.swap_remove(at).condition
                && let Some(computation) = track.computations.iter_mut().find(|computation| *computation.id() == id)
            {
                computation.alerts -= 1;
            }
        }
        found
    }

    fn watch_price(&mut self, seen: Seen<'_>, counters: &EngineCounters) {
        let price = rupees(seen.tick);
        let met = |alert: &mut Alert| match &mut alert.condition {
            Condition::Price(crossing) => crossing.take(price),
            _ => false,
        };
        for alert in self.alerts.extract_if(.., met) {
            alert.fire(tick_value(seen), counters);
        }
    }
}

fn forming(bars: &Bars, timeframe: Timeframe) -> Option<&Candle> {
    bars.builders().iter().find(|builder| builder.timeframe() == timeframe)?.forming()
}

fn rupees(tick: &Tick) -> f64 {
    f64::from(tick.last_price) / tick.token.segment().divisor() as f64
}

/// A tick as a message has it.
fn tick_value(seen: Seen<'_>) -> Value {
    let mut out = Vec::new();
    let encoding = Encoding { format: Format::Json, mode: seen.tick.mode };
    let span = push::tick_frame(&mut out, encoding, seen.tick, &[], seen.received_unix_ns, false);
    let mut value: Value = serde_json::from_slice(&out[span.body()]).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("type");
    }
    value
}

/// Whether a bar that closes lacks something that a history may have.
pub fn lacks(candle: &Candle) -> bool {
    candle.partial && !candle.revised
}
