//! From snapshots to trades: what was traded between two packets of one instrument.

use super::extremes::{new_extremes, range};
use super::print::{DayView, Missed, Print};
use super::volume::Volume;
use crate::market::calendar::{Calendar, Date, SegmentKind, Session};
use crate::market::{Layout, Mode, Ohlc, Tick};
use serde::{Deserialize, Serialize};

/// What can be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TradesOptions {
    /// Extends a bar by the day's high (low) when that has just risen (fallen): the extreme was traded since the packet
    /// before, even if no packet had it as its last price. An inference, hence the switch; on by default.
    pub day_extremes: bool,
    /// Adds the volume of the opening auction to the first bar behind it; off by default.
    pub preopen_volume: bool,
}

impl Default for TradesOptions {
    fn default() -> Self {
        Self { day_extremes: true, preopen_volume: false }
    }
}

/// What was counted, for operators.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct TradesTally {
    /// Packets older than one before, dropped.
    pub out_of_order: u64,
    /// Packets whose cumulative volume fell within a day, taken without volume.
    pub fallen: u64,
    /// Packets without a trade.
    pub quiet: u64,
    /// Packets with a trade at a time when no bar within the day is formed.
    pub outside: u64,
}

/// One instrument's view of its trading day. Serves all its timeframes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trades {
    kind: SegmentKind,
    options: TradesOptions,
    last: Option<Last>,
    /// Newest exchange time; older packets are dropped.
    newest_stamp: u32,
    /// Volume of the opening auction that no bar has taken.
    preopen: u64,
    /// Since when the feed is gone, if it is; Unix seconds.
    interrupted: Option<i64>,
    /// The trading date before that of `last`.
    previous: Option<Date>,
    tally: TradesTally,
    /// The session of `last`'s date; found again after a restart.
    #[serde(skip)]
    session: Option<Session>,
    /// The date of which `session` is.
    #[serde(skip)]
    entered: Option<Date>,
}

/// What is kept of the packet before.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Last {
    date: Date,
    /// Whether the date is the exchange's; the date of receipt may be that of a snapshot from days ago.
    dated: bool,
    /// Exchange time or else that of receipt.
    time: i64,
    /// The day's cumulative volume as the wire has it: the baseline.
    cumulative: u32,
    /// The same beyond 32 bits.
    volume: u64,
    ohlc: Ohlc,
}

impl Trades {
    /// Knows nothing yet.
    pub const fn new(kind: SegmentKind, options: TradesOptions) -> Self {
        let tally = TradesTally { out_of_order: 0, fallen: 0, quiet: 0, outside: 0 };
        Self {
            kind,
            options,
            last: None,
            newest_stamp: 0,
            preopen: 0,
            interrupted: None,
            previous: None,
            tally,
            session: None,
            entered: None,
        }
    }

    /// The hours it follows.
    pub const fn kind(&self) -> SegmentKind {
        self.kind
    }

    /// What was counted.
    pub const fn tally(&self) -> TradesTally {
        self.tally
    }

    /// The session of the newest packet.
    pub const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The feed was lost at `at` (Unix seconds), or this state was stored then and comes back after a restart: what is
    /// traded until the next packet is not seen.
    pub fn interrupt(&mut self, at: i64) {
        self.interrupted.get_or_insert(at);
    }

    /// Takes a packet that came at `received_ns` (nanoseconds since 1970). `None` when it says nothing that any bar
    /// needs: it is out of order, from an earlier day, has no volume to judge by, or its date has no session.
    ///
    /// O(1); asks the calendar once per date.
    pub fn observe(&mut self, tick: &Tick, received_ns: u64, calendar: &Calendar) -> Option<Print> {
        let index = tick.layout == Layout::Index || !tick.token.segment().tradable();
        if !index && tick.mode == Mode::Ltp {
            return None;
        }
        let received = (received_ns / 1_000_000_000) as i64;
        let dated = tick.exchange_timestamp != 0;
        if dated && tick.exchange_timestamp < self.newest_stamp {
            self.tally.out_of_order += 1;
            return None;
        }
        self.newest_stamp = self.newest_stamp.max(tick.exchange_timestamp);
        let time = if dated { i64::from(tick.exchange_timestamp) } else { received };
        let before = self.last;
        let new_date = before.is_none_or(|last| last.date != Date::of(time));
        let repeated = before.is_some_and(|last| last.cumulative == tick.volume_traded);
        if new_date && repeated && !dated && !index {
            // A snapshot of an earlier day, sent again without its time.
            return None;
        }
        self.enter(Date::of(time), calendar);
        let meaning = self.volume(tick, dated, new_date);
        let missed = self.missed(tick, index, time, meaning);
        let day_volume = self.remember(tick, time, dated, new_date, meaning);
        if Date::of(received) > Date::of(time) {
            // What the exchange said last, days ago: good as a baseline and for nothing else.
            return None;
        }
        let session = self.session.as_ref()?;
        let traded_at = match tick.last_trade_time {
            _ if index || !dated => time,
            0 => time,
            trade => i64::from(trade),
        };
        let within = session.is_open(traded_at);
        let rose = meaning.traded();
        let counts = within && (index || rose > 0);
        let mut volume = 0;
        if counts {
            volume = rose + std::mem::take(&mut self.preopen);
        } else if rose > 0 {
            self.tally.outside += 1;
            if self.options.preopen_volume && traded_at < session.open {
                self.preopen += rose;
            }
        } else {
            self.tally.quiet += 1;
        }
        let (mut high, mut low) = (tick.last_price, tick.last_price);
        let comparable = before.filter(|last| !new_date && missed.is_none() && session.is_open(last.time));
        if let Some(last) = comparable.filter(|_| counts && self.options.day_extremes) {
            (high, low) = new_extremes(&last.ohlc, &tick.ohlc, tick.last_price);
        }
        let begun = time >= session.open;
        // At nine o'clock an exchange may still tell yesterday's volume; the time of the last trade gives it away.
        let of_today = tick.last_trade_time == 0 || session.on_date(i64::from(tick.last_trade_time));
        Some(Print {
            time: traded_at,
            received_ns,
            price: tick.last_price,
            high,
            low,
            volume,
            oi: tick.oi,
            by_receipt: !dated,
            counts,
            missed,
            day: DayView {
                range: range(&tick.ohlc),
                volume: day_volume,
                traded: match (index, dated) {
                    (true, _) => begun,
                    (false, true) => day_volume > 0 && of_today,
                    // Of a snapshot without a time only a rise says that it is of today.
                    (false, false) => begun && rose > 0,
                },
                previous: self.previous.filter(|_| begun && tick.ohlc.close != 0).map(|date| (date, tick.ohlc.close)),
            },
        })
    }

    /// Begins a date, or finds its session again after a restart.
    fn enter(&mut self, date: Date, calendar: &Calendar) {
        if self.entered != Some(date) {
            self.entered = Some(date);
            self.session = calendar.session(self.kind, date);
            self.previous = calendar.previous(self.kind, date);
        }
    }

    /// What the packet's cumulative volume means, given the one before.
    fn volume(&self, tick: &Tick, dated: bool, new_date: bool) -> Volume {
        let cumulative = tick.volume_traded;
        let Some(last) = self.last else { return Volume::Unknown };
        // The wire counts in 32 bits and may wrap: half of their range forward is a rise, the other half is a fall.
        let difference = cumulative.wrapping_sub(last.cumulative);
        let fell = difference > i32::MAX.unsigned_abs();
        if new_date {
            return match (self.interrupted.is_some(), dated) {
                // The day may have been going on for hours.
                (true, _) => Volume::Unknown,
                (false, true) => Volume::Began(cumulative),
                // By the clock of receipt it is another date, but only a fall proves that the count began anew.
                (false, false) if fell => Volume::Began(cumulative),
                (false, false) => Volume::Unknown,
            };
        }
        // Before the open nothing of the day can be lost, so a fall is the reset of the count, told late. The same goes
        // for a baseline of unknown age, from a packet without a time.
        let before_open = self.session.as_ref().is_some_and(|session| last.time < session.open);
        match difference {
            0 => Volume::Same,
            _ if fell && (before_open || (dated && !last.dated)) => Volume::Began(cumulative),
            _ if fell => Volume::Fell,
            rise => Volume::Rose(rise),
        }
    }

    /// What was not seen before this packet; asked before it is remembered.
    fn missed(&self, tick: &Tick, index: bool, time: i64, meaning: Volume) -> Option<Missed> {
        let session = self.session.as_ref()?;
        match (self.last, self.interrupted) {
            (Some(last), Some(from)) if session.on_date(last.time) => return Some(Missed { from, until: time }),
            (Some(_), None) if (index || !matches!(meaning, Volume::Unknown)) => return None,
            _ => {}
        }
        // Joined: nothing was missed of a session that has not begun, or in which nothing has been traded.
        let untouched = match tick.last_trade_time {
            0 => tick.volume_traded == 0,
            trade => i64::from(trade) < session.open,
        };
        (time >= session.open && (index || !untouched)).then_some(Missed { from: time, until: time })
    }

    /// Keeps what the next packet is compared with; returns the volume of the day so far.
    fn remember(&mut self, tick: &Tick, time: i64, dated: bool, new_date: bool, meaning: Volume) -> u64 {
        let cumulative = tick.volume_traded;
        let before = self.last;
        let volume = match (before, meaning) {
            (Some(last), Volume::Rose(by)) => last.volume + u64::from(by),
            (Some(last), Volume::Same | Volume::Fell) => last.volume,
            _ => u64::from(cumulative),
        };
        if new_date || matches!(meaning, Volume::Began(_)) {
            self.preopen = 0;
        }
        let before_open = self.session.as_ref().is_some_and(|session| time < session.open);
        if matches!(meaning, Volume::Unknown) && dated && before_open && self.options.preopen_volume {
            self.preopen = u64::from(cumulative);
        }
        let fell = matches!(meaning, Volume::Fell);
        self.tally.fallen += u64::from(fell);
        self.interrupted = None;
        self.last = Some(Last {
            date: Date::of(time),
            dated: dated || before.is_some_and(|last| last.dated && !new_date),
            time,
            cumulative: before.filter(|_| fell).map_or(cumulative, |last| last.cumulative),
            volume,
            ohlc: tick.ohlc,
        });
        volume
    }
}
