//! One request for a window of bars: its turn, its credentials, its second chances.

use super::pacer::Pacer;
use super::{Credentials, KiteSettings, Query, reply};
use crate::history::{Counters, HistoryError};
use crate::market::calendar::Ist;
use crate::market::{Calendar, Candle, Timeframe};
use crate::secret::Secret;
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

/// Requests under way at one time.
const CONCURRENT: usize = 4;
/// Requests that may wait for their turn: five minutes of them at Kite's pace.
const MOST_WAITING: usize = 1_000;
/// Attempts after the first.
const RETRIES: u32 = 3;
/// Longest wait that Kite can ask of us.
const MOST_WAIT: Duration = Duration::from_secs(60);
/// A refused token is not tried again for so long.
const REFUSAL: Duration = Duration::from_secs(60);
/// Largest answer; two months of minutes are a tenth of it.
const MOST_BYTES: usize = 16 << 20;

/// See the module. Shared by all who ask.
#[derive(Debug)]
pub(super) struct Requests {
    client: Client,
    root: Url,
    credentials: Credentials,
    pacer: Pacer,
    slots: Semaphore,
    waiting: Semaphore,
    retry_wait: Duration,
    /// The token that was refused last, when, and why.
    refused: Mutex<Option<(Secret, Instant, String)>>,
    counters: Arc<Counters>,
}

/// Why an attempt gave nothing.
enum Failure {
    /// Another one may; after so long, if the server said.
    Again(HistoryError, Option<Duration>),
    /// None will.
    Final(HistoryError),
}

impl Requests {
    pub fn new(settings: &KiteSettings, counters: Arc<Counters>) -> Result<Self, HistoryError> {
        // Redirected requests would carry the credentials elsewhere.
        let client = Client::builder().timeout(settings.timeout).redirect(reqwest::redirect::Policy::none());
        Ok(Self {
            client: client.build().map_err(|error| HistoryError::Unreachable(words(error)))?,
            root: settings.root.clone(),
            credentials: settings.credentials.clone(),
            pacer: Pacer::new(settings.per_second),
            slots: Semaphore::new(CONCURRENT),
            waiting: Semaphore::new(MOST_WAITING),
            retry_wait: settings.retry_wait,
            refused: Mutex::new(None),
            counters,
        })
    }

    /// The bars that begin from `from` to before `to`, as Kite has them, one that forms included.
    pub async fn bars(
        &self,
        query: &Query,
        (from, to): (i64, i64),
        calendar: &Calendar,
    ) -> Result<Vec<Candle>, HistoryError> {
        let _waiting = self.waiting.try_acquire().map_err(|_| HistoryError::Busy)?;
        let _slot = self.slots.acquire().await.map_err(|_| HistoryError::Busy)?;
        let url = self.url(query, from, to);
        let mut attempt = 0;
        let body = loop {
            match self.once(&url).await {
                Ok(body) => break body,
                Err(Failure::Again(_, after)) if attempt < RETRIES => {
                    Counters::add(&self.counters.retries, 1);
                    let wait = after.unwrap_or(self.retry_wait * 2_u32.pow(attempt)).min(MOST_WAIT);
                    // What a server cannot take now it cannot take from others either.
                    self.pacer.hold(wait).await;
                    attempt += 1;
                }
                Err(Failure::Again(error, _) | Failure::Final(error)) => return Err(error),
            }
        };
        let (bars, skipped) = reply::candles(&body, query, calendar)
            .ok_or_else(|| HistoryError::Reply("it is not what Kite documents".to_owned()))?;
        Counters::add(&self.counters.skipped, skipped);
        Ok(bars)
    }

    fn url(&self, query: &Query, from: i64, to: i64) -> Url {
        let mut url = self.root.clone();
        let path = format!(
            "{}/instruments/historical/{}/{}",
            self.root.path().trim_end_matches('/'),
            query.token,
            interval(query.timeframe)
        );
        url.set_path(&path);
        let time = |unix_s: i64| Ist(unix_s).to_string().chars().take(19).collect::<String>().replace('T', " ");
        url.query_pairs_mut()
            .append_pair("from", &time(from))
            // Kite includes the bar that begins with it.
            .append_pair("to", &time(to - 1))
            .append_pair("oi", "1");
        url
    }

    async fn once(&self, url: &Url) -> Result<Vec<u8>, Failure> {
        let (key, token) = self.credentials.read().await.map_err(Failure::Final)?;
        if let Some((refused, at, reason)) = &*self.refused.lock().await
            && *refused == token
            && at.elapsed() < REFUSAL
        {
            return Err(Failure::Final(HistoryError::Refused(reason.clone())));
        }
        let mut authorization = HeaderValue::from_str(&format!("token {}:{}", key.reveal(), token.reveal()))
            .map_err(|_| Failure::Final(HistoryError::Credentials("they have letters that no header takes".into())))?;
        authorization.set_sensitive(true);
        self.pacer.turn().await;
        Counters::add(&self.counters.requests, 1);
        let request = self.client.get(url.clone()).header("X-Kite-Version", "3").header(AUTHORIZATION, authorization);
        let unreachable = |error| Failure::Again(HistoryError::Unreachable(words(error)), None);
        let mut answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(Failure::Final(HistoryError::Reply(format!("it is longer than {MOST_BYTES} bytes"))));
            }
            body.extend_from_slice(&chunk);
        }
        if status == StatusCode::OK {
            return Ok(body);
        }
        let reason = reply::refusal(&body, [&token, &key]);
        let error = HistoryError::Kite { status: status.as_u16(), reason: reason.clone() };
        match status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                *self.refused.lock().await = Some((token, Instant::now(), reason.clone()));
                Err(Failure::Final(HistoryError::Refused(reason)))
            }
            StatusCode::TOO_MANY_REQUESTS => Err(Failure::Again(error, after.map(Duration::from_secs))),
            status if status.is_server_error() => Err(Failure::Again(error, after.map(Duration::from_secs))),
            _ => Err(Failure::Final(error)),
        }
    }
}

/// Kite's name of a timeframe.
const fn interval(timeframe: Timeframe) -> &'static str {
    match timeframe {
        Timeframe::Min1 => "minute",
        Timeframe::Min3 => "3minute",
        Timeframe::Min5 => "5minute",
        Timeframe::Min10 => "10minute",
        Timeframe::Min15 => "15minute",
        Timeframe::Min30 => "30minute",
        Timeframe::Min60 => "60minute",
        Timeframe::Day => "day",
    }
}

/// How many days one request may span: Kite refuses more (kite.trade forum, "historical data limits").
pub(super) const fn most_days(timeframe: Timeframe) -> i64 {
    match timeframe {
        Timeframe::Min1 => 60,
        Timeframe::Min3 | Timeframe::Min5 | Timeframe::Min10 => 100,
        Timeframe::Min15 | Timeframe::Min30 => 200,
        Timeframe::Min60 => 400,
        Timeframe::Day => 2_000,
    }
}

/// An error with its causes and without the address.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
