//! When which market trades: the hours of a kind of instrument on a date, as dated data.
//!
//! The data is a text ([`sessions.toml`](BUILT_IN) is built in, another may take its place), because exchanges change
//! hours by circular, and a recorded day must be replayed with the hours it had. A date without a session makes no
//! bars, so a mock session that is not entered leaves no trace in anybody's chart.

pub mod date;
pub mod kind;
pub mod session;
mod source;
#[cfg(test)]
mod tests;

pub use date::{BadDate, Date, Ist, Utc, UtcText};
pub use kind::{Listing, Market, SegmentKind};
pub use session::{Phase, Session, State};
pub use source::CalendarError;

/// The hours and holidays that are built in; the file itself says where they are from and how to extend it.
pub const BUILT_IN: &str = include_str!("calendar/sessions.toml");

/// How many days [`Calendar::status`] and [`Calendar::previous`] look: more than any exchange was ever closed.
const HORIZON_DAYS: i32 = 30;

/// A part of a day, in seconds since Indian midnight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct DayPhase {
    state: State,
    start_s: i64,
    end_s: i64,
}

/// The ordinary day of a kind.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Template {
    kind: SegmentKind,
    from: Date,
    until: Date,
    /// Bit 0 is Monday.
    weekdays: u8,
    /// Only with (or without) daylight saving time in New York.
    us_daylight: Option<bool>,
    phases: Vec<DayPhase>,
}

impl Template {
    fn fits(&self, kind: SegmentKind, date: Date) -> bool {
        self.kind == kind
            && self.from <= date
            && date <= self.until
            && self.weekdays & 1 << date.weekday() != 0
            && self.us_daylight.is_none_or(|daylight| daylight == date.us_daylight_time())
    }
}

/// A date on which a market does not trade, or only a part of the day.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Holiday {
    date: Date,
    name: String,
    markets: Vec<Market>,
    /// What is traded nevertheless, in seconds since midnight.
    open: Option<(i64, i64)>,
}

/// A date on which kinds have other hours than usual.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Special {
    date: Date,
    name: String,
    kinds: Vec<SegmentKind>,
    phases: Vec<DayPhase>,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Calendar {
    templates: Vec<Template>,
    holidays: Vec<Holiday>,
    specials: Vec<Special>,
}

/// What a market does at a moment, and when that ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status<'a> {
    /// What it does.
    pub state: State,
    /// When it does something else, Unix seconds, and what; `None` when it stays closed for a month.
    pub next: Option<(i64, State)>,
    /// Why the date is not an ordinary one: the name of a holiday or of a special session.
    pub occasion: Option<&'a str>,
}

impl Calendar {
    /// The calendar that is built in.
    ///
    /// # Errors
    /// Never, as long as the tests pass: one of them parses [`BUILT_IN`].
    pub fn built_in() -> Result<Self, CalendarError> {
        Self::parse(BUILT_IN)
    }

    /// A calendar by which everything trades at all hours, for markets that are made up.
    pub fn around_the_clock() -> Self {
        let phases = vec![DayPhase { state: State::Open, start_s: 0, end_s: date::DAY_S }];
        let template = |kind| {
            let phases = phases.clone();
            Template { kind, from: Date(i32::MIN), until: Date(i32::MAX), weekdays: 0x7f, us_daylight: None, phases }
        };
        let templates = SegmentKind::ALL.into_iter().map(template).collect();
        Self { templates, holidays: Vec::new(), specials: Vec::new() }
    }

    /// The session of a kind on a date; `None` when it does not trade.
    pub fn session(&self, kind: SegmentKind, date: Date) -> Option<Session> {
        if let Some(special) = self.special(kind, date) {
            return session_of(date, &special.phases, (0, date::DAY_S));
        }
        let open = self.holiday(kind, date).map_or(Some((0, date::DAY_S)), |holiday| holiday.open)?;
        let template = self.templates.iter().find(|template| template.fits(kind, date))?;
        session_of(date, &template.phases, open)
    }

    /// The last date before `date` on which the kind traded, up to a month back.
    pub fn previous(&self, kind: SegmentKind, date: Date) -> Option<Date> {
        (1..=HORIZON_DAYS).map(|days| date.plus(-days)).find(|&earlier| self.session(kind, earlier).is_some())
    }

    /// What the market of that kind does at a Unix time in seconds.
    pub fn status(&self, kind: SegmentKind, unix_s: i64) -> Status<'_> {
        let date = Date::of(unix_s);
        let occasion = match (self.special(kind, date), self.holiday(kind, date)) {
            (Some(special), _) => Some(special.name.as_str()),
            (None, Some(holiday)) => Some(holiday.name.as_str()),
            (None, None) => None,
        };
        let phases = (0..=HORIZON_DAYS).filter_map(|days| self.session(kind, date.plus(days))).flat_map(|s| s.phases);
        let mut ahead = phases.skip_while(|phase| phase.end <= unix_s).peekable();
        let Some(phase) = ahead.next() else { return Status { state: State::Closed, next: None, occasion } };
        if unix_s < phase.start {
            return Status { state: State::Closed, next: Some((phase.start, phase.state)), occasion };
        }
        // Phases that touch follow each other without a moment of being closed.
        let after = ahead.peek().filter(|next| next.start == phase.end).map_or(State::Closed, |next| next.state);
        Status { state: phase.state, next: Some((phase.end, after)), occasion }
    }

    fn special(&self, kind: SegmentKind, date: Date) -> Option<&Special> {
        self.specials.iter().find(|special| special.date == date && special.kinds.contains(&kind))
    }

    fn holiday(&self, kind: SegmentKind, date: Date) -> Option<&Holiday> {
        self.holidays.iter().find(|holiday| holiday.date == date && holiday.markets.contains(&kind.market()))
    }
}

/// Puts phases on a date, cut to what is `open` of it; `None` when no trading is left.
fn session_of(date: Date, phases: &[DayPhase], open: (i64, i64)) -> Option<Session> {
    let at = |second: i64| date.midnight() + second;
    let phases: Vec<Phase> = phases
        .iter()
        .map(|phase| (phase.state, phase.start_s.max(open.0), phase.end_s.min(open.1)))
        .filter(|&(_, start, end)| start < end)
        .map(|(state, start, end)| Phase { state, start: at(start), end: at(end) })
        .collect();
    let trading = phases.iter().find(|phase| phase.state == State::Open)?;
    Some(Session { date, open: trading.start, close: trading.end, phases })
}
