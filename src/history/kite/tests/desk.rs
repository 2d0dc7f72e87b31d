//! A stand-in for Kite on a port of the system's choice.

use super::*;
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

pub(super) const KEY: &str = "the-key";
pub(super) const TOKEN: &str = "the-token";
/// Wednesday, with two minutes of a bar of five gone.
pub(super) const TODAY: &str = "2026-08-05";

/// What the stand-in knows and was asked.
#[derive(Debug)]
pub(super) struct Desk {
    /// When the instrument was listed.
    pub(super) listed: i64,
    /// All prices are so many times what they were: 1 until there is a split.
    pub(super) factor: i64,
    /// Answers before the usual one.
    pub(super) script: VecDeque<(StatusCode, String)>,
    /// Path, from and to of each request.
    pub(super) asked: Vec<(String, String, String)>,
    pub(super) headers: Vec<HeaderMap>,
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

pub(super) struct Bench {
    pub(super) desk: Shared,
    pub(super) clock: Clock,
    pub(super) root: Url,
    /// What the credentials' provider gives.
    pub(super) token: Arc<Mutex<String>>,
}

impl Bench {
    pub(super) async fn start() -> Self {
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

    pub(super) fn history(&self, cache: Option<&FilePath>) -> History {
        let token = Arc::clone(&self.token);
        let read = move || Ok((Secret::new(KEY), Secret::new(token.blocking_lock().clone())));
        let mut settings = KiteSettings::new(self.root.clone(), Credentials::new(read));
        (settings.per_second, settings.retry_wait) = (1_000, Duration::from_millis(1));
        settings.cache = cache.map(ToOwned::to_owned);
        History::kite(settings, Arc::new(Calendar::built_in().unwrap()), self.clock.clone()).unwrap()
    }

    pub(super) async fn script(&self, answers: impl IntoIterator<Item = (u16, &str)>) {
        let answers =
            answers.into_iter().map(|(status, body)| (StatusCode::from_u16(status).unwrap(), body.to_owned()));
        self.desk.lock().await.script.extend(answers);
    }

    /// The requests so far, forgotten now.
    pub(super) async fn asked(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut self.desk.lock().await.asked)
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.unix_seconds() as i64
    }
}
