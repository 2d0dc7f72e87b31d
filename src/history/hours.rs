//! Where the bars of a history begin and end, which no history says: the trading hours do.

use crate::market::calendar::Date;
use crate::market::calendar::date::DAY_S;
use crate::market::{Calendar, Candle, SegmentKind, Session, Timeframe};

/// More days than any exchange was ever closed.
const HORIZON_DAYS: i64 = 30;

/// The hours of one kind of instrument, for times that come in order: remembers the session of the last date.
#[derive(Debug)]
pub(super) struct Hours<'a> {
    calendar: &'a Calendar,
    kind: SegmentKind,
    last: Option<(Date, Option<Session>)>,
}

impl<'a> Hours<'a> {
    pub fn new(calendar: &'a Calendar, kind: SegmentKind) -> Self {
        Self { calendar, kind, last: None }
    }

    /// Start and end of the bar that a history stamps with `stamp`. At times at which the calendar knows of no trading,
    /// the history knows better, and the bar has its full length. `None` when a bar cannot begin then: another one of
    /// the session is under way.
    pub fn stamped(&mut self, timeframe: Timeframe, stamp: i64) -> Option<(i64, i64)> {
        let Some(length) = timeframe.seconds() else {
            // Whatever the hour of the stamp, it is the date that counts.
            let start = Date::of(stamp).midnight();
            return Some((start, self.session(stamp).map_or(start + DAY_S, Session::end)));
        };
        match self.bucket(timeframe, stamp) {
            None => Some((stamp, stamp + length)),
            Some((start, end)) => (start == stamp).then_some((start, end)),
        }
    }

    /// Builds bars of a longer timeframe from those of a minute, the oldest first. Minutes outside of trading hours are
    /// in no bar. A bar that is still missing minutes is built from those there are, and nobody can tell from it.
    pub fn build(&mut self, minutes: &[Candle], timeframe: Timeframe) -> Vec<Candle> {
        let mut bars: Vec<Candle> = Vec::new();
        for minute in minutes {
            let Some((start, end)) = self.bucket(timeframe, minute.start) else { continue };
            match bars.last_mut().filter(|bar| bar.start == start) {
                Some(bar) => {
                    bar.high = bar.high.max(minute.high);
                    bar.low = bar.low.min(minute.low);
                    bar.close = minute.close;
                    bar.volume = bar.volume.saturating_add(minute.volume);
                    bar.oi = minute.oi;
                }
                None => bars.push(Candle { start, end, ..*minute }),
            }
        }
        bars
    }

    /// When the newest bar ended that can have ended by `until`; `until` itself when nothing was traded for a month.
    pub fn last_end(&mut self, timeframe: Timeframe, until: i64) -> i64 {
        let ends = (0..HORIZON_DAYS).find_map(|days| {
            let session = self.session(until - days * DAY_S)?;
            match timeframe.seconds() {
                None => Some(session.end()).filter(|end| *end <= until),
                Some(_) if session.close <= until => Some(session.close),
                Some(length) => {
                    let bars = (until - session.open).div_euclid(length);
                    (bars > 0).then_some(session.open + bars * length)
                }
            }
        });
        ends.unwrap_or(until)
    }

    fn bucket(&mut self, timeframe: Timeframe, unix_s: i64) -> Option<(i64, i64)> {
        self.session(unix_s).and_then(|session| timeframe.bucket(session, unix_s))
    }

    fn session(&mut self, unix_s: i64) -> Option<&Session> {
        let date = Date::of(unix_s);
        if self.last.as_ref().is_none_or(|(known, _)| *known != date) {
            self.last = Some((date, self.calendar.session(self.kind, date)));
        }
        self.last.as_ref().and_then(|(_, session)| session.as_ref())
    }
}

/// A price in rupees as the raw integer of its segment, rounded to the nearest; `None` when it is none or too large.
pub(super) fn raw_price(rupees: f64, divisor: i64) -> Option<i32> {
    let raw = (rupees * divisor as f64).round();
    (f64::from(i32::MIN) <= raw && raw <= f64::from(i32::MAX)).then_some(raw as i32)
}

/// Whether the prices of a bar are in order: nothing above the high, nothing below the low.
pub(super) fn is_bar(bar: &Candle) -> bool {
    bar.high >= bar.open.max(bar.close).max(bar.low) && bar.low <= bar.open.min(bar.close)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::calendar::Ist;

    fn at(time: &str) -> i64 {
        let (date, clock) = time.split_once(' ').unwrap();
        let parts: Vec<i64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
        date.parse::<Date>().unwrap().midnight() + parts[0] * 3_600 + parts[1] * 60
    }

    #[test]
    fn a_stamp_says_where_a_bar_ends() {
        let calendar = Calendar::built_in().unwrap();
        let mut hours = Hours::new(&calendar, SegmentKind::Cash);
        let mut ends = |timeframe, stamp| {
            hours.stamped(timeframe, at(stamp)).map(|(_, end)| Ist(end).to_string()[5..16].to_owned())
        };
        assert_eq!(ends(Timeframe::Min5, "2026-08-03 09:15").as_deref(), Some("08-03T09:20"));
        // The last hour of the day is short.
        assert_eq!(ends(Timeframe::Min60, "2026-08-03 15:15").as_deref(), Some("08-03T15:30"));
        assert_eq!(ends(Timeframe::Min5, "2026-08-03 09:16"), None);
        // A Sunday, and an hour at which nothing is traded: the history knows better.
        assert_eq!(ends(Timeframe::Min5, "2026-08-02 09:16").as_deref(), Some("08-02T09:21"));
        assert_eq!(ends(Timeframe::Min5, "2026-08-03 20:00").as_deref(), Some("08-03T20:05"));
        assert_eq!(ends(Timeframe::Day, "2026-08-03 05:30").as_deref(), Some("08-03T16:00"));
        assert_eq!(ends(Timeframe::Day, "2026-08-02 00:00").as_deref(), Some("08-03T00:00"));
    }

    #[test]
    fn the_newest_bar_that_can_be_over() {
        let calendar = Calendar::built_in().unwrap();
        let mut hours = Hours::new(&calendar, SegmentKind::Cash);
        let mut last = |timeframe, until| Ist(hours.last_end(timeframe, at(until))).to_string()[5..16].to_owned();
        assert_eq!(last(Timeframe::Min5, "2026-08-03 09:31"), "08-03T09:30");
        assert_eq!(last(Timeframe::Min5, "2026-08-03 09:20"), "08-03T09:20");
        assert_eq!(last(Timeframe::Min60, "2026-08-03 15:31"), "08-03T15:30");
        // Monday before the first bar is over: Friday's last.
        assert_eq!(last(Timeframe::Min5, "2026-08-03 09:19"), "07-31T15:30");
        assert_eq!(last(Timeframe::Day, "2026-08-03 15:59"), "07-31T16:00");
        assert_eq!(last(Timeframe::Day, "2026-08-03 16:00"), "08-03T16:00");
    }

    #[test]
    fn longer_bars_are_built_from_minutes() {
        let calendar = Calendar::built_in().unwrap();
        let minute = |clock: &str, [open, high, low, close]: [i32; 4], volume| {
            let start = at(&format!("2026-08-03 {clock}"));
            Candle { volume, oi: volume as u32, ..Candle::historical(start, start + 60, open, high, low, close) }
        };
        let minutes = [
            minute("09:14", [1, 9, 1, 1], 1_000),
            minute("09:15", [10, 12, 9, 11], 1),
            minute("09:19", [11, 15, 10, 14], 2),
            minute("09:20", [14, 14, 8, 8], 4),
            minute("15:29", [8, 8, 8, 8], 8),
            minute("15:30", [7, 7, 7, 7], 16),
        ];
        let mut hours = Hours::new(&calendar, SegmentKind::Cash);
        let built = hours.build(&minutes, Timeframe::Min5);
        let shown: Vec<_> = built.iter().map(|bar| (bar.open, bar.high, bar.low, bar.close, bar.volume)).collect();
        assert_eq!(shown, [(10, 15, 9, 14, 3), (14, 14, 8, 8, 4), (8, 8, 8, 8, 8)]);
        assert_eq!((built[0].start, built[0].end, built[0].oi), (minutes[1].start, minutes[3].start, 2));
        // The day has all of the date's minutes in its hours, the pre-open and those at the closing price included.
        let day = hours.build(&minutes, Timeframe::Day);
        assert_eq!((day.len(), day[0].volume, day[0].start), (1, 1_031, at("2026-08-03 00:00")));
    }

    #[test]
    fn rupees_become_raw_prices() {
        assert_eq!(raw_price(1_386.45, 100), Some(138_645));
        assert_eq!(raw_price(0.07, 100), Some(7));
        assert_eq!(raw_price(83.2475, 10_000_000), Some(832_475_000));
        assert_eq!(raw_price(-37.63, 100), Some(-3_763));
        assert_eq!(raw_price(f64::NAN, 100), None);
        assert_eq!(raw_price(1e9, 100), None);
    }
}
