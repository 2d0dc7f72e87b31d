//! One timeframe of one instrument: its closed bars, who listens to them, and what is computed from them.

use super::alert::{Alert, Condition};
use super::command::Since;
use super::computation::Computation;
use super::counters::EngineCounters;
use super::view::{Views, Wording};
use crate::fanout::series::Subscription;
use crate::market::calendar::Date;
use crate::market::indicator::{Bar, IndicatorId};
use crate::market::{Candle, InstrumentToken, Timeframe};
use crate::wire::Format;
use crate::wire::derived::{CandleText, candle_frame, candle_value};
use crate::wire::frame::Span;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Bars of a track, as they were asked for.
#[derive(Clone, Default, Debug)]
pub struct Bars {
    /// Closed ones, the oldest first.
    pub closed: Vec<Candle>,
    /// The one that forms.
    pub forming: Option<Candle>,
}

/// Somebody who waits for bars until the history is loaded.
pub type Waiting = (usize, oneshot::Sender<Bars>);

/// See the module. **Thread**: the engine's.
#[derive(Debug)]
pub struct Track {
    token: InstrumentToken,
    timeframe: Timeframe,
    closed: VecDeque<Candle>,
    /// Listeners to closed candles.
    pub candles: Views,
    /// Listeners to forming candles as well.
    pub live: Views,
    /// What is computed.
    pub computations: Vec<Computation>,
    /// Alerts on its bars.
    pub alerts: Vec<Alert>,
    /// Who waits for the history.
    pub waiting: Vec<Waiting>,
    /// A history was asked for and has not come.
    pub loading: bool,
    /// Bars that were asked of the history at most.
    asked: usize,
    /// The forming bar stands in the list of those to be published.
    pub queued: bool,
    /// When the forming bar was published last, monotonic.
    pub formed_ns: u64,
    /// Since when nobody wants it, monotonic; 0 while somebody does.
    pub idle_since_ns: u64,
    /// Bars from before then may be missing, Unix seconds.
    whole_since: i64,
}

impl Track {
    /// A track that begins at `at` (Unix seconds) with the closed bars that were kept, the oldest first, and perhaps one
    /// that forms.
    pub fn new(
        token: InstrumentToken,
        timeframe: Timeframe,
        kept: Vec<Candle>,
        forming: Option<&Candle>,
        at: i64,
    ) -> Self {
        let newest = forming.or(kept.last());
        // No whole bar lies between what is known and now.
        let unbroken = newest.is_some_and(|newest| at < newest.end + (newest.end - newest.start));
        let whole_since = if unbroken { i64::MIN } else { at };
        Self {
            token,
            whole_since,
            timeframe,
            closed: kept.into(),
            candles: Views::default(),
            live: Views::default(),
            computations: Vec::new(),
            alerts: Vec::new(),
            waiting: Vec::new(),
            loading: false,
            asked: 0,
            queued: false,
            formed_ns: 0,
            idle_since_ns: 0,
        }
    }

    /// Its timeframe.
    pub fn timeframe(&self) -> Timeframe {
        self.timeframe
    }

    /// Its closed bars, the oldest first.
    pub fn closed(&self) -> &VecDeque<Candle> {
        &self.closed
    }

    /// Its closed bars, when it ends.
    pub fn into_closed(self) -> Vec<Candle> {
        self.closed.into()
    }

    /// Whether somebody wants its bars or what is computed from them.
    pub fn is_wanted(&self) -> bool {
        let listened = !self.candles.is_empty() || !self.live.is_empty() || !self.alerts.is_empty();
        listened || !self.waiting.is_empty() || !self.computations.is_empty()
    }

    /// Whether anybody is told of bars that form.
    pub fn shows_forming(&self) -> bool {
        let volume = |alert: &Alert| matches!(alert.condition, Condition::Volume(_));
        !self.live.is_empty()
            || self.computations.iter().any(|computation| !computation.views.is_empty())
            || self.alerts.iter().any(volume)
    }

    /// How many closed bars it must keep, at least `kept`.
    pub fn wanted_bars(&self, kept: usize) -> usize {
        self.computations.iter().map(|computation| computation.id().bars_wanted()).fold(kept, usize::max)
    }

    /// Notes that so many bars are wanted of the history; false when as many were asked for before.
    pub fn ask(&mut self, wanted: usize) -> bool {
        let more = wanted > self.asked;
        self.asked = self.asked.max(wanted);
        more
    }

    /// The computation of an indicator, begun if there is none; true when it was.
    pub fn computation(&mut self, id: &IndicatorId, at: i64) -> (&mut Computation, bool) {
        let found = self.computations.iter().position(|computation| computation.id() == id);
        let at = found.unwrap_or_else(|| {
            let mut computation = Computation::new(id);
            // While the history is being loaded there is nothing to say: a value that is not warm would soon be another.
            if !self.loading {
                computation.rebuild(self.closed.iter().map(|candle| bar(self.token, candle)), at);
            }
            self.computations.push(computation);
            self.computations.len() - 1
        });
        (&mut self.computations[at], found.is_none())
    }

    /// Takes a closed bar, or (revised) one that was closed before with other values. Called once for each.
    pub fn close(&mut self, candle: &Candle, at_ns: u64, kept: usize, counters: &EngineCounters) {
        if candle.revised {
            counters.revised_bars.add(1);
        } else {
            counters.closed_bars.add(1);
        }
        self.spikes(candle, counters);
        let new = self.closed.back().is_none_or(|last| last.start < candle.start);
        if new {
            let most = self.wanted_bars(kept);
            while self.closed.len() >= most.max(1) {
                self.closed.pop_front();
            }
            self.closed.push_back(*candle);
        } else {
            self.replace(candle);
        }
        self.tell_closed(candle, at_ns, counters);
        if self.loading {
            return;
        }
        let at = seconds(at_ns);
        if new && !candle.revised {
            self.advance(candle, at, counters);
        } else {
            self.rebuild(at, counters);
        }
    }

    /// All computations go on by one bar.
    fn advance(&mut self, candle: &Candle, at: i64, counters: &EngineCounters) {
        let bar = bar(self.token, candle);
        for computation in &mut self.computations {
            let (before, now) = computation.close(&bar, at, counters);
            if computation.alerts == 0 {
                continue;
            }
            let id = *computation.id();
            let fired: Vec<Alert> =
                self.alerts.extract_if(.., |alert| alert.take_outputs(&id, before.as_ref(), &now)).collect();
            computation.alerts -= fired.len();
            for alert in fired {
                let values: serde_json::Map<_, _> =
                    now.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
                let data = serde_json::json!({"indicator_id": id.to_string(), "values": values,
                    "candle": candle_value(self.token, candle)});
                alert.fire(data, counters);
            }
        }
    }

    /// All computations begin anew from the closed bars, and say what they say now.
    fn rebuild(&mut self, at: i64, counters: &EngineCounters) {
        for computation in &mut self.computations {
            computation.rebuild(self.closed.iter().map(|candle| bar(self.token, candle)), at);
            computation.restate(counters);
        }
    }

    fn tell_closed(&mut self, candle: &Candle, at_ns: u64, counters: &EngineCounters) {
        let token = self.token;
        for view in self.candles.iter_mut().chain(self.live.iter_mut()) {
            view.publish_closed(counters, |out, format, wording| write(out, format, wording, token, candle, at_ns));
        }
    }

    /// A bar has changed that is not over.
    pub fn form(&mut self, candle: &Candle, at_ns: u64, counters: &EngineCounters) {
        self.spikes(candle, counters);
        let token = self.token;
        for view in self.live.iter_mut() {
            view.publish_forming(counters, |out, format, wording| write(out, format, wording, token, candle, at_ns));
        }
        if self.loading {
            return;
        }
        let bar = bar(token, candle);
        for computation in &mut self.computations {
            if !computation.views.is_empty() {
                computation.form(&bar, seconds(at_ns), counters);
            }
        }
    }

    /// Tells the newest listener of a wording the bar that forms.
    pub fn greet(&mut self, wording: &Wording, forming: &Candle, at_ns: u64) {
        let token = self.token;
        let view = self.live.worded(wording);
        view.greet(|out, format, wording| write(out, format, wording, token, forming, at_ns));
    }

    fn spikes(&mut self, candle: &Candle, counters: &EngineCounters) {
        let (token, closed) = (self.token, &self.closed);
        let met = |alert: &mut Alert| match &alert.condition {
            Condition::Volume(spike) => spike.is_met(candle, closed.iter()),
            _ => false,
        };
        for alert in self.alerts.extract_if(.., met) {
            alert.fire(candle_value(token, candle), counters);
        }
    }

    /// Puts bars of the history before and between those that were closed here, which stay unless they lack something.
    /// Then everything is computed anew.
    pub fn load(&mut self, history: &[Candle], at_ns: u64, kept: usize, counters: &EngineCounters) {
        self.loading = false;
        let known = |candle: &&Candle| candle.end.saturating_mul(1_000_000_000).max(0).unsigned_abs() <= at_ns;
        let mut bars: BTreeMap<i64, Candle> =
            history.iter().filter(known).map(|candle| (candle.start, *candle)).collect();
        counters.history_bars.add(bars.len() as u64);
        for own in &self.closed {
            if !own.partial || !bars.contains_key(&own.start) {
                bars.insert(own.start, *own);
            }
        }
        let most = self.wanted_bars(kept);
        let surplus = bars.len().saturating_sub(most);
        self.closed = bars.into_values().skip(surplus).collect();
        self.rebuild(seconds(at_ns), counters);
    }

    fn replace(&mut self, candle: &Candle) {
        match self.closed.binary_search_by_key(&candle.start, |own| own.start) {
            Ok(at) => self.closed[at] = *candle,
            Err(at) => self.closed.insert(at, *candle),
        }
    }

    /// The feed was gone from `from` to `until`, Unix seconds: if that was longer than a bar, whole bars may be missing.
    pub fn was_silent(&mut self, from: i64, until: i64) {
        // The shortest is what a day is measured by: better a gap too many.
        if until - from >= self.timeframe.seconds().unwrap_or(60) {
            self.whole_since = self.whole_since.max(until);
        }
    }

    /// The closed bars that a client lacks, the oldest first and at most `room`, and whether others may be missing.
    pub fn since(&self, since: Since, grace_ns: u64, room: usize) -> (impl Iterator<Item = &Candle>, bool) {
        let first = match since {
            Since::Bar(start) => self.closed.partition_point(|bar| bar.start <= start),
            Since::Time(at) => {
                // Told a grace after its end, and a moment on its way.
                let told = |bar: &Candle| bar.end as f64 + grace_ns as f64 / 1e9 + 0.5;
                self.closed.partition_point(|bar| told(bar) <= at)
            }
        };
        let had_until = match since {
            Since::Bar(start) => self.closed.get(first.wrapping_sub(1)).map_or(start, |bar| bar.end),
            Since::Time(at) => at as i64,
        };
        let missed = self.closed.len() - first;
        // What the oldest kept bar follows is not known any more.
        let forgotten = first == 0 && self.closed.front().is_some_and(|front| front.start > had_until);
        let gap = self.loading || self.whole_since > had_until || missed > room || forgotten;
        (self.closed.iter().skip(first + missed.saturating_sub(room)), gap)
    }

    /// Posts closed candles that a client lacks to the newest listener of a wording; returns whether others are missing.
    pub fn catch_up(&mut self, live: bool, wording: &Wording, since: Since, grace_ns: u64, room: usize) -> bool {
        let mut views = std::mem::take(if live { &mut self.live } else { &mut self.candles });
        let (missed, gap) = self.since(since, grace_ns, room);
        let view = views.worded(wording);
        for candle in missed {
            let at_ns = candle.end.max(0).unsigned_abs() * 1_000_000_000;
            view.greet(|out, format, wording| write(out, format, wording, self.token, candle, at_ns));
        }
        *if live { &mut self.live } else { &mut self.candles } = views;
        gap
    }

    /// The same with what an indicator said of them; it is computed by this track.
    pub fn catch_up_on(
        &mut self,
        id: &IndicatorId,
        wording: &Wording,
        since: Since,
        grace_ns: u64,
        room: usize,
    ) -> bool {
        let Some(at) = self.computations.iter().position(|computation| computation.id() == id) else { return true };
        let mut computation = self.computations.swap_remove(at);
        let (missed, gap) = self.since(since, grace_ns, room);
        if let Some(first) = missed.map(|bar| bar.start).next().filter(|_| !self.loading) {
            let bars = self.closed.iter().map(|candle| (bar(self.token, candle), candle.end));
            computation.replay(bars, first, wording);
        }
        self.computations.push(computation);
        gap
    }

    /// Answers those who wait.
    pub fn answer(&mut self, forming: Option<&Candle>) {
        for (count, reply) in std::mem::take(&mut self.waiting) {
            let _ = reply.send(self.bars(count, forming));
        }
    }

    /// The newest `count` closed bars, and the one that forms.
    pub fn bars(&self, count: usize, forming: Option<&Candle>) -> Bars {
        let skipped = self.closed.len().saturating_sub(count);
        Bars { closed: self.closed.iter().skip(skipped).copied().collect(), forming: forming.copied() }
    }

    /// Removes all listeners of a subscription; returns how many.
    pub fn remove(&mut self, of: &Arc<Subscription>) -> u64 {
        let computed: u64 = self.computations.iter_mut().map(|computation| computation.views.remove(of)).sum();
        computed + self.candles.remove(of) + self.live.remove(of)
    }
}

fn write(
    out: &mut Vec<u8>,
    format: Format,
    wording: &Wording,
    token: InstrumentToken,
    candle: &Candle,
    at_ns: u64,
) -> Span {
    candle_frame(out, format, &CandleText { token, timeframe: &wording.timeframe, candle, at_ns })
}

/// A candle as indicators read it. Its session is its date: no session here goes beyond midnight.
pub fn bar(token: InstrumentToken, candle: &Candle) -> Bar {
    let divisor = token.segment().divisor() as f64;
    let price = |raw: i32| f64::from(raw) / divisor;
    Bar {
        start: candle.start,
        open: price(candle.open),
        high: price(candle.high),
        low: price(candle.low),
        close: price(candle.close),
        volume: candle.volume as f64,
        session: i64::from(Date::of(candle.start).0),
    }
}

/// Whole Unix seconds.
pub const fn seconds(unix_ns: u64) -> i64 {
    (unix_ns / 1_000_000_000) as i64
}
