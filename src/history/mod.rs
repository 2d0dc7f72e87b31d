//! Closed bars of the past: for indicators that must be warm before they speak, and for clients that ask for them.
//!
//! [`History`] is where they come from: nowhere, [a folder of csv files](folder), or [Kite](kite). Control side only:
//! it waits for disks and servers.

pub mod csv;
pub mod folder;
mod hours;
#[cfg(test)]
mod tests;

use crate::kite::instruments::Instrument;
use crate::market::{Calendar, Candle, SegmentKind, Timeframe};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why there are no bars. No error has a secret in it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file or folder cannot be read, or holds no bars.
    #[error("history: {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why, with the line if it is one.
        reason: String,
    },
}

/// What was counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HistoryStats {
    /// Answers to [`History::bars`], errors included.
    pub queries: u64,
    /// Bars in these answers.
    pub bars: u64,
    /// Queries that ended in an error.
    pub failures: u64,
}

/// Where closed bars come from. A cheap handle: clones share everything.
#[derive(Clone, Debug)]
pub struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    calendar: Arc<Calendar>,
    queries: AtomicU64,
    bars: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug)]
enum Source {
    None,
    Folder(PathBuf),
}

impl History {
    /// Has no bars.
    pub fn none() -> Self {
        Self::over(Source::None, Arc::new(Calendar::around_the_clock()))
    }

    /// Reads csv files; see [`folder`] for their names.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn folder(dir: PathBuf, calendar: Arc<Calendar>) -> Result<Self, HistoryError> {
        Ok(Self::over(Source::Folder(folder::check(dir)?), calendar))
    }

    fn over(source: Source, calendar: Arc<Calendar>) -> Self {
        let zero = || AtomicU64::new(0);
        Self(Arc::new(Inner { source, calendar, queries: zero(), bars: zero(), failures: zero() }))
    }

    /// Closed bars that end at or before `until` (Unix seconds), the oldest first, at most the newest `wanted`; fewer
    /// when the past has no more. `kind` has the hours by which bars are aligned.
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
        let found = self.find(instrument, kind, timeframe).await;
        self.0.queries.fetch_add(1, Ordering::Relaxed);
        match found {
            Ok(mut bars) => {
                bars.truncate(bars.partition_point(|bar| bar.end <= until));
                bars.drain(..bars.len().saturating_sub(wanted));
                self.0.bars.fetch_add(bars.len() as u64, Ordering::Relaxed);
                Ok(bars)
            }
            Err(error) => {
                self.0.failures.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    async fn find(
        &self,
        instrument: &Instrument,
        kind: SegmentKind,
        timeframe: Timeframe,
    ) -> Result<Vec<Candle>, HistoryError> {
        match &self.0.source {
            Source::None => Ok(Vec::new()),
            Source::Folder(dir) => {
                let query = folder::Query::new(instrument, kind, timeframe);
                let (dir, calendar) = (dir.clone(), Arc::clone(&self.0.calendar));
                let read = tokio::task::spawn_blocking(move || folder::read(&dir, &calendar, &query));
                // It does not come back only when the program is stopping.
                read.await.unwrap_or_else(|_| Ok(Vec::new()))
            }
        }
    }

    /// What it is called in settings and replies: `none`, `folder` or `kite`.
    pub fn name(&self) -> &'static str {
        match self.0.source {
            Source::None => "none",
            Source::Folder(_) => "folder",
        }
    }

    /// What was counted.
    pub fn stats(&self) -> HistoryStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HistoryStats { queries: read(&self.0.queries), bars: read(&self.0.bars), failures: read(&self.0.failures) }
    }
}
