//! Counters and latency histograms by stop: one writer each, read by anyone.
//!
//! A counter is an atomic that its one thread loads and stores; a histogram is plain memory that its thread fills and
//! hands over once a second in exchange for an empty one. Neither locks, and neither needs a read-modify-write.

mod counter;
mod latency;

pub use counter::{Count, Counter, Shown};
pub use latency::{Collector, Recorder, Stop, StopHistograms};

pub(crate) use counter::counters;

counters! {
    /// What the feed's thread counts: stops 1 to 6.
    FeedCounters of Counter {
        /// Binary messages from upstream.
        messages,
        /// Their bytes.
        bytes,
        /// Messages of one byte or none: signs of life.
        heartbeats,
        /// Messages with broken framing, dropped whole.
        malformed_messages,
        /// Packets of a length that the protocol does not know, skipped.
        unknown_packets,
        /// Packets for instruments that nobody has ever wanted, dropped.
        unwanted_packets,
        /// Ticks decoded and stored in their slot.
        ticks,
        /// Ticks stored whose instrument has no subscriber now.
        unsubscribed_ticks,
        /// Ticks that were stored under overload and offered to nobody but the engine, since a newer one had come as well.
        outrun_ticks,
        /// Updates made, each with all encodings that its subscribers want.
        updates,
        /// Updates that had to be allocated because every pooled one was in use.
        updates_allocated,
        /// Encodings written.
        encodings,
        /// Offers that a ring took.
        queued,
        /// Offers that a ring refused: the tab gets the newest value later instead.
        conflated,
        /// Offers left out because nothing changed that the subscriber's mode shows.
        unchanged,
    }
}

counters! {
    /// What a writer's thread counts: stops 7 and 8.
    WriterCounters of Counter {
        /// Tick messages handed to the operating system.
        delivered,
        /// Of these, first messages of a subscription.
        snapshots,
        /// Values that a tab never got because a newer one replaced them.
        skipped,
        /// Updates passed over because the tab already had a newer value.
        outdated,
        /// Updates passed over because they had waited for long and the tab could have a newer value: under overload, and where
        /// a tab has been late for long.
        stale_updates,
        /// Times a tab was sent nothing more until it had read what it had.
        holds,
        /// Times a tab found that its ring had run over.
        overrun_rings,
        /// Updates passed over because the tab had unsubscribed meanwhile.
        unsubscribed,
        /// Updates passed over because they did not meet the subscription's condition.
        unmet,
        /// Values held back by a tab's throttle; the last one is sent when its time comes.
        throttled,
        /// Candles, indicator values, alerts and what else may not be lost.
        derived,
        /// Tabs given up because they did not take what may not be lost.
        overrun_tabs,
        /// Replies, heartbeats and notices.
        messages,
        /// Bytes handed to the operating system.
        bytes,
        /// Write calls.
        writes,
        /// Write calls that took less than offered: the tab's socket is full.
        blocked_writes,
        /// Messages encoded for one tab alone, off the shared path.
        own_encodings,
        /// Tabs that have ended.
        closed_tabs,
    }
    gauges {
        /// Tabs open now.
        tabs,
        /// Of these, connections of Kite's protocol.
        kite_tabs,
        /// Of all, tabs whose socket is full now.
        blocked_tabs,
        /// Of all, tabs that read too slowly now: they may have only so much unread.
        slow_tabs,
    }
}

counters! {
    /// What a data-plane thread counts about itself.
    DutyCounters of Counter {
        /// Cycles of the data plane.
        cycles,
        /// Cycles that had work.
        busy_cycles,
        /// Times a thread slept.
        sleeps,
        /// Times a thread began to have more to do than it can for a while: old values make way for newer ones then.
        overloads,
    }
    gauges {
        /// Threads of which that is so now.
        overloaded,
    }
}
