//! One indicator of one track, computed once however many want it.

use super::counters::EngineCounters;
use super::view::{Views, Wording};
use crate::market::indicator::{Bar, Indicator, IndicatorId, Outputs};
use crate::wire::Format;
use crate::wire::derived::{IndicatorText, indicator_frame};
use crate::wire::frame::Span;

/// What an indicator last said.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Current {
    /// Its values.
    pub outputs: Outputs,
    /// When it was computed, Unix seconds in the market.
    pub at: i64,
    /// When its bar began, Unix seconds.
    pub bar: i64,
    /// Whether the bar is over.
    pub closed: bool,
    /// Whether its seed has faded.
    pub warm: bool,
}

/// See the module. **Thread**: the engine's.
pub struct Computation {
    indicator: Indicator,
    /// The canonical id, as text.
    text: String,
    /// Who wants it.
    pub views: Views,
    /// Alerts that watch it.
    pub alerts: usize,
    /// Since when nobody wants it, monotonic; 0 while somebody does.
    pub idle_since_ns: u64,
    current: Option<Current>,
    /// What it said of the last closed bar.
    last_closed: Option<Outputs>,
}

impl std::fmt::Debug for Computation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Computation").field("id", &self.text).finish_non_exhaustive()
    }
}

impl Computation {
    /// Without bars.
    pub fn new(id: &IndicatorId) -> Self {
        Self {
            indicator: Indicator::new(id),
            text: id.to_string(),
            views: Views::default(),
            alerts: 0,
            idle_since_ns: 0,
            current: None,
            last_closed: None,
        }
    }

    /// What it computes.
    pub fn id(&self) -> &IndicatorId {
        self.indicator.id()
    }

    /// Whether somebody wants it.
    pub fn is_wanted(&self) -> bool {
        !self.views.is_empty() || self.alerts > 0
    }

    /// What it last said; `None` before the first bar, and while the history is being loaded.
    pub fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// Begins anew with these closed bars, the oldest first. About 50 ns a bar.
    pub fn rebuild(&mut self, bars: impl Iterator<Item = Bar>, at: i64) {
        self.indicator = Indicator::new(&self.indicator.id().clone());
        self.current = None;
        self.last_closed = None;
        for bar in bars {
            let outputs = self.indicator.update(&bar);
            self.last_closed = Some(outputs);
            self.current = Some(self.said(outputs, &bar, at, true));
        }
    }

    /// A bar has closed: the one moment at which the state goes on. Returns what it said of the bars before and of this.
    pub fn close(&mut self, bar: &Bar, at: i64, counters: &EngineCounters) -> (Option<Outputs>, Outputs) {
        let outputs = self.indicator.update(bar);
        counters.updates.add(1);
        let current = self.said(outputs, bar, at, true);
        self.current = Some(current);
        for view in self.views.iter_mut() {
            view.publish_closed(counters, |out, format, wording| write(out, format, wording, &self.text, &current));
        }
        (self.last_closed.replace(outputs), outputs)
    }

    /// A bar forms: looks at it, and publishes what has changed.
    pub fn form(&mut self, bar: &Bar, at: i64, counters: &EngineCounters) {
        let outputs = self.indicator.peek(bar);
        counters.peeks.add(1);
        let current = self.said(outputs, bar, at, false);
        let unchanged = self.current.is_some_and(|last| last.bar == current.bar && last.outputs == outputs);
        self.current = Some(current);
        if unchanged {
            return;
        }
        for view in self.views.iter_mut() {
            view.publish_forming(counters, |out, format, wording| write(out, format, wording, &self.text, &current));
        }
    }

    /// Publishes what it says now, because that is not what it said before: its bars were loaded or have changed.
    pub fn restate(&mut self, counters: &EngineCounters) {
        let Some(current) = self.current else { return };
        for view in self.views.iter_mut() {
            view.publish_forming(counters, |out, format, wording| write(out, format, wording, &self.text, &current));
        }
    }

    /// Tells the newest listener of a wording what was said of the closed bars from the one on that began at `first`, but
    /// for the bar of the value that is told last, by [`Computation::greet`].
    /// Bars come with their ends, Unix seconds.
    pub fn replay(&mut self, bars: impl Iterator<Item = (Bar, i64)>, first: i64, wording: &Wording) {
        let mut indicator = Indicator::new(self.id());
        let told_last = self.current.map(|current| current.bar);
        let (text, view) = (&self.text, self.views.worded(wording));
        for (bar, end) in bars {
            let (outputs, warm) = (indicator.update(&bar), indicator.is_warm());
            if bar.start >= first && Some(bar.start) != told_last {
                let current = Current { outputs, at: end, bar: bar.start, closed: true, warm };
                view.greet(|out, format, wording| write(out, format, wording, text, &current));
            }
        }
    }

    /// Tells the newest listener of a wording what is known.
    pub fn greet(&mut self, wording: &Wording) {
        let Some(current) = self.current else { return };
        let text = &self.text;
        self.views.worded(wording).greet(|out, format, wording| write(out, format, wording, text, &current));
    }

    fn said(&self, outputs: Outputs, bar: &Bar, at: i64, closed: bool) -> Current {
        Current { outputs, at, bar: bar.start, closed, warm: self.indicator.is_warm() }
    }
}

fn write(out: &mut Vec<u8>, format: Format, wording: &Wording, id: &str, current: &Current) -> Span {
    let text = IndicatorText {
        symbol: &wording.symbol,
        timeframe: &wording.timeframe,
        id,
        names: current.outputs.names(),
        values: current.outputs.values(),
        at: current.at,
        bar: current.bar,
        closed: current.closed,
        warm: current.warm,
    };
    indicator_frame(out, format, &text)
}
