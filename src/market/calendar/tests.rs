use super::*;

fn calendar() -> Calendar {
    Calendar::built_in().unwrap()
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

/// Continuous trading as `HH:MM-HH:MM`; empty when there is none.
fn hours(kind: SegmentKind, day: &str) -> String {
    let Some(session) = calendar().session(kind, date(day)) else { return String::new() };
    format!("{}-{}", &Ist(session.open).to_string()[11..16], &Ist(session.close).to_string()[11..16])
}

fn at(day: &str, time: &str) -> i64 {
    let (hour, rest) = time.split_once(':').unwrap();
    let (minute, second) = rest.split_once(':').unwrap_or((rest, "0"));
    let number = |text: &str| text.parse::<i64>().unwrap();
    date(day).midnight() + number(hour) * 3_600 + number(minute) * 60 + number(second)
}

#[test]
fn hours_changed_in_august_2026() {
    use SegmentKind::*;
    for (kind, before, after) in [
        (CashFno, "09:15-15:30", "09:15-15:15"),
        (Cash, "09:15-15:30", "09:15-15:30"),
        (EquityDerivatives, "09:15-15:30", "09:15-15:40"),
        (Index, "09:15-15:30", "09:15-15:30"),
        (Currency, "09:00-17:00", "09:00-17:00"),
        (McxNonAgri, "09:00-23:30", "09:00-23:30"),
        (McxAgri, "09:00-17:00", "09:00-17:00"),
        (McxAgriLate, "09:00-21:00", "09:00-21:00"),
        (Nco, "09:00-23:30", "09:00-23:30"),
    ] {
        assert_eq!(hours(kind, "2026-07-31"), before, "{kind:?}");
        assert_eq!(hours(kind, "2026-08-03"), after, "{kind:?}");
        assert_eq!(hours(kind, "2026-08-01"), "", "Saturday");
    }
    assert_eq!(hours(Cash, "2019-01-01"), "09:15-15:30");
    assert_eq!(hours(Cash, "2005-01-03"), "");
}

#[test]
fn mcx_follows_the_clocks_of_new_york() {
    // Friday before and Monday after the changes of 8 March and 1 November 2026.
    for kind in [SegmentKind::McxNonAgri, SegmentKind::Nco] {
        assert_eq!(hours(kind, "2026-03-06"), "09:00-23:55");
        assert_eq!(hours(kind, "2026-03-09"), "09:00-23:30");
        assert_eq!(hours(kind, "2026-10-30"), "09:00-23:30");
        assert_eq!(hours(kind, "2026-11-02"), "09:00-23:55");
    }
}

#[test]
fn holidays_close_a_market_wholly_or_in_part() {
    assert_eq!(hours(SegmentKind::Cash, "2026-11-24"), "");
    assert_eq!(hours(SegmentKind::Index, "2026-01-15"), "");
    assert_eq!(hours(SegmentKind::McxNonAgri, "2026-11-24"), "17:00-23:55");
    assert_eq!(hours(SegmentKind::McxAgri, "2026-11-24"), "");
    assert_eq!(hours(SegmentKind::McxAgriLate, "2026-11-24"), "17:00-21:00");
    assert_eq!(hours(SegmentKind::McxNonAgri, "2026-01-01"), "09:00-17:00");
    assert_eq!(hours(SegmentKind::McxNonAgri, "2026-12-25"), "");
    assert_eq!(calendar().previous(SegmentKind::Cash, date("2026-11-25")), Some(date("2026-11-23")));
}

#[test]
fn special_sessions_come_before_all_else() {
    // The Sunday of the budget.
    assert_eq!(hours(SegmentKind::CashFno, "2026-02-01"), "09:15-15:30");
    assert_eq!(hours(SegmentKind::McxNonAgri, "2026-02-01"), "09:00-17:00");
    assert_eq!(hours(SegmentKind::Currency, "2026-02-01"), "");
    let muhurat = "[[special]]\ndate = \"2026-11-08\"\nname = \"Muhurat\"\nkinds = [\"cash\"]\n\
                   phases = [{ state = \"open\", at = \"18:00-19:00\" }]";
    let calendar = Calendar::parse(&format!("{BUILT_IN}\n{muhurat}")).unwrap();
    let session = calendar.session(SegmentKind::Cash, date("2026-11-08")).unwrap();
    assert_eq!((session.open, session.close), (at("2026-11-08", "18:00"), at("2026-11-08", "19:00")));
    assert_eq!(calendar.status(SegmentKind::Cash, session.open).occasion, Some("Muhurat"));
}

#[test]
fn the_state_names_what_comes_next() {
    use State::*;
    let calendar = calendar();
    let day = "2026-11-20";
    for (time, state, next, after) in [
        ("08:59:59", Closed, "09:00", PreOpen),
        ("09:14:59", PreOpen, "09:15", Open),
        ("09:15", Open, "15:15", ClosingAuction),
        ("15:15", ClosingAuction, "15:35", Closing),
        ("15:35", Closing, "15:50", PostClose),
        ("15:50", PostClose, "16:00", Closed),
    ] {
        let status = calendar.status(SegmentKind::CashFno, at(day, time));
        assert_eq!((status.state, status.next), (state, Some((at(day, next), after))), "{time}");
    }
    // Friday evening: Monday morning is next.
    let status = calendar.status(SegmentKind::CashFno, at(day, "16:00"));
    assert_eq!((status.state, status.next), (Closed, Some((at("2026-11-23", "09:00"), PreOpen))));
    // A holiday is named.
    let status = calendar.status(SegmentKind::Cash, at("2026-11-24", "11:00"));
    assert_eq!((status.state, status.occasion), (Closed, Some("Guru Nanak Jayanti")));
    assert_eq!(status.next, Some((at("2026-11-25", "09:00"), PreOpen)));
    let empty = Calendar::parse("").unwrap();
    let status = empty.status(SegmentKind::Cash, 0);
    assert_eq!((status.state, status.next), (Closed, None));
}

#[test]
fn the_bars_of_a_day_are_counted_as_the_exchange_has_them() {
    let minutes = |kind, day| {
        let session = calendar().session(kind, date(day)).unwrap();
        (session.close - session.open) / 60
    };
    assert_eq!(minutes(SegmentKind::CashFno, "2026-08-03"), 360);
    assert_eq!(minutes(SegmentKind::Cash, "2026-08-03"), 375);
    assert_eq!(minutes(SegmentKind::EquityDerivatives, "2026-08-03"), 385);
}

#[test]
fn a_wrong_calendar_is_refused_with_its_place() {
    let template = |rest: &str| {
        let text = format!("[[template]]\nkind = \"cash\"\nfrom = \"2026-01-01\"\n{rest}");
        Calendar::parse(&text).unwrap_err().to_string()
    };
    let open = r#"phases = [{ state = "open", at = "09:15-15:30" }]"#;
    assert!(template("phases = []").contains("template 1 (cash): phases"));
    assert!(template(r#"phases = [{ state = "open", at = "09:15" }]"#).contains("\"09:15\" is no time"));
    assert!(template(r#"phases = [{ state = "open", at = "9:15-15:30" }]"#).contains("is no time"));
    assert!(template(r#"phases = [{ state = "open", at = "15:30-09:15" }]"#).contains("phases"));
    assert!(template(&format!("until = \"31-12-2026\"\n{open}")).contains("is no date"));
    assert!(template(&format!("colour = 1\n{open}")).contains("colour"));
    assert!(
        template(&format!("{open}\n[[template]]\nkind = \"cash\"\nfrom = \"2026-08-03\"\n{open}"))
            .starts_with("template 2 (cash): another template")
    );
    let holiday = "[[holiday]]\ndate = \"2026-01-26\"\nname = \"x\"\nmarkets = [\"mcx\"]\nopens = \"5 pm\"";
    assert!(Calendar::parse(holiday).unwrap_err().to_string().starts_with("holiday 2026-01-26: \"5 pm\""));
}

#[test]
fn the_made_up_market_trades_at_all_hours() {
    let sunday = date("2026-11-22");
    let session = Calendar::around_the_clock().session(SegmentKind::Currency, sunday).unwrap();
    assert_eq!((session.open, session.close), (sunday.midnight(), sunday.plus(1).midnight()));
}
