//! The bars of one instrument in one timeframe.

use super::print::{Missed, Print};
use super::{Candle, DEFAULT_GRACE_NS};
use crate::market::Timeframe;
use crate::market::calendar::Session;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How many closed bars that lack something are remembered until the history mends them.
pub(super) const UNSETTLED: usize = 64;

/// How many losses of the feed are remembered.
pub(super) const OUTAGES: usize = 16;

/// What became of a print.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The newest bar has changed: [`CandleBuilder::forming`].
    Formed,
    /// It belongs to no bar: no trade, or outside of continuous trading.
    Idle,
    /// Its bar was due before it came. Its volume went to the bar that forms, or will to the next one.
    Late,
    /// It told the official close of the day before; this is that day's bar again. A bar may have formed as well.
    Settled(Candle),
}

/// What was counted, for operators.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// Prints that came after their bar was due.
    pub late: u64,
    /// Volume that is in no bar, because it was traded while the feed was gone, or came late at the end of a day.
    pub lost_volume: u64,
}

/// See the module. The bars it closes come in order of their start, each once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CandleBuilder {
    pub(super) timeframe: Timeframe,
    grace_ns: u64,
    /// Bars not closed yet, the oldest first: the one that forms, and before it those that wait out their grace.
    pub(super) open: VecDeque<Candle>,
    /// Volume of late prints for the next bar, and the open of the session it belongs to.
    carried: (u64, i64),
    /// End of the newest closed bar.
    pub(super) closed_until: i64,
    /// Number of the last closed bar.
    pub(super) sequence: u64,
    missed: Option<Missed>,
    pub(super) outages: VecDeque<Missed>,
    /// Start and number of closed bars that lack something.
    pub(super) unsettled: VecDeque<(i64, u64)>,
    /// The last closed bar of a day, until its official close is known.
    yesterday: Option<Candle>,
    tally: Tally,
}

impl CandleBuilder {
    /// Without bars, with [`DEFAULT_GRACE_NS`].
    pub fn new(timeframe: Timeframe) -> Self {
        Self::with_grace(timeframe, DEFAULT_GRACE_NS)
    }

    /// Without bars; `grace_ns` is how long a bar waits behind its end. 0 closes it at its end.
    pub fn with_grace(timeframe: Timeframe, grace_ns: u64) -> Self {
        Self {
            timeframe,
            grace_ns,
            open: VecDeque::with_capacity(2),
            carried: (0, i64::MIN),
            closed_until: i64::MIN,
            sequence: 0,
            missed: None,
            outages: VecDeque::new(),
            unsettled: VecDeque::new(),
            yesterday: None,
            tally: Tally::default(),
        }
    }

    /// Its timeframe.
    pub const fn timeframe(&self) -> Timeframe {
        self.timeframe
    }

    /// What was counted.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// The newest bar, while it is not closed.
    pub fn forming(&self) -> Option<&Candle> {
        self.open.back()
    }

    /// Volume of late prints that waits for the next bar.
    pub const fn carried_volume(&self) -> u64 {
        self.carried.0
    }

    /// When [`CandleBuilder::close_due`] has something to close, nanoseconds since 1970.
    pub fn due(&self) -> Option<u64> {
        self.open.front().map(|bar| self.deadline(bar.end))
    }

    /// Closes the bars that are due at `now_ns` (nanoseconds since 1970) and hands them out, the oldest first.
    pub fn close_due(&mut self, now_ns: u64, mut closed: impl FnMut(Candle)) {
        while let Some(bar) = self.open.front()
            && self.deadline(bar.end) <= now_ns
        {
            let Some(bar) = self.open.pop_front() else { return };
            closed(self.close(bar));
        }
    }

    /// Takes what a packet said. `session` is that of [`super::Trades::session`].
    pub fn add(&mut self, print: &Print, session: &Session) -> Outcome {
        match (print.missed, self.missed) {
            (Some(missed), _) => self.resume(missed),
            (None, Some(Missed { from, until: i64::MAX })) => {
                self.resume(Missed { from, until: (print.received_ns / 1_000_000_000) as i64 });
            }
            _ => {}
        }
        if self.timeframe == Timeframe::Day {
            return self.add_to_day(print, session);
        }
        if !print.counts {
            return Outcome::Idle;
        }
        let Some((start, end)) = self.timeframe.bucket(session, print.time) else { return Outcome::Idle };
        let mut volume = print.volume;
        if print.missed.is_some_and(|missed| missed.from < start) && volume > 0 {
            // Traded while the feed was gone, in this bar and those before it: nobody knows how much in which.
            self.tally.lost_volume += volume;
            volume = 0;
        }
        if self.is_late(start, end, print.received_ns) {
            self.tally.late += 1;
            self.carry(volume, session, print.received_ns);
            return Outcome::Late;
        }
        if self.carried.0 > 0 {
            match self.carried.1 == session.open {
                true => volume += self.carried.0,
                false => self.tally.lost_volume += self.carried.0,
            }
            self.carried.0 = 0;
        }
        let bar = self.bar_at(start, end, print);
        bar.high = bar.high.max(print.high);
        bar.low = bar.low.min(print.low);
        bar.close = print.price;
        bar.volume += volume;
        bar.oi = print.oi;
        bar.packets = bar.packets.saturating_add(1);
        bar.by_receipt |= print.by_receipt;
        Outcome::Formed
    }

    /// The feed was lost at `at` (Unix seconds), or this state comes from before a restart, or bars of a timeframe are
    /// first formed then: what is open lacks something from now on until the next packet. To be called when it happens,
    /// since bars go on being closed by the clock.
    pub fn interrupt(&mut self, at: i64) {
        // Lost twice without a packet in between: lost since the first time.
        let since = self.missed.filter(|open| open.until == i64::MAX).map_or(at, |open| open.from.min(at));
        let missed = Missed { from: since, until: i64::MAX };
        self.mark(missed);
        self.missed = Some(missed);
    }

    pub(super) fn deadline(&self, end: i64) -> u64 {
        end.max(0).unsigned_abs().saturating_mul(1_000_000_000).saturating_add(self.grace_ns)
    }

    /// Whether a bar was due before `at_ns`. The clock decides even if nobody has closed it yet, so that bars do not
    /// depend on how promptly that is done.
    fn is_late(&self, start: i64, end: i64, at_ns: u64) -> bool {
        self.deadline(end) <= at_ns || start < self.closed_until
    }

    /// Gives volume whose bar is gone to the bar that forms, or keeps it for the next one.
    fn carry(&mut self, volume: u64, session: &Session, at_ns: u64) {
        let forming = self.open.back().is_some_and(|bar| self.deadline(bar.end) > at_ns);
        match self.open.back_mut().filter(|_| forming) {
            Some(bar) => bar.volume += volume,
            None => {
                let kept = if self.carried.1 == session.open { self.carried.0 } else { 0 };
                self.tally.lost_volume += self.carried.0 - kept;
                self.carried = (kept + volume, session.open);
            }
        }
    }

    /// The open bar with that start, made if there is none.
    fn bar_at(&mut self, start: i64, end: i64, print: &Print) -> &mut Candle {
        let at = self.open.partition_point(|bar| bar.start < start);
        if self.open.get(at).is_none_or(|bar| bar.start != start) {
            let partial = self.missed.is_some_and(|missed| missed.touches(start, end));
            let price = print.price;
            let bar = Candle { partial, closed: false, ..Candle::historical(start, end, price, price, price, price) };
            self.open.insert(at, bar);
        }
        &mut self.open[at]
    }

    /// The bar of the day is told by each packet as a whole, auctions and corrections included.
    fn add_to_day(&mut self, print: &Print, session: &Session) -> Outcome {
        let settled = self.settle(print);
        let (start, end) = (session.date.midnight(), session.end());
        let late = self.is_late(start, end, print.received_ns);
        if !print.day.traded || late {
            self.tally.late += u64::from(late && print.counts);
            return settled.map_or(if late { Outcome::Late } else { Outcome::Idle }, Outcome::Settled);
        }
        let bar = self.bar_at(start, end, print);
        match print.day.range {
            Some((open, high, low)) => {
                (bar.open, bar.high, bar.low, bar.partial) = (open, high.max(print.price), low.min(print.price), false);
            }
            None => (bar.high, bar.low) = (bar.high.max(print.high), bar.low.min(print.low)),
        }
        (bar.close, bar.volume, bar.oi) = (print.price, print.day.volume, print.oi);
        bar.packets = bar.packets.saturating_add(u32::from(print.counts));
        bar.by_receipt |= print.by_receipt;
        settled.map_or(Outcome::Formed, Outcome::Settled)
    }

    /// Yesterday's bar with its official close, told once on the next trading date. A close beyond that day's range is
    /// none: then a split or the like has restated it.
    fn settle(&mut self, print: &Print) -> Option<Candle> {
        let (date, close) = print.day.previous?;
        let bar = self.yesterday.filter(|bar| bar.start <= date.midnight())?;
        self.yesterday = None;
        let official = bar.start == date.midnight() && (bar.low..=bar.high).contains(&close) && close != bar.close;
        official.then_some(Candle { close, revised: true, ..bar })
    }

    fn close(&mut self, mut bar: Candle) -> Candle {
        self.sequence += 1;
        (bar.closed, bar.sequence) = (true, self.sequence);
        self.closed_until = bar.end;
        if bar.partial {
            remember(&mut self.unsettled, (bar.start, bar.sequence), UNSETTLED);
        }
        if self.timeframe == Timeframe::Day {
            self.yesterday = Some(bar);
        }
        bar
    }

    /// The feed is back.
    fn resume(&mut self, missed: Missed) {
        let from =
            self.missed.filter(|open| open.until == i64::MAX).map_or(missed.from, |open| open.from.min(missed.from));
        let missed = Missed { from, ..missed };
        self.mark(missed);
        self.missed = Some(missed);
        remember(&mut self.outages, missed, OUTAGES);
    }

    fn mark(&mut self, missed: Missed) {
        for bar in &mut self.open {
            bar.partial |= missed.touches(bar.start, bar.end);
        }
    }
}

/// Appends to a list that keeps its newest `most` entries.
fn remember<T>(list: &mut VecDeque<T>, entry: T, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(entry);
}
