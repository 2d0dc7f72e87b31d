//! What the engine counts.

use crate::stats::Counter;

/// See the module. Written by the engine's thread, read by anyone.
#[derive(Debug, Default)]
pub struct EngineCounters {
    /// Ticks taken from the queue.
    pub ticks: Counter,
    /// Times the queue ran over.
    pub overruns: Counter,
    /// Ticks that were conflated: of each instrument the newest value was read instead.
    pub conflated: Counter,
    /// Most ticks that ever waited.
    pub deepest: Counter,
    /// Bars closed.
    pub closed_bars: Counter,
    /// Bars told again with other values.
    pub revised_bars: Counter,
    /// Bars read from a history.
    pub history_bars: Counter,
    /// Histories that could not be had.
    pub history_failures: Counter,
    /// Bars and states that the disk could not take in time.
    pub unkept: Counter,
    /// Values of forming bars computed.
    pub peeks: Counter,
    /// Values of closed bars computed, those of a history not counted.
    pub updates: Counter,
    /// Messages published, each once however many listen.
    pub messages: Counter,
    /// Alerts that have fired.
    pub fired: Counter,
    /// Computations begun.
    pub started: Counter,
    /// Subscriptions that found their computation at work.
    pub shared: Counter,
    /// Computations ended because nobody wanted them.
    pub ended: Counter,
    /// Instruments at work.
    pub instruments: Counter,
    /// Timeframes of instruments at work.
    pub tracks: Counter,
    /// Computations at work.
    pub computations: Counter,
    /// Subscriptions to candles and indicators.
    pub listeners: Counter,
    /// Alerts that wait.
    pub alerts: Counter,
    /// Nanoseconds in which it had work.
    pub busy_ns: Counter,
}

/// A counter as operators see it.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Its value.
    pub value: u64,
    /// It may fall.
    pub gauge: bool,
}

impl EngineCounters {
    /// All of them.
    pub fn list(&self) -> Vec<Shown> {
        let count = |name, help, counter: &Counter| Shown { name, help, value: counter.get(), gauge: false };
        let gauge = |name, help, counter: &Counter| Shown { name, help, value: counter.get(), gauge: true };
        vec![
            count("ticks", "Ticks taken from the queue.", &self.ticks),
            count("overruns", "Times the queue ran over.", &self.overruns),
            count("conflated", "Newest values read in place of ticks that were conflated.", &self.conflated),
            gauge("deepest", "Most ticks that ever waited.", &self.deepest),
            count("closed_bars", "Bars closed.", &self.closed_bars),
            count("revised_bars", "Bars told again with other values.", &self.revised_bars),
            count("history_bars", "Bars read from a history.", &self.history_bars),
            count("history_failures", "Histories that could not be had.", &self.history_failures),
            count("unkept", "Bars and states that the disk could not take in time.", &self.unkept),
            count("peeks", "Values of forming bars computed.", &self.peeks),
            count("updates", "Values of closed bars computed.", &self.updates),
            count("messages", "Messages published, each once however many listen.", &self.messages),
            count("fired", "Alerts that have fired.", &self.fired),
            count("started", "Computations begun.", &self.started),
            count("shared", "Subscriptions that found their computation at work.", &self.shared),
            count("ended", "Computations ended because nobody wanted them.", &self.ended),
            gauge("instruments", "Instruments at work.", &self.instruments),
            gauge("tracks", "Timeframes of instruments at work.", &self.tracks),
            gauge("computations", "Computations at work.", &self.computations),
            gauge("listeners", "Subscriptions to candles and indicators.", &self.listeners),
            gauge("alerts", "Alerts that wait.", &self.alerts),
            count("busy_ns", "Nanoseconds in which it had work.", &self.busy_ns),
        ]
    }
}
