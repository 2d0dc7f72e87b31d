//! Against a stand-in for Kite.

mod desk;

use super::*;
use crate::history::csv::seconds;
use crate::history::tests::{instrument, open};
use crate::history::{History, HistoryStats};
use desk::{Bench, KEY, TODAY, TOKEN};

async fn ask(history: &History, wanted: usize, until: i64) -> Result<Vec<Candle>, HistoryError> {
    history.bars(&instrument(), SegmentKind::Cash, Timeframe::Min5, wanted, until).await
}

#[tokio::test]
async fn a_request_is_as_kite_documents_it() {
    let bench = Bench::start().await;
    let bars = ask(&bench.history(None), 30, i64::MAX).await.unwrap();
    // The bar that forms is none; the one that was just closed is.
    let last = bars[bars.len() - 1];
    assert_eq!((bars.len(), last.end), (30, open(TODAY) + 6_300));
    let price = (100 + last.start / 300 % 50) as i32 * 100;
    assert_eq!((last.open, last.high, last.low, last.close), (price, price + 200, price - 100, price + 100));
    assert_eq!((last.volume, last.oi, last.closed, last.partial), (10, 5, true, false));
    let asked = bench.asked().await;
    let window = ("408065/5minute".to_owned(), "2026-07-30 11:02:00".to_owned(), "2026-08-05 11:01:59".to_owned());
    assert_eq!(asked, [window]);
    let headers = &bench.desk.lock().await.headers[0];
    assert_eq!(headers["x-kite-version"], "3");
    assert_eq!(headers["authorization"], format!("token {KEY}:{TOKEN}").as_str());
}

#[tokio::test]
async fn windows_go_back_to_the_listing_and_no_further() {
    let bench = Bench::start().await;
    let history = bench.history(None);
    let bars = ask(&history, 9_000, i64::MAX).await.unwrap();
    assert_eq!((bars[0].start, bars.len()), (open("2026-07-01"), 25 * 75 + 21));
    assert!(bars.windows(2).all(|two| two[0].end <= two[1].start));
    // The listing is in the first; two empty ones are the end.
    let asked = bench.asked().await;
    assert_eq!(asked.len(), 3);
    for (_, from, to) in &asked {
        assert!(seconds(to).unwrap() - seconds(from).unwrap() < 100 * 86_400);
    }
    assert_eq!(ask(&history, 9_500, i64::MAX).await.unwrap(), bars);
    let earlier = ask(&history, 5, open("2026-07-20") + 100).await.unwrap();
    assert_eq!(earlier[4].end, open("2026-07-17") + 22_500);
    assert_eq!(bench.asked().await, []);
    let stats = history.stats();
    assert_eq!((stats.requests, stats.cache_hits, stats.queries), (3, 2, 3));
}

#[tokio::test]
async fn what_is_known_is_asked_for_once() {
    let bench = Bench::start().await;
    let dir = tempfile::tempdir().unwrap();
    let first = ask(&bench.history(Some(dir.path())), 100, i64::MAX).await.unwrap();
    bench.asked().await;
    // After a restart, with three more bars closed.
    bench.clock.advance(Duration::from_secs(900));
    let history = bench.history(Some(dir.path()));
    let second = ask(&history, 100, i64::MAX).await.unwrap();
    assert_eq!(second[..97], first[3..]);
    let asked = bench.asked().await;
    assert_eq!((asked.len(), asked[0].1.as_str()), (1, "2026-08-05 10:55:00"));
    // Until the next bar is closed there is nothing to ask.
    bench.clock.advance(Duration::from_secs(120));
    assert_eq!(ask(&history, 100, bench.now()).await.unwrap(), second);
    assert_eq!(bench.asked().await, []);
    assert_eq!(history.stats().cache_hits, 1);
}

#[tokio::test]
async fn a_bar_just_closed_is_not_believed_for_ever() {
    let bench = Bench::start().await;
    let dir = tempfile::tempdir().unwrap();
    let history = bench.history(Some(dir.path()));
    // 11:05:20.
    bench.clock.advance(Duration::from_secs(200));
    let bars = ask(&history, 100, i64::MAX).await.unwrap();
    assert_eq!(bars[99].end, open(TODAY) + 6_600);
    assert_eq!(ask(&history, 100, i64::MAX).await.unwrap(), bars);
    assert_eq!(bench.asked().await.len(), 1);
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(ask(&history, 100, i64::MAX).await.unwrap(), bars);
    assert_eq!(bench.asked().await.len(), 1);
    bench.clock.advance(Duration::from_secs(61));
    assert_eq!(ask(&history, 100, i64::MAX).await.unwrap(), bars);
    assert_eq!(bench.asked().await.len(), 0);
}

#[tokio::test]
async fn a_split_renews_everything() {
    let bench = Bench::start().await;
    let history = bench.history(None);
    ask(&history, 200, i64::MAX).await.unwrap();
    bench.desk.lock().await.factor = 10;
    bench.clock.advance(Duration::from_secs(900));
    let bars = ask(&history, 200, i64::MAX).await.unwrap();
    assert!(bars.len() == 200 && bars.iter().all(|bar| bar.low >= 90_000));
    assert_eq!(history.stats().cache_stale, 1);
    // The same when the past is asked for.
    bench.desk.lock().await.factor = 1;
    let bars = ask(&history, 1_500, i64::MAX).await.unwrap();
    assert!(bars.len() == 1_500 && bars.iter().all(|bar| bar.high < 90_000));
    assert_eq!(history.stats().cache_stale, 2);
}

#[tokio::test]
async fn a_broken_cache_is_discarded() {
    let bench = Bench::start().await;
    let dir = tempfile::tempdir().unwrap();
    let bars = ask(&bench.history(Some(dir.path())), 100, i64::MAX).await.unwrap();
    let path = dir.path().join("408065_5min.json");
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let history = bench.history(Some(dir.path()));
        assert_eq!(ask(&history, 100, i64::MAX).await.unwrap(), bars);
        assert_eq!(history.stats().cache_broken, 1);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let bench = Bench::start().await;
    bench.script([(429, "{}"), (503, "oops")]).await;
    let history = bench.history(None);
    assert_eq!(ask(&history, 30, i64::MAX).await.unwrap().len(), 30);
    assert_eq!((history.stats().requests, history.stats().retries), (3, 2));
    let busy = r#"{"status":"error","message":"Too many requests","error_type":"NetworkException"}"#;
    bench.script([(429, busy); 4]).await;
    let error = ask(&bench.history(None), 30, i64::MAX).await.unwrap_err();
    assert_eq!(error.to_string(), "Kite answers 429 (NetworkException: Too many requests)");
    let wrong = r#"{"status":"error","message":"invalid token","error_type":"InputException"}"#;
    bench.script([(400, wrong)]).await;
    let history = bench.history(None);
    let error = ask(&history, 30, i64::MAX).await.unwrap_err();
    assert_eq!(error, HistoryError::Kite { status: 400, reason: "InputException: invalid token".into() });
    assert_eq!((history.stats().retries, history.stats().failures), (0, 1));
}

#[tokio::test]
async fn a_refused_token_is_not_sent_again_and_never_shown() {
    let bench = Bench::start().await;
    let refusal = r#"{"status":"error","message":"Incorrect the-key or the-token","error_type":"TokenException"}"#;
    bench.script([(403, refusal)]).await;
    let history = bench.history(None);
    for _ in 0..3 {
        let error = ask(&history, 30, i64::MAX).await.unwrap_err();
        assert_eq!(error, HistoryError::Refused("TokenException: Incorrect [redacted] or [redacted]".into()));
    }
    assert_eq!(bench.asked().await.len(), 1);
    assert!(!format!("{history:?}").contains(TOKEN));
    *bench.token.lock().await = "another".into();
    assert_eq!(ask(&history, 30, i64::MAX).await.unwrap().len(), 30);
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_without_address_or_secret() {
    let bench = Bench::start().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let root = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let history = Bench { root: root.parse().unwrap(), ..bench }.history(None);
    let error = ask(&history, 30, i64::MAX).await.unwrap_err();
    assert!(matches!(error, HistoryError::Unreachable(_)), "{error}");
    assert!(!error.to_string().contains("from=") && !error.to_string().contains(TOKEN), "{error}");
    assert_eq!(history.stats().retries, 3);
}

#[tokio::test]
async fn all_who_ask_for_the_same_share_one_request() {
    let bench = Bench::start().await;
    let history = bench.history(None);
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let history = history.clone();
            tokio::spawn(async move { ask(&history, 100, i64::MAX).await.unwrap().len() })
        })
        .collect();
    for asking in asking {
        assert_eq!(asking.await.unwrap(), 100);
    }
    assert_eq!(bench.asked().await.len(), 1);
    assert_eq!(
        history.stats(),
        HistoryStats { queries: 20, bars: 2_000, requests: 1, cache_hits: 19, ..HistoryStats::default() }
    );
}

#[tokio::test]
async fn rows_that_are_no_bars_are_skipped_and_counted() {
    let bench = Bench::start().await;
    let body = r#"{"status":"success","data":{"candles":[
        ["2026-08-05T09:20:00+0530",1,2,1,2,7],["2026-08-05T09:15:00+0530",1,2,1,2,7,9],
        ["2026-08-05T09:25:00+0530",1,2,1,3,7,9],["2026-08-05T09:31:00+0530",1,2,1,2,7,9],
        ["nonsense",1,2,1,2,7,9],["2026-08-05T09:35:00+0530",1,2,null,2,7,9],17]}}"#;
    bench.script([(200, body)]).await;
    let history = bench.history(None);
    let bars = ask(&history, 2, i64::MAX).await.unwrap();
    assert_eq!((bars.len(), bars[0].start, bars[0].oi, bars[1].oi), (2, open(TODAY), 9, 0));
    assert_eq!(history.stats().skipped, 5);
    bench.script([(200, "<html>")]).await;
    assert!(matches!(ask(&bench.history(None), 30, i64::MAX).await, Err(HistoryError::Reply(_))));
}
