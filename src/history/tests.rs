use super::*;
use crate::kite::instruments::{Instruments, Row};
use crate::market::calendar::Date;
use std::path::Path;

pub(super) const NINE_FIFTEEN: i64 = 9 * 3_600 + 15 * 60;

pub(super) fn instrument() -> Instrument {
    let row = Row { token: 408_065, symbol: "INFY", exchange: "NSE", segment: "NSE", ..Row::default() };
    Instruments::from_rows([row]).iter().next().unwrap().clone()
}

/// 09:15 on a date.
pub(super) fn open(date: &str) -> i64 {
    date.parse::<Date>().unwrap().midnight() + NINE_FIFTEEN
}

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, History) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let calendar = Arc::new(Calendar::built_in().unwrap());
    let history = History::folder(dir.path().to_owned(), calendar).unwrap();
    (dir, history)
}

async fn ask(history: &History, timeframe: Timeframe, wanted: usize, until: i64) -> Result<Vec<Candle>, HistoryError> {
    history.bars(&instrument(), SegmentKind::Cash, timeframe, wanted, until).await
}

const HEADER: &str = "timestamp,open,high,low,close,volume,oi\n";

#[tokio::test]
async fn the_newest_closed_bars_come_the_oldest_first() {
    let five = format!(
        "{HEADER}2026-08-03T09:15:00+05:30,10.05,10.20,10,10.10,100,7\n2026-08-03T09:20:00+05:30,1,2,1,2,5,8\n\
         2026-08-03T09:25:00+05:30,1,2,1,2,5,9\n"
    );
    let (_dir, history) = folder(&[("NSE_INFY_5min.csv", &five)]);
    let start = open("2026-08-03");
    // The third bar is not over.
    let bars = ask(&history, Timeframe::Min5, 10, start + 899).await.unwrap();
    let first = Candle { volume: 100, oi: 7, ..Candle::historical(start, start + 300, 1_005, 1_020, 1_000, 1_010) };
    assert_eq!((bars.len(), bars[0], bars[1].oi), (2, first, 8));
    assert_eq!(ask(&history, Timeframe::Min5, 1, start + 899).await.unwrap(), bars[1..]);
    assert_eq!(ask(&history, Timeframe::Min3, 10, start + 899).await.unwrap(), []);
    assert_eq!(history.stats(), HistoryStats { queries: 3, bars: 3, ..HistoryStats::default() });
    assert_eq!(history.name(), "folder");
}

#[tokio::test]
async fn minutes_make_what_has_no_file() {
    let minutes: String =
        (15..30).map(|minute| format!("2026-08-03 09:{minute},{minute},{minute},1,2,1,0\n")).collect();
    let (_dir, history) = folder(&[("408065_1min.csv", &format!("{HEADER}{minutes}"))]);
    let bars = ask(&history, Timeframe::Min5, 10, i64::MAX).await.unwrap();
    let shown: Vec<_> = bars.iter().map(|bar| (bar.open, bar.high, bar.volume)).collect();
    assert_eq!(shown, [(1_500, 1_900, 5), (2_000, 2_400, 5), (2_500, 2_900, 5)]);
    assert_eq!(ask(&history, Timeframe::Day, 10, i64::MAX).await.unwrap()[0].volume, 15);
}

#[tokio::test]
async fn a_broken_file_is_named_with_its_line() {
    let good = "2026-08-03T09:15:00+05:30,1,2,1,2,5,8\n";
    for (rest, said) in [
        ("2026-08-03T09:20:00+05:30,1,2,1,x,5,8\n", "line 3: close cannot be \"x\""),
        ("2026-08-03T09:20:00+05:30,1,2,1,3,5,8\n", "line 3: open or close is not between low and high"),
        ("2026-08-03T09:20:00+05:30,1,1e12,1,3,5,8\n", "line 3: a price is beyond every range"),
        ("2026-08-03T09:20:00+05:30,1,2,1,2,-1,8\n", "line 3: the volume is negative"),
        ("2026-08-03T09:20:00+05:30,1,2,1,2,1,-8\n", "line 3: oi cannot be \"-8\""),
        ("2026-08-03T09:21:00+05:30,1,2,1,2,5,8\n", "line 3: no bar of 5min begins then"),
        (good, "line 3: not later than the bar before"),
    ] {
        let (dir, history) = folder(&[("NSE_INFY_5min.csv", &format!("{HEADER}{good}{rest}"))]);
        let error = ask(&history, Timeframe::Min5, 10, i64::MAX).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(error.contains(dir.path().join("NSE_INFY_5min.csv").to_str().unwrap()), "{error}");
        assert_eq!(history.stats().failures, 1);
    }
    assert!(History::folder(Path::new("/nowhere").into(), Arc::new(Calendar::around_the_clock())).is_err());
}

#[tokio::test]
async fn nothing_comes_from_nowhere() {
    assert_eq!(ask(&History::none(), Timeframe::Min5, 10, i64::MAX).await, Ok(vec![]));
}
