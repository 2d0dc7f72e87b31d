//! From text to a [`Calendar`], with every rule checked, since a wrong hour would silently cut everybody's bars.

use super::{BadDate, Calendar, Date, DayPhase, Holiday, Market, SegmentKind, Special, State, Template};
use serde::Deserialize;

/// Why a text is no calendar.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CalendarError {
    /// It is no TOML, or has fields that a calendar does not have.
    #[error("{0}")]
    Syntax(String),
    /// A date that is none.
    #[error("{place}: {source}")]
    Date {
        /// Which entry.
        place: String,
        /// The date.
        source: BadDate,
    },
    /// A time of day that is none.
    #[error("{place}: {text:?} is no time; a span is written 09:15-15:30, a time 17:00")]
    Time {
        /// Which entry.
        place: String,
        /// What stands there.
        text: String,
    },
    /// Phases that overlap, go backwards, or have not exactly one that is open.
    #[error("{place}: phases must follow each other, and exactly one must be open")]
    Phases {
        /// Which entry.
        place: String,
    },
    /// Two templates for one kind on one date.
    #[error("{place}: another template of the kind fits some of its dates")]
    Overlap {
        /// Which entry.
        place: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    template: Vec<TemplateEntry>,
    #[serde(default)]
    holiday: Vec<HolidayEntry>,
    #[serde(default)]
    special: Vec<SpecialEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateEntry {
    kind: SegmentKind,
    from: String,
    until: Option<String>,
    days: Option<Vec<Day>>,
    us_time: Option<UsTime>,
    phases: Vec<PhaseEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HolidayEntry {
    date: String,
    name: String,
    markets: Vec<Market>,
    opens: Option<String>,
    closes: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecialEntry {
    date: String,
    name: String,
    kinds: Vec<SegmentKind>,
    phases: Vec<PhaseEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseEntry {
    state: State,
    at: String,
}

#[derive(Clone, Copy, Deserialize)]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UsTime {
    Daylight,
    Standard,
}

impl Calendar {
    /// Reads a calendar; [`super::BUILT_IN`] shows and explains the form.
    ///
    /// # Errors
    /// At the first entry that is wrong, which the error names.
    pub fn parse(text: &str) -> Result<Self, CalendarError> {
        let file: File = toml::from_str(text).map_err(|error| CalendarError::Syntax(error.to_string()))?;
        let mut templates: Vec<Template> = Vec::new();
        for (index, entry) in file.template.into_iter().enumerate() {
            let place = format!("template {} ({})", index + 1, entry.kind.name());
            let template = template(entry, &place)?;
            if templates.iter().any(|other| overlap(other, &template)) {
                return Err(CalendarError::Overlap { place });
            }
            templates.push(template);
        }
        let holidays = file.holiday.into_iter().map(holiday).collect::<Result<_, _>>()?;
        let specials = file.special.into_iter().map(special).collect::<Result<_, _>>()?;
        Ok(Self { templates, holidays, specials })
    }
}

fn template(entry: TemplateEntry, place: &str) -> Result<Template, CalendarError> {
    let until = entry.until.as_deref().map_or(Ok(Date(i32::MAX)), |text| date(text, place))?;
    let weekdays = entry.days.map_or(0b001_1111, |days| days.into_iter().fold(0, |mask, day| mask | 1 << day as u8));
    let us_daylight = entry.us_time.map(|time| time == UsTime::Daylight);
    let phases = phases(entry.phases, place)?;
    Ok(Template { kind: entry.kind, from: date(&entry.from, place)?, until, weekdays, us_daylight, phases })
}

fn holiday(entry: HolidayEntry) -> Result<Holiday, CalendarError> {
    let place = format!("holiday {}", entry.date);
    let date = date(&entry.date, &place)?;
    let at = |text: Option<&str>| {
        let second =
            |text: &str| time(text).ok_or_else(|| CalendarError::Time { place: place.clone(), text: text.to_owned() });
        text.map(second).transpose()
    };
    let open = match (at(entry.opens.as_deref())?, at(entry.closes.as_deref())?) {
        (None, None) => None,
        (opens, closes) => Some((opens.unwrap_or(0), closes.unwrap_or(super::date::DAY_S))),
    };
    Ok(Holiday { date, name: entry.name, markets: entry.markets, open })
}

fn special(entry: SpecialEntry) -> Result<Special, CalendarError> {
    let place = format!("special {}", entry.date);
    let date = date(&entry.date, &place)?;
    Ok(Special { date, name: entry.name, kinds: entry.kinds, phases: phases(entry.phases, &place)? })
}

fn phases(entries: Vec<PhaseEntry>, place: &str) -> Result<Vec<DayPhase>, CalendarError> {
    let mut phases: Vec<DayPhase> = Vec::with_capacity(entries.len());
    for PhaseEntry { state, at } in entries {
        let Some((start_s, end_s)) = at.split_once('-').and_then(|(start, end)| Some((time(start)?, time(end)?)))
        else {
            return Err(CalendarError::Time { place: place.to_owned(), text: at });
        };
        if start_s >= end_s || state == State::Closed || phases.last().is_some_and(|last| last.end_s > start_s) {
            return Err(CalendarError::Phases { place: place.to_owned() });
        }
        phases.push(DayPhase { state, start_s, end_s });
    }
    match phases.iter().filter(|phase| phase.state == State::Open).count() {
        1 => Ok(phases),
        _ => Err(CalendarError::Phases { place: place.to_owned() }),
    }
}

fn date(text: &str, place: &str) -> Result<Date, CalendarError> {
    text.parse().map_err(|source| CalendarError::Date { place: place.to_owned(), source })
}

/// `HH:MM` as seconds since midnight, up to 24:00.
fn time(text: &str) -> Option<i64> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| (text.len() == 2).then(|| text.parse::<u8>().ok()).flatten().map(i64::from);
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    (minute < 60 && hour * 60 + minute <= 1_440).then_some(hour * 3_600 + minute * 60)
}

fn overlap(one: &Template, other: &Template) -> bool {
    let us_times = |template: &Template| template.us_daylight.map_or(3, |daylight| 1 << u8::from(daylight));
    one.kind == other.kind
        && one.from <= other.until
        && other.from <= one.until
        && one.weekdays & other.weekdays != 0
        && us_times(one) & us_times(other) != 0
}
