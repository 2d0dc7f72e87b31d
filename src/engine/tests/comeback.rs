//! Who comes back is told what closed meanwhile, and whether anything could be missing.

use super::*;
use crate::engine::command::Since;
use crate::fanout::mail::Mailbox;

/// Minutes 1 to 3 are closed, minute 4 forms, and somebody has the indicator all along.
fn desk_of_three_minutes() -> (Desk, Tab) {
    let mut desk = Desk::new(EngineSettings::default());
    let watcher = Tab::new();
    desk.begin(watcher.wish(rsi(INFY), "INFY", "1min")).unwrap();
    three_minutes(&mut desk);
    (desk, watcher)
}

/// What a client is told that has bars up to `since`: the minutes of the closed ones, what came last, and what is known.
fn comes_back(desk: &mut Desk, since: Since) -> (Vec<i64>, Value, Known) {
    let tab = Tab::new();
    let known = desk.begin(Wish { since: Some(since), ..tab.wish(rsi(INFY), "INFY", "1m") }).unwrap();
    let mut told = tab.read();
    let last = told.pop().unwrap();
    let minute = |update: &Value| {
        let start = crate::market::calendar::Utc::parse(update["candle_time"].as_str().unwrap()).unwrap().0;
        (start - MIDNIGHT) / 60
    };
    assert!(told.iter().all(|update| update["closed"] == true && update["timeframe"] == "1m"), "{told:?}");
    let engine = Arc::clone(&desk.engine);
    desk.ask(engine.end(vec![tab.of]));
    (told.iter().map(minute).collect(), last, known)
}

#[test]
fn closed_bars_since_the_cursor_come_in_order_and_the_newest_value_last() {
    let (mut desk, watcher) = desk_of_three_minutes();
    let live: Vec<Value> = watcher.read().into_iter().filter(|update| update["closed"] == true).collect();
    let bar = |minute: i64| Since::Bar(MIDNIGHT + minute * 60);
    for (since, minutes) in [
        (bar(1), vec![2, 3]),
        (bar(3), vec![]),
        // Minute 2 was told a second after its end and a moment on its way.
        (Since::Time(MIDNIGHT as f64 + 181.4), vec![2, 3]),
        (Since::Time(MIDNIGHT as f64 + 181.6), vec![3]),
    ] {
        let (told, last, known) = comes_back(&mut desk, since);
        assert_eq!(told, minutes, "{since:?}");
        assert_eq!((&last["value"], &last["closed"]), (&known.value, &json!(false)));
        assert!(!known.gap, "{since:?}");
    }
    // The same values as those who stayed were told.
    let tab = Tab::new();
    desk.begin(Wish { since: Some(bar(1)), ..tab.wish(rsi(INFY), "INFY", "1min") }).unwrap();
    let told = tab.read();
    assert_eq!((live.len(), told.len()), (3, 3), "those that closed; two of them, and the one that forms");
    for (told, live) in told.iter().zip(&live[1..]) {
        assert_eq!((&told["value"], &told["candle_time"]), (&live["value"], &live["candle_time"]));
    }
}

#[test]
fn a_bar_that_closed_last_is_told_once_where_none_forms() {
    let (mut desk, _watcher) = desk_of_three_minutes();
    desk.at(302).settle();
    let (told, last, known) = comes_back(&mut desk, Since::Bar(MIDNIGHT + 120));
    assert_eq!((told, &last["closed"]), (vec![3], &json!(true)));
    assert_eq!((&last["candle_time"], known.gap), (&json!("2026-11-19T18:34:00Z"), false));
}

#[test]
fn what_is_not_known_is_told_as_a_gap() {
    let (mut desk, _watcher) = desk_of_three_minutes();
    let (told, _, known) = comes_back(&mut desk, Since::Bar(MIDNIGHT - 600));
    assert_eq!((told, known.gap), (vec![1, 2, 3], true), "from before anybody wanted it");
    // The feed was silent for longer than a bar.
    let engine = Arc::clone(&desk.engine);
    desk.ask(engine.interrupted(MIDNIGHT + 280, None));
    desk.at(500).trade(INFY, 1_030, 1);
    assert!(comes_back(&mut desk, Since::Time(MIDNIGHT as f64 + 290.0)).2.gap);
    assert!(!comes_back(&mut desk, Since::Time(MIDNIGHT as f64 + 500.0)).2.gap, "all of that is from before");
    // More has closed than may wait.
    let crowded = Tab::new();
    let keep = || crowded.inbox.mail.keep(None, Arc::default());
    (0..Mailbox::LIMIT / 2 - 1).for_each(|_| assert!(keep()));
    let wish = Wish { since: Some(Since::Bar(MIDNIGHT)), ..crowded.wish(rsi(INFY), "INFY", "1m") };
    assert!(desk.begin(wish).unwrap().gap);
    assert!(!crowded.inbox.mail.is_overrun());
}

#[test]
fn while_the_history_is_loaded_anything_could_be_missing() {
    let mut desk = Desk::new(EngineSettings { history: true, ..EngineSettings::default() });
    desk.at(3_600);
    let tab = Tab::new();
    let wish = Wish { since: Some(Since::Bar(MIDNIGHT + 3_540)), ..tab.wish(rsi(INFY), "INFY", "1m") };
    assert!(desk.begin(wish).unwrap().gap);
    assert!(tab.read().is_empty(), "nothing is said that would soon be another");
}
