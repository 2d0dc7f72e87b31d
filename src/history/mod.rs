//! Closed bars of the past: for indicators that must be warm before they speak, and for clients that ask for them.
//!
//! [`History`] is where they come from: nowhere, [a folder of csv files](folder), or [Kite](kite). Control side only: it
//! waits for disks and servers.

pub mod csv;
pub mod folder;
mod hours;
pub mod kite;
#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::kite::instruments::Instrument;
use crate::market::{Calendar, Candle, SegmentKind, Timeframe};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why there are no bars. No error has a secret in it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file or folder cannot be read, or holds no bars.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why, with the line if it is one.
        reason: String,
    },
    /// Kite does not know us, or the app may not read the history.
    #[error("Kite refuses ({0}): log in to get a new access token, or see whether the app may read history")]
    Refused(String),
    /// Kite says no for another reason, after the retries that make sense.
    #[error("Kite answers {status} ({reason})")]
    Kite {
        /// Of HTTP.
        status: u16,
        /// Kite's words.
        reason: String,
    },
    /// There is no answer, after some retries.
    #[error("Kite cannot be reached: {0}")]
    Unreachable(String),
    /// The answer cannot be read.
    #[error("Kite's answer cannot be read: {0}")]
    Reply(String),
    /// There are no credentials now.
    #[error("no credentials: {0}")]
    Credentials(String),
    /// Too many requests wait for their turn.
    #[error("too many requests are waiting; try again in some minutes")]
    Busy,
}

/// What was counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HistoryStats {
    /// Answers of [`History::bars`], errors included.
    pub queries: u64,
    /// Bars in these answers.
    pub bars: u64,
    /// Queries that ended in an error.
    pub failures: u64,
    /// Requests sent to Kite, retries included.
    pub requests: u64,
    /// Retries among them.
    pub retries: u64,
    /// Queries answered without a request.
    pub cache_hits: u64,
    /// Broken cache files, discarded.
    pub cache_broken: u64,
    /// Series asked for anew because Kite has restated them.
    pub cache_stale: u64,
    /// Cache files that could not be written.
    pub cache_unwritten: u64,
    /// Rows of Kite's answers that were no bars.
    pub skipped: u64,
}

/// [`HistoryStats`] while they are counted.
#[derive(Debug, Default)]
struct Counters {
    queries: AtomicU64,
    bars: AtomicU64,
    failures: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
    cache_hits: AtomicU64,
    cache_broken: AtomicU64,
    cache_stale: AtomicU64,
    cache_unwritten: AtomicU64,
    skipped: AtomicU64,
}

impl Counters {
    /// Adds; returns what it was before.
    fn add(counter: &AtomicU64, more: u64) -> u64 {
        counter.fetch_add(more, Ordering::Relaxed)
    }

    fn read(&self) -> HistoryStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HistoryStats {
            queries: read(&self.queries),
            bars: read(&self.bars),
            failures: read(&self.failures),
            requests: read(&self.requests),
            retries: read(&self.retries),
            cache_hits: read(&self.cache_hits),
            cache_broken: read(&self.cache_broken),
            cache_stale: read(&self.cache_stale),
            cache_unwritten: read(&self.cache_unwritten),
            skipped: read(&self.skipped),
        }
    }
}

/// Where closed bars come from. A cheap handle: clones share everything.
#[derive(Clone, Debug)]
pub struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    counters: Arc<Counters>,
}

#[derive(Debug)]
enum Source {
    None,
    Folder(PathBuf, Arc<Calendar>),
    Kite(Box<kite::Kite>),
}

impl History {
    /// Has no bars.
    pub fn none() -> Self {
        Self::over(Source::None, Arc::default())
    }

    /// Reads csv files; see [`folder`] for their names.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn folder(dir: PathBuf, calendar: Arc<Calendar>) -> Result<Self, HistoryError> {
        Ok(Self::over(Source::Folder(folder::check(dir)?, calendar), Arc::default()))
    }

    /// Asks Kite; see [`kite`].
    ///
    /// # Errors
    /// When the folder of the cache cannot be made, or the HTTP client.
    pub fn kite(settings: kite::KiteSettings, calendar: Arc<Calendar>, clock: Clock) -> Result<Self, HistoryError> {
        let counters = Arc::<Counters>::default();
        let kite = kite::Kite::new(settings, calendar, clock, Arc::clone(&counters))?;
        Ok(Self::over(Source::Kite(Box::new(kite)), counters))
    }

    fn over(source: Source, counters: Arc<Counters>) -> Self {
        Self(Arc::new(Inner { source, counters }))
    }

    /// Closed bars that end at or before `until` (Unix seconds), the oldest first, at most the newest `wanted` (of
    /// Kite's at most 10,000); fewer when the past has no more. `kind` has the hours by which bars are aligned.
    ///
    /// May take minutes when many ask. Dropping the future gives up the request.
    ///
    /// # Errors
    /// When the source fails; a file or an instrument that is not there is an empty list.
    pub async fn bars(
        &self,
        instrument: &Instrument,
        kind: SegmentKind,
        timeframe: Timeframe,
        wanted: usize,
        until: i64,
    ) -> Result<Vec<Candle>, HistoryError> {
        let found = match &self.0.source {
            Source::None => Ok(Vec::new()),
            Source::Folder(dir, calendar) => {
                let query = folder::Query::new(instrument, kind, timeframe);
                let (dir, calendar) = (dir.clone(), Arc::clone(calendar));
                let read = tokio::task::spawn_blocking(move || folder::read(&dir, &calendar, &query));
                // It does not come back only when the program is stopping.
                read.await.unwrap_or_else(|_| Ok(Vec::new())).map(|mut bars| {
                    bars.truncate(bars.partition_point(|bar| bar.end <= until));
                    bars.drain(..bars.len().saturating_sub(wanted));
                    bars
                })
            }
            Source::Kite(kite) => {
                kite.bars(kite::Query { token: instrument.token, kind, timeframe }, wanted, until).await
            }
        };
        let counters = &self.0.counters;
        Counters::add(&counters.queries, 1);
        match &found {
            Ok(bars) => Counters::add(&counters.bars, bars.len() as u64),
            Err(_) => Counters::add(&counters.failures, 1),
        };
        found
    }

    /// What it is called in settings and replies: `none`, `folder` or `kite`.
    pub fn name(&self) -> &'static str {
        match self.0.source {
            Source::None => "none",
            Source::Folder(..) => "folder",
            Source::Kite(_) => "kite",
        }
    }

    /// What was counted.
    pub fn stats(&self) -> HistoryStats {
        self.0.counters.read()
    }
}
