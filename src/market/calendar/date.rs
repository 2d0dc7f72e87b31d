//! Dates of India and the little arithmetic they need. No table of time zones: IST has been UTC+05:30 without a change
//! of clocks since 1945.

use std::fmt;
use std::str::FromStr;

/// Indian Standard Time is five and a half hours ahead of UTC, all year.
pub const IST_OFFSET_S: i64 = 19_800;

/// Seconds of a day.
pub const DAY_S: i64 = 86_400;

/// A day of the Gregorian calendar, as days since 1 January 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Date(pub i32);

/// A text that is no date.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no date; one is written 2026-08-03")]
pub struct BadDate(String);

impl Date {
    /// The date of a year, a month from 1 and a day from 1; `None` when there is no such day.
    pub fn new(year: i32, month: u32, day: u32) -> Option<Self> {
        if !(1..=12).contains(&month) || day == 0 || !(1..=9999).contains(&year) {
            return None;
        }
        // Years begin with March here, so that the leap day is the last of its year (Hinnant, days_from_civil).
        let year = i64::from(year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * (i64::from(month) + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        let date = Self(days as i32);
        // A day that does not exist, such as 30 February, comes back as another one.
        (date.civil().1 == month && date.civil().2 == day).then_some(date)
    }

    /// Year, month from 1, day from 1.
    pub fn civil(self) -> (i32, u32, u32) {
        let days = i64::from(self.0) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        ((year + era * 400 + i64::from(month <= 2)) as i32, month as u32, day as u32)
    }

    /// The date in India at a Unix time in seconds.
    pub const fn of(unix_s: i64) -> Self {
        Self((unix_s + IST_OFFSET_S).div_euclid(DAY_S) as i32)
    }

    /// Midnight in India with which the date begins, Unix seconds.
    pub const fn midnight(self) -> i64 {
        self.0 as i64 * DAY_S - IST_OFFSET_S
    }

    /// The date so many days later.
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0 + days)
    }

    /// 0 for Monday to 6 for Sunday.
    pub const fn weekday(self) -> u32 {
        // Day 0 was a Thursday.
        (self.0 + 3).rem_euclid(7) as u32
    }

    /// Whether New York has daylight saving time on this date, which moves the evening close of MCX: from the second
    /// Sunday of March to before the first Sunday of November (Energy Policy Act of 2005, in force since 2007).
    pub fn us_daylight_time(self) -> bool {
        let (year, ..) = self.civil();
        let sunday = |month, nth: i32| {
            Self::new(year, month, 1).map(|first| first.plus((6 - first.weekday() as i32) + 7 * (nth - 1)))
        };
        sunday(3, 2).is_some_and(|from| from <= self) && sunday(11, 1).is_some_and(|until| self < until)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Date {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Self, BadDate> {
        let mut parts = text.splitn(3, '-').map(str::parse::<u32>);
        let mut next = || parts.next().and_then(Result::ok);
        let date = match (next(), next(), next()) {
            (Some(year), Some(month), Some(day)) if text.len() == 10 => Self::new(year as i32, month, day),
            _ => None,
        };
        date.ok_or_else(|| BadDate(text.to_owned()))
    }
}

/// A Unix time in seconds as RFC 3339 in Indian time: `2026-08-03T09:15:00+05:30`.
#[derive(Clone, Copy, Debug)]
pub struct Ist(pub i64);

impl fmt::Display for Ist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = Date::of(self.0);
        let second = self.0 - date.midnight();
        write!(f, "{date}T{:02}:{:02}:{:02}+05:30", second / 3_600, second / 60 % 60, second % 60)
    }
}

/// A Unix time in seconds as RFC 3339 in UTC: `2026-08-03T03:45:00Z`. Years 0 to 9999.
#[derive(Clone, Copy, Debug)]
pub struct Utc(pub i64);

impl Utc {
    /// Reads what [`Utc::text`] writes, and parts of a second, which are passed over; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
        let date: Date = date.parse().ok()?;
        let (clock, parts) = clock.split_once('.').unwrap_or((clock, "0"));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let mut fields =
            clock.split(':').map(|field| field.parse::<u32>().ok().filter(|_| field.len() == 2 && digits(field)));
        let (hour, minute, second) = (fields.next()??, fields.next()??, fields.next()??);
        let fits = hour < 24 && minute < 60 && second < 60 && fields.next().is_none() && digits(parts);
        let second = i64::from(hour * 3_600 + minute * 60 + second);
        fits.then(|| Self(i64::from(date.0) * DAY_S + second))
    }

    /// The text, without memory of its own: it is written for every value of an indicator.
    pub fn text(self) -> UtcText {
        let (year, month, day) = Date(self.0.div_euclid(DAY_S) as i32).civil();
        let second = self.0.rem_euclid(DAY_S) as u32;
        let mut text = *b"0000-00-00T00:00:00Z";
        let mut put = |at: usize, digits: usize, mut number: u32| {
            for place in text[at..at + digits].iter_mut().rev() {
                *place = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 4, year.clamp(0, 9_999).unsigned_abs());
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, second / 3_600);
        put(14, 2, second / 60 % 60);
        put(17, 2, second % 60);
        UtcText(text)
    }
}

/// See [`Utc::text`].
#[derive(Clone, Copy, Debug)]
pub struct UtcText([u8; 20]);

impl UtcText {
    /// The text.
    pub fn as_str(&self) -> &str {
        // Only digits are ever put into it.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_is_written_in_full() {
        assert_eq!(Utc(1_762_257_900).to_string(), "2025-11-04T12:05:00Z");
        assert_eq!(Utc(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Utc(951_868_799).to_string(), "2000-02-29T23:59:59Z");
    }

    #[test]
    fn utc_is_read_as_it_is_written() {
        for text in ["2026-08-03T03:45:59Z", "1969-12-31T23:59:59Z", "2024-02-29T00:00:00Z"] {
            assert_eq!(Utc::parse(text).map(|utc| utc.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Utc::parse("1970-01-01T00:01:00.250Z").unwrap().0, 60);
        for wrong in [
            "",
            "2026-08-03",
            "2026-08-03T03:45Z",
            "2026-08-03T03:45:60Z",
            "2026-13-03T03:45:00Z",
            "2026-08-03T03:45:00+05:30",
            "2026-08-03T3:45:00Z",
            "2026-08-03T+3:45:00Z",
            "2026-08-03T03:45:00.xZ",
        ] {
            assert!(Utc::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn dates_and_days_convert_both_ways() {
        assert_eq!(Date::new(1970, 1, 1), Some(Date(0)));
        assert_eq!(Date::new(2000, 2, 29), Some(Date(11_016)));
        for days in (-200_000..200_000).step_by(17) {
            let (year, month, day) = Date(days).civil();
            assert_eq!(Date::new(year, month, day), Some(Date(days)));
        }
        for (year, month, day) in [(2026, 2, 29), (2026, 0, 1), (2026, 13, 1), (2026, 4, 31), (2026, 4, 0)] {
            assert_eq!(Date::new(year, month, day), None);
        }
        assert_eq!("2026-08-03".parse::<Date>().unwrap().to_string(), "2026-08-03");
        for text in ["", "2026-8-3", "03-08-2026", "2026-08-03T", "2026-02-30", "2026/08/03"] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_day_begins_at_indian_midnight() {
        let date: Date = "2026-11-20".parse().unwrap();
        assert_eq!(date.weekday(), 4);
        assert_eq!(Date::of(date.midnight()), date);
        assert_eq!(Date::of(date.midnight() - 1), date.plus(-1));
        assert_eq!(Ist(1_795_146_300).to_string(), "2026-11-20T09:15:00+05:30");
    }

    #[test]
    fn new_york_changes_its_clocks_on_sundays() {
        let daylight = |text: &str| text.parse::<Date>().unwrap().us_daylight_time();
        assert!(!daylight("2026-03-07") && daylight("2026-03-08"));
        assert!(daylight("2026-10-31") && !daylight("2026-11-01"));
        assert!(!daylight("2027-03-13") && daylight("2027-03-14") && daylight("2027-11-06") && !daylight("2027-11-07"));
    }
}
