//! Bars from Kite's historical API: `GET /instruments/historical/:token/:interval`.
//!
//! Kite takes three such requests a second for the whole app, so everything is done to ask little: all share one pace,
//! who asks for the same series waits for the other's answer, and what is known stays, in memory and on disk. A series
//! has no gaps; it grows at its end as time passes, and at its beginning when more is wanted. What Kite has restated (it
//! adjusts the past after a split) is noticed where new bars overlap known ones, and asked for anew.

mod cache;
mod pacer;
mod reply;
mod request;
mod series;
#[cfg(test)]
mod tests;

use super::hours::Hours;
use super::{Counters, HistoryError};
use crate::clock::Clock;
use crate::market::calendar::Date;
use crate::market::calendar::date::DAY_S;
use crate::market::{Calendar, Candle, InstrumentToken, SegmentKind, Timeframe};
use crate::secret::Secret;
use request::{Requests, most_days};
use reqwest::Url;
use rustc_hash::FxHashMap;
use series::{Asked, MOST_BARS, Series};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// A bar may still change for so long after its end: staff say ten seconds.
const SETTLED_S: i64 = 60;
/// Series kept in memory; the ones not asked for longest leave first.
const MOST_SERIES: usize = 256;
/// Requests that one answer may cost.
const MOST_WINDOWS: usize = 16;
/// After so many windows without a bar there was nothing before: the instrument was not listed yet.
const EMPTY_WINDOWS: usize = 2;
/// A session of NSE, for a guess at how many days hold so many bars.
const SESSION_S: i64 = 22_500;

/// API key and access token of this moment, or why there are none. May block; must not name secrets in its error.
pub type ReadCredentials = dyn Fn() -> Result<(Secret, Secret), String> + Send + Sync;

/// Where credentials come from, asked before each request: an access token lives for a day.
#[derive(Clone)]
pub struct Credentials(Arc<ReadCredentials>);

impl Credentials {
    /// From a function.
    pub fn new(read: impl Fn() -> Result<(Secret, Secret), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    async fn read(&self) -> Result<(Secret, Secret), HistoryError> {
        let read = Arc::clone(&self.0);
        let stopping = |_| HistoryError::Credentials("reading was interrupted".to_owned());
        tokio::task::spawn_blocking(move || read()).await.map_err(stopping)?.map_err(HistoryError::Credentials)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::secret::REDACTED)
    }
}

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct KiteSettings {
    /// Kite's address, `https://api.kite.trade`.
    pub root: Url,
    /// Who asks.
    pub credentials: Credentials,
    /// A folder in which bars are kept for the next start; made if need be.
    pub cache: Option<PathBuf>,
    /// Requests a second, all together. Kite refuses more than 3.
    pub per_second: u32,
    /// Wait before the first retry; doubles.
    pub retry_wait: Duration,
    /// Longest time one request may take.
    pub timeout: Duration,
}

impl KiteSettings {
    /// With Kite's pace and no cache.
    pub fn new(root: Url, credentials: Credentials) -> Self {
        let (retry_wait, timeout) = (Duration::from_secs(1), Duration::from_secs(15));
        Self { root, credentials, cache: None, per_second: 3, retry_wait, timeout }
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Query {
    pub token: InstrumentToken,
    pub kind: SegmentKind,
    pub timeframe: Timeframe,
}

type Shelf = FxHashMap<(InstrumentToken, Timeframe), (u64, Arc<Mutex<Series>>)>;

/// See the module.
#[derive(Debug)]
pub(super) struct Kite {
    requests: Requests,
    calendar: Arc<Calendar>,
    clock: Clock,
    cache: Option<PathBuf>,
    /// Each series with the number of its last use.
    shelf: Mutex<(u64, Shelf)>,
    counters: Arc<Counters>,
}

impl Kite {
    pub fn new(
        settings: KiteSettings,
        calendar: Arc<Calendar>,
        clock: Clock,
        counters: Arc<Counters>,
    ) -> Result<Self, HistoryError> {
        if let Some(dir) = &settings.cache {
            let failed = |error: std::io::Error| HistoryError::File { path: dir.clone(), reason: error.to_string() };
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let requests = Requests::new(&settings, Arc::clone(&counters))?;
        let (cache, shelf) = (settings.cache, Mutex::default());
        Ok(Self { requests, calendar, clock, cache, shelf, counters })
    }

    /// As [`super::History::bars`]; at most [`MOST_BARS`].
    pub async fn bars(&self, query: Query, wanted: usize, until: i64) -> Result<Vec<Candle>, HistoryError> {
        let now = self.clock.unix_seconds() as i64;
        let (wanted, until) = (wanted.min(MOST_BARS), until.min(now));
        let series = self.series(query).await;
        // Whoever else wants this series waits here, and finds it done.
        let mut series = series.lock().await;
        self.load(query, &mut series).await;
        let extended = self.extend(query, &mut series, wanted, until, now).await;
        let bars = series.newest(wanted, until);
        series.trim();
        self.save(query, &mut series).await;
        if extended? == 0 {
            Counters::add(&self.counters.cache_hits, 1);
        }
        Ok(bars)
    }

    /// The series on the shelf, put there if it is new.
    async fn series(&self, query: Query) -> Arc<Mutex<Series>> {
        let mut shelf = self.shelf.lock().await;
        let (uses, shelf) = &mut *shelf;
        *uses += 1;
        let key = (query.token, query.timeframe);
        if shelf.len() >= MOST_SERIES && !shelf.contains_key(&key) {
            let idle = shelf.iter().filter(|(_, (_, series))| Arc::strong_count(series) == 1);
            if let Some(key) = idle.min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key) {
                shelf.remove(&key);
            }
        }
        let entry = shelf.entry(key).or_default();
        entry.0 = *uses;
        Arc::clone(&entry.1)
    }

    /// Sees to it that a series has what is asked of it; returns how many windows had to be fetched.
    async fn extend(
        &self,
        query: Query,
        series: &mut Series,
        wanted: usize,
        until: i64,
        now: i64,
    ) -> Result<usize, HistoryError> {
        if series.bars.is_empty() && series.asked.is_some_and(|asked| now - asked.at >= SETTLED_S) {
            // An empty past is believed for a moment only: it may have been a bad day at Kite's.
            series.clear();
        }
        let mut empty = 0;
        for windows in 0..MOST_WINDOWS {
            let joined = if self.lacks_newest(query, series, until, now) {
                self.grow_end(query, series, wanted, until, now, &mut empty).await?
            } else if series.begins || series.newest(wanted, until).len() >= wanted {
                return Ok(windows);
            } else {
                self.grow_beginning(query, series, &mut empty).await?
            };
            if !joined {
                Counters::add(&self.counters.cache_stale, 1);
                series.clear();
                empty = 0;
            }
            series.begins |= empty >= EMPTY_WINDOWS;
        }
        Ok(MOST_WINDOWS)
    }

    /// Whether a bar may have ended that nobody has asked for.
    fn lacks_newest(&self, query: Query, series: &Series, until: i64, now: i64) -> bool {
        let last = Hours::new(&self.calendar, query.kind).last_end(query.timeframe, until);
        let just_asked = series.asked.is_some_and(|asked| now - asked.at < SETTLED_S && last <= asked.until);
        series.is_empty() || (last > series.until && !just_asked)
    }

    async fn grow_end(
        &self,
        query: Query,
        series: &mut Series,
        wanted: usize,
        until: i64,
        now: i64,
        empty: &mut usize,
    ) -> Result<bool, HistoryError> {
        let longest = most_days(query.timeframe) * DAY_S;
        if !series.is_empty() && until - series.until > longest - DAY_S {
            // From so long ago that a gap would remain.
            series.clear();
        }
        let from = match series.bars.last() {
            _ if series.is_empty() => until - days_for(query.timeframe, wanted) * DAY_S,
            // The last known bar again, to see that it is still the same.
            Some(bar) if until - bar.start <= longest => bar.start,
            _ => series.until - query.timeframe.seconds().unwrap_or(DAY_S),
        };
        let mut found = self.requests.bars(&query, (from, until), &self.calendar).await?;
        found.retain(|bar| bar.end <= until);
        *empty += usize::from(series.is_empty() && found.is_empty());
        let settled = match query.timeframe {
            Timeframe::Day => Date::of(now).midnight(),
            _ => now - SETTLED_S,
        };
        let settled = settled.min(until).max(from + 1);
        let tail = found.split_off(found.partition_point(|bar| bar.end <= settled));
        let joined = series.join(from, settled, &found);
        (series.tail, series.asked) = (tail, Some(Asked { at: now, until }));
        Ok(joined)
    }

    async fn grow_beginning(&self, query: Query, series: &mut Series, empty: &mut usize) -> Result<bool, HistoryError> {
        // The first known bar again, to see that it is still the same.
        let to = series.bars.first().map_or(series.from, |bar| bar.end);
        let from = to - most_days(query.timeframe) * DAY_S;
        let mut found = self.requests.bars(&query, (from, to), &self.calendar).await?;
        found.retain(|bar| bar.end <= series.until);
        let before = series.bars.first().map_or(i64::MAX, |bar| bar.start);
        *empty = if found.iter().any(|bar| bar.start < before) { 0 } else { *empty + 1 };
        Ok(series.join(from, to, &found))
    }

    async fn load(&self, query: Query, series: &mut Series) {
        let Some(dir) = self.cache.clone().filter(|_| !series.loaded) else { return };
        series.loaded = true;
        match tokio::task::spawn_blocking(move || cache::load(&dir, &query)).await {
            Ok(Some(stored)) => *series = Series { loaded: true, ..stored },
            Ok(None) => {
                Counters::add(&self.counters.cache_broken, 1);
                tracing::warn!(token = query.token.0, timeframe = %query.timeframe, "a broken cache file is discarded");
            }
            Err(_) => {}
        }
    }

    /// A series without bars is not worth a file.
    async fn save(&self, query: Query, series: &mut Series) {
        let Some(dir) = self.cache.clone().filter(|_| series.fresh && !series.bars.is_empty()) else { return };
        series.fresh = false;
        let copy = Series { tail: Vec::new(), ..series.clone() };
        let saved = tokio::task::spawn_blocking(move || cache::save(&dir, &query, &copy)).await;
        if let Ok(Err(error)) = saved {
            // The answer does not depend on it.
            series.fresh = true;
            if Counters::add(&self.counters.cache_unwritten, 1) == 0 {
                tracing::warn!(%error, "bars cannot be written to history_cache; told once");
            }
        }
    }
}

/// How many days most likely hold so many bars, weekends and a few holidays included.
fn days_for(timeframe: Timeframe, wanted: usize) -> i64 {
    let bars_a_day = timeframe.seconds().map_or(1, |length| (SESSION_S / length).max(1));
    (wanted as i64 / bars_a_day * 8 / 5 + 6).min(most_days(timeframe))
}
