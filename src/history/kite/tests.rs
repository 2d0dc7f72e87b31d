//! Against a stand-in for Kite on a port of the system's choice.

use super::*;
use crate::history::csv::seconds;
use crate::history::tests::{instrument, open};
use crate::history::{History, HistoryStats};
use crate::market::calendar::Ist;
use axum::extract::{Path, Query as Fields, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::path::Path as FilePath;

const KEY: &str = "the-key";
const TOKEN: &str = "the-token";
/// Wednesday, with two minutes of a bar of five gone.
const TODAY: &str = "2026-08-05";

/// What the stand-in knows and was asked.
#[derive(Debug)]
struct Desk {
    /// When the instrument was listed.
    listed: i64,
    /// All prices are so many times what they were: 1 until there is a split.
    factor: i64,
    /// Answers before the usual one.
    script: VecDeque<(StatusCode, String)>,
    /// Path, from and to of each request.
    asked: Vec<(String, String, String)>,
    headers: Vec<HeaderMap>,
}

type Shared = Arc<Mutex<Desk>>;

/// Kite's answer: a bar every five minutes of each session, with prices by its time.
async fn answer(
    State(desk): State<Shared>,
    Path((token, interval)): Path<(String, String)>,
    Fields(fields): Fields<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut desk = desk.lock().await;
    desk.asked.push((format!("{token}/{interval}"), fields["from"].clone(), fields["to"].clone()));
    desk.headers.push(headers);
    assert_eq!(fields["oi"], "1");
    if let Some(scripted) = desk.script.pop_front() {
        return scripted.into_response();
    }
    let (from, to) = (seconds(&fields["from"]).unwrap().max(desk.listed), seconds(&fields["to"]).unwrap());
    let calendar = Calendar::built_in().unwrap();
    let mut rows = Vec::new();
    for date in Date::of(from).0..=Date::of(to).0 {
        let Some(session) = calendar.session(SegmentKind::Cash, Date(date)) else { continue };
        for start in (session.open..session.close).step_by(300).filter(|start| from <= *start && *start <= to) {
            let price = (100 + start / 300 % 50) * desk.factor;
            let stamp = Ist(start).to_string().replace("+05:30", "+0530");
            rows.push(json!([stamp, price, price + 2, price - 1, price + 1, 10, 5]));
        }
    }
    Json(json!({"status": "success", "data": {"candles": rows}})).into_response()
}

struct Bench {
    desk: Shared,
    clock: Clock,
    root: Url,
    /// What the credentials' provider gives.
    token: Arc<Mutex<String>>,
}

impl Bench {
    async fn start() -> Self {
        let desk = Desk {
            listed: open("2026-07-01"),
            factor: 1,
            script: VecDeque::new(),
            asked: Vec::new(),
            headers: Vec::new(),
        };
        let desk = Arc::new(Mutex::new(desk));
        let routes = Router::new().route("/api/instruments/historical/{token}/{interval}", get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}/api/", listener.local_addr().unwrap()).parse().unwrap();
        let served = TowerToHyperService::new(routes.with_state(Arc::clone(&desk)));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), served.clone()));
            }
        });
        // 11:02.
        let now = (open(TODAY) + 6_420).unsigned_abs() * 1_000_000_000;
        Self { desk, clock: Clock::manual(now), root, token: Arc::new(Mutex::new(TOKEN.into())) }
    }

    fn history(&self, cache: Option<&FilePath>) -> History {
        let token = Arc::clone(&self.token);
        let read = move || Ok((Secret::new(KEY), Secret::new(token.blocking_lock().clone())));
        let mut settings = KiteSettings::new(self.root.clone(), Credentials::new(read));
        (settings.per_second, settings.retry_wait) = (1_000, Duration::from_millis(1));
        settings.cache = cache.map(ToOwned::to_owned);
        History::kite(settings, Arc::new(Calendar::built_in().unwrap()), self.clock.clone()).unwrap()
    }

    async fn script(&self, answers: impl IntoIterator<Item = (u16, &str)>) {
        let answers =
            answers.into_iter().map(|(status, body)| (StatusCode::from_u16(status).unwrap(), body.to_owned()));
        self.desk.lock().await.script.extend(answers);
    }

    /// The requests so far, forgotten now.
    async fn asked(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut self.desk.lock().await.asked)
    }

    fn now(&self) -> i64 {
        self.clock.unix_seconds() as i64
    }
}

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
    assert_eq!(error.to_string(), "history: Kite answers 429 (NetworkException: Too many requests)");
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
