//! What the engine counts.

use crate::stats::{Counter, counters};

counters! {
    /// See the module. Written by the engine's thread, read by anyone.
    EngineCounters of Counter {
        /// Ticks taken from the queue.
        ticks,
        /// Times the queue ran over.
        overruns,
        /// Newest values read in place of ticks that were conflated.
        conflated,
        /// Bars closed.
        closed_bars,
        /// Bars told again with other values.
        revised_bars,
        /// Bars read from a history.
        history_bars,
        /// Histories that could not be had.
        history_failures,
        /// Bars and states that the disk could not take in time.
        unkept,
        /// Values of forming bars computed.
        peeks,
        /// Values of closed bars computed, those of a history not counted.
        updates,
        /// Messages published, each once however many listen.
        messages,
        /// Alerts that have fired.
        fired,
        /// Computations begun.
        started,
        /// Subscriptions that found their computation at work.
        shared,
        /// Computations ended because nobody wanted them.
        ended,
        /// Nanoseconds in which it had work.
        busy_ns,
    }
    gauges {
        /// Most ticks that ever waited.
        deepest,
        /// Instruments at work.
        instruments,
        /// Timeframes of instruments at work.
        tracks,
        /// Computations at work.
        computations,
        /// Subscriptions to candles and indicators.
        listeners,
        /// Alerts that wait.
        alerts,
    }
}
