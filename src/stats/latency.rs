//! How long a tick is at each stop: histograms that a thread fills and hands over once a second.

use crossbeam::queue::ArrayQueue;
use hdrhistogram::Histogram;
use std::sync::Arc;

/// The stops of a tick that take time, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// From the thread's wake-up to the message in hand.
    Feed,
    /// One packet decoded.
    Packet,
    /// The slot of its token found.
    Board,
    /// The tick stored as the slot's newest.
    Slot,
    /// All wanted encodings written.
    Wire,
    /// All subscribers' rings offered the update.
    Ring,
    /// From the message in hand until the tab's writer takes the update; of those it takes in one turn, the oldest.
    Writer,
    /// One write call.
    Socket,
    /// From the message in hand until the operating system has the tab's frame, on the straight way.
    Total,
    /// The same where a tick has not gone the straight way: the newest value of a tab that was behind or is throttled,
    /// and what waited for a full socket to take it.
    Age,
}

impl Stop {
    /// All, in order.
    pub const ALL: [Self; 10] = [
        Self::Feed,
        Self::Packet,
        Self::Board,
        Self::Slot,
        Self::Wire,
        Self::Ring,
        Self::Writer,
        Self::Socket,
        Self::Total,
        Self::Age,
    ];

    /// The name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Feed => "feed",
            Self::Packet => "packet",
            Self::Board => "board",
            Self::Slot => "slot",
            Self::Wire => "wire",
            Self::Ring => "ring",
            Self::Writer => "writer",
            Self::Socket => "socket",
            Self::Total => "total",
            Self::Age => "age",
        }
    }
}

/// Longest latency told apart, 60 s; longer ones count as that.
const HIGHEST_NS: u64 = 60_000_000_000;

/// One histogram a stop, nanoseconds, two significant digits.
#[derive(Clone, Debug)]
pub struct StopHistograms(Vec<Histogram<u64>>);

impl Default for StopHistograms {
    fn default() -> Self {
        // The bounds are constants in the library's range, so the fallback is never taken.
        let histogram = || Histogram::new_with_bounds(1, HIGHEST_NS, 2).unwrap_or_else(|_| empty());
        Self(Stop::ALL.iter().map(|_| histogram()).collect())
    }
}

fn empty() -> Histogram<u64> {
    let mut histogram = Histogram::new(2).unwrap_or_else(|_| unreachable!("two digits are allowed"));
    histogram.auto(true);
    histogram
}

impl StopHistograms {
    /// The histogram of one stop.
    pub fn of(&self, stop: Stop) -> &Histogram<u64> {
        &self.0[stop as usize]
    }

    fn add(&mut self, other: &Self) {
        for (mine, other) in self.0.iter_mut().zip(&other.0) {
            // Same bounds everywhere, so adding cannot fail.
            let _ = mine.add(other);
        }
    }

    fn clear(&mut self) {
        self.0.iter_mut().for_each(Histogram::clear);
    }
}

/// How a recording thread and the collector exchange full histograms for empty ones.
#[derive(Debug)]
struct Exchange {
    full: ArrayQueue<Box<StopHistograms>>,
    empty: ArrayQueue<Box<StopHistograms>>,
}

/// A latency that has yet to be put into its histogram.
#[derive(Clone, Copy, Debug)]
struct Note {
    nanoseconds: u64,
    times: u32,
    stop: Stop,
}

/// Notes that wait at most.
const NOTES: usize = 256;

/// Records latencies. **Thread**: its owner alone.
///
/// It takes notes and puts them into the histograms at the end of the cycle: those lie in other memory, which a tick on its
/// way should not wait for.
#[derive(Debug)]
pub struct Recorder {
    notes: Vec<Note>,
    active: Box<StopHistograms>,
    exchange: Arc<Exchange>,
    next_exchange_ns: u64,
    recorded: bool,
}

/// How often full histograms are handed over.
const EXCHANGE_NS: u64 = 1_000_000_000;

impl Recorder {
    /// Records one latency.
    #[inline]
    pub fn record(&mut self, stop: Stop, nanoseconds: u64) {
        self.record_many(stop, nanoseconds, 1);
    }

    /// Records the same latency several times.
    #[inline]
    pub fn record_many(&mut self, stop: Stop, nanoseconds: u64, times: u32) {
        if times == 0 {
            return;
        }
        // The tabs of a turn take what came at one time at one time.
        if let Some(last) = self.notes.last_mut()
            && (last.stop, last.nanoseconds) == (stop, nanoseconds)
        {
            last.times += times;
            return;
        }
        if self.notes.len() == NOTES {
            self.settle();
        }
        self.notes.push(Note { nanoseconds, times, stop });
    }

    /// Puts what was noted into the histograms.
    fn settle(&mut self) {
        for Note { nanoseconds, times, stop } in self.notes.drain(..) {
            self.active.0[stop as usize].saturating_record_n(nanoseconds, times.into());
            self.recorded = true;
        }
    }

    /// Ends a cycle: settles what was noted, and hands over what was recorded, once a second, if the collector has taken the
    /// last. No allocation, no wait.
    #[inline]
    pub fn exchange(&mut self, now_ns: u64) {
        self.settle();
        if now_ns < self.next_exchange_ns || !self.recorded {
            return;
        }
        self.next_exchange_ns = now_ns + EXCHANGE_NS;
        if let Some(empty) = self.exchange.empty.pop() {
            let full = std::mem::replace(&mut self.active, empty);
            // The collector took the previous one before it gave an empty one back, so there is room.
            let _ = self.exchange.full.push(full);
            self.recorded = false;
        }
    }

    /// When [`exchange`](Self::exchange) has something to hand over; `None` when nothing was recorded before the last.
    pub fn due_ns(&self) -> Option<u64> {
        self.recorded.then_some(self.next_exchange_ns)
    }
}

/// Gathers what recorders hand over. Control side.
#[derive(Debug, Default)]
pub struct Collector {
    exchanges: Vec<Arc<Exchange>>,
    since_start: StopHistograms,
    /// The current half minute and the one before: together the last 30 to 60 s.
    halves: [StopHistograms; 2],
    collected: u32,
}

impl Collector {
    /// A recorder for one more thread.
    pub fn recorder(&mut self) -> Recorder {
        let exchange = Arc::new(Exchange { full: ArrayQueue::new(1), empty: ArrayQueue::new(1) });
        let _ = exchange.empty.push(Box::default());
        self.exchanges.push(Arc::clone(&exchange));
        let notes = Vec::with_capacity(NOTES);
        Recorder { notes, active: Box::default(), exchange, next_exchange_ns: 0, recorded: false }
    }

    /// Takes what is there. To be called about once a second.
    pub fn collect(&mut self) {
        self.collected += 1;
        if self.collected.is_multiple_of(30) {
            self.halves.swap(0, 1);
            self.halves[0].clear();
        }
        for exchange in &self.exchanges {
            if let Some(mut full) = exchange.full.pop() {
                self.since_start.add(&full);
                self.halves[0].add(&full);
                full.clear();
                let _ = exchange.empty.push(full);
            }
        }
    }

    /// Everything since the start.
    pub fn since_start(&self) -> &StopHistograms {
        &self.since_start
    }

    /// The last 30 to 60 s.
    pub fn recent(&self) -> StopHistograms {
        let mut recent = self.halves[0].clone();
        recent.add(&self.halves[1]);
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_reaches_the_collector_once() {
        let mut collector = Collector::default();
        let mut recorder = collector.recorder();
        for round in 0..3 {
            recorder.record(Stop::Total, 1_000 + round);
            recorder.exchange(round * EXCHANGE_NS + 1);
            collector.collect();
        }
        assert_eq!(collector.since_start().of(Stop::Total).len(), 3);
        assert_eq!(collector.recent().of(Stop::Total).len(), 3);
        assert_eq!(collector.since_start().of(Stop::Packet).len(), 0);
    }

    #[test]
    fn what_is_noted_in_a_row_is_counted_as_often_as_it_was_noted() {
        let mut collector = Collector::default();
        let mut recorder = collector.recorder();
        recorder.record_many(Stop::Total, 5, 3);
        recorder.record(Stop::Total, 5);
        recorder.record_many(Stop::Total, 9, 0);
        (0..2 * NOTES as u64).for_each(|nanoseconds| recorder.record(Stop::Socket, nanoseconds));
        recorder.exchange(1);
        collector.collect();
        let total = collector.since_start().of(Stop::Total);
        assert_eq!((total.len(), total.max()), (4, 5));
        assert_eq!(collector.since_start().of(Stop::Socket).len(), 2 * NOTES as u64);
    }

    #[test]
    fn nothing_is_lost_while_the_collector_is_late() {
        let mut collector = Collector::default();
        let mut recorder = collector.recorder();
        for second in 1..10 {
            recorder.record(Stop::Wire, 5);
            recorder.exchange(second * EXCHANGE_NS);
        }
        collector.collect();
        recorder.exchange(20 * EXCHANGE_NS);
        collector.collect();
        assert_eq!(collector.since_start().of(Stop::Wire).len(), 9);
    }
}
