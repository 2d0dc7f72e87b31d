//! How long a bar is, and where it begins.

use super::calendar::Session;
use std::fmt;
use std::str::FromStr;

/// The length of a bar.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Timeframe {
    /// One minute.
    Min1,
    /// Three minutes.
    Min3,
    /// Five minutes.
    Min5,
    /// Ten minutes.
    Min10,
    /// A quarter of an hour.
    Min15,
    /// Half an hour.
    Min30,
    /// An hour.
    Min60,
    /// A trading date, which is not 24 hours.
    Day,
}

/// A text that names no timeframe.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no timeframe; there are 1min, 3min, 5min, 10min, 15min, 30min, 60min and 1day")]
pub struct UnknownTimeframe(pub String);

impl Timeframe {
    /// All timeframes, the shortest first.
    pub const ALL: [Self; 8] =
        [Self::Min1, Self::Min3, Self::Min5, Self::Min10, Self::Min15, Self::Min30, Self::Min60, Self::Day];

    /// The canonical name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Min1 => "1min",
            Self::Min3 => "3min",
            Self::Min5 => "5min",
            Self::Min10 => "10min",
            Self::Min15 => "15min",
            Self::Min30 => "30min",
            Self::Min60 => "60min",
            Self::Day => "1day",
        }
    }

    /// Its length in seconds; `None` for the trading date, which ends when the session does.
    pub const fn seconds(self) -> Option<i64> {
        match self {
            Self::Min1 => Some(60),
            Self::Min3 => Some(180),
            Self::Min5 => Some(300),
            Self::Min10 => Some(600),
            Self::Min15 => Some(900),
            Self::Min30 => Some(1_800),
            Self::Min60 => Some(3_600),
            Self::Day => None,
        }
    }

    /// The bar in which a Unix time (seconds) lies, as start and end: `start <= t < end`. `None` when no bar has it.
    ///
    /// Within the day bars are counted from the session's open, and the last one ends with continuous trading however
    /// short it gets (Kite aligns to 09:15, forum 15973). The day's bar is stamped with Indian midnight, as in Kite's
    /// history, and has all of the session from the pre-open to the trades at the closing price.
    pub fn bucket(self, session: &Session, unix_s: i64) -> Option<(i64, i64)> {
        match self.seconds() {
            Some(length) => session.is_open(unix_s).then(|| {
                let start = session.open + (unix_s - session.open) / length * length;
                (start, (start + length).min(session.close))
            }),
            None => {
                let (start, end) = (session.date.midnight(), session.end());
                (start <= unix_s && unix_s < end).then_some((start, end))
            }
        }
    }
}

impl fmt::Display for Timeframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every spelling in use: minutes alone (`5`), with a unit in front of or behind which Kite, TradingView and people put
/// it (`5min`, `5m`, `5minute`, `minute`, `1h`), and those of a day. Case and surrounding space do not count.
impl FromStr for Timeframe {
    type Err = UnknownTimeframe;

    fn from_str(text: &str) -> Result<Self, UnknownTimeframe> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = lower.split_at(digits);
        let count = if count.is_empty() && !unit.is_empty() { Some(1) } else { count.parse::<u32>().ok() };
        let minutes = match unit.trim() {
            // A bare unit is a whole word: `m` alone could as well be a month.
            "m" | "min" | "mins" if digits == 0 => None,
            "" | "m" | "min" | "mins" | "minute" | "minutes" => count,
            "h" | "hr" if digits == 0 => None,
            "h" | "hr" | "hour" | "hours" if count == Some(1) => Some(60),
            "d" | "day" | "days" if count == Some(1) => return Ok(Self::Day),
            _ => None,
        };
        let length = minutes.map(|minutes| i64::from(minutes) * 60);
        let found = Self::ALL.into_iter().find(|timeframe| length.is_some() && timeframe.seconds() == length);
        found.ok_or_else(|| UnknownTimeframe(text.to_owned()))
    }
}

impl From<Timeframe> for &'static str {
    fn from(timeframe: Timeframe) -> Self {
        timeframe.name()
    }
}

impl TryFrom<String> for Timeframe {
    type Error = UnknownTimeframe;

    fn try_from(text: String) -> Result<Self, UnknownTimeframe> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::calendar::{Calendar, Ist, SegmentKind};

    #[test]
    fn every_spelling_names_its_bars() {
        for (timeframe, spellings) in [
            (Timeframe::Min1, "1 1min 1m minute 1minute 1MIN"),
            (Timeframe::Min3, "3 3min 3m 3minute"),
            (Timeframe::Min5, "5 5min 5m 5minute 5Min"),
            (Timeframe::Min10, "10 10min 10m 10minute"),
            (Timeframe::Min15, "15 15min 15m 15minute"),
            (Timeframe::Min30, "30 30min 30m 30minute"),
            (Timeframe::Min60, "60 60min 60m 60minute 1h 1H 1hour hour"),
            (Timeframe::Day, "1day day 1d 1D D"),
        ] {
            for spelling in spellings.split(' ') {
                assert_eq!(spelling.parse(), Ok(timeframe), "{spelling}");
            }
            assert_eq!(timeframe.name().parse(), Ok(timeframe));
            let json = serde_json::to_string(&timeframe).unwrap();
            assert_eq!(serde_json::from_str::<Timeframe>(&json).unwrap(), timeframe);
        }
        for wrong in
            ["", " ", "2", "2min", "0", "m", "h", "min", "2h", "2d", "week", "1w", "1 month", "5minx", "-5", "5.0"]
        {
            assert_eq!(wrong.parse::<Timeframe>(), Err(UnknownTimeframe(wrong.to_owned())));
        }
        let error = "7min".parse::<Timeframe>().unwrap_err().to_string();
        assert!(error.contains("7min") && Timeframe::ALL.iter().all(|timeframe| error.contains(timeframe.name())));
    }

    fn bars(kind: SegmentKind, day: &str, timeframe: Timeframe) -> Vec<(i64, i64)> {
        let session = Calendar::built_in().unwrap().session(kind, day.parse().unwrap()).unwrap();
        let mut bars: Vec<_> =
            (session.open - 3_600..session.close + 3_600).filter_map(|t| timeframe.bucket(&session, t)).collect();
        bars.dedup();
        bars
    }

    #[test]
    fn bars_follow_each_other_and_the_last_is_cut() {
        for (kind, day, timeframe, count, last_s) in [
            (SegmentKind::EquityDerivatives, "2026-08-03", Timeframe::Min3, 129, 60),
            (SegmentKind::EquityDerivatives, "2026-08-03", Timeframe::Min15, 26, 600),
            (SegmentKind::EquityDerivatives, "2026-08-03", Timeframe::Min30, 13, 1_500),
            (SegmentKind::EquityDerivatives, "2026-08-03", Timeframe::Min60, 7, 1_500),
            (SegmentKind::CashFno, "2026-08-03", Timeframe::Min60, 6, 3_600),
            (SegmentKind::Cash, "2026-08-03", Timeframe::Min60, 7, 900),
            (SegmentKind::Cash, "2026-08-03", Timeframe::Min1, 375, 60),
            (SegmentKind::McxNonAgri, "2026-11-20", Timeframe::Min60, 15, 3_300),
        ] {
            let bars = bars(kind, day, timeframe);
            assert!(bars.windows(2).all(|two| two[0].1 == two[1].0));
            let last = bars[bars.len() - 1];
            assert_eq!((bars.len(), last.1 - last.0), (count, last_s), "{kind:?} {timeframe}");
        }
        assert!(Ist(bars(SegmentKind::Cash, "2026-08-03", Timeframe::Min60)[1].0).to_string().contains("T10:15:00"));
        assert!(
            Ist(bars(SegmentKind::McxNonAgri, "2026-08-03", Timeframe::Min60)[1].0).to_string().contains("T10:00:00")
        );
    }

    #[test]
    fn the_day_s_bar_begins_at_midnight_and_has_the_closing_auction() {
        let session =
            Calendar::built_in().unwrap().session(SegmentKind::CashFno, "2026-08-03".parse().unwrap()).unwrap();
        let bar = Timeframe::Day.bucket(&session, session.close + 1_000);
        assert_eq!(bar, Some((session.date.midnight(), session.close + 45 * 60)));
        assert_eq!(Timeframe::Min1.bucket(&session, session.close), None);
    }
}
