//! Bars and the states of their builders, kept on disk so that a restart goes on where the program was.
//!
//! A folder has one file per trading day with the bars that began on it, the newest snapshot of the builders
//! ([`Snapshot`]), and a lock. Everything is appended, or replaced whole, so a kill at any moment loses only what was not
//! flushed; a loss of power may cost what came after the last snapshot. [`Keeper`] flushes every second.

mod day;
mod keeper;
mod record;
mod states;
#[cfg(test)]
mod tests;

pub use keeper::{Entry, Keeper, KeeperPort, KeeperStats};
pub use states::Snapshot;

use crate::clock::Clock;
use crate::market::calendar::Date;
use crate::market::calendar::date::DAY_S;
use crate::market::candle::Bars;
use crate::market::{Candle, InstrumentToken, Timeframe};
use day::Day;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bars of each instrument and timeframe that a restart gets back, the newest.
    pub bars: usize,
    /// Trading days whose files are kept, the newest; at least 1.
    pub days: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bars: 600, days: 5 }
    }
}

/// Bytes that may wait for a disk that takes nothing; further bars are lost and counted.
const MOST_PENDING: usize = 16 << 20;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Two programs would spoil each other's files.
    #[error("{} is in use by another tickfan: give each a data_dir of its own", .0.display())]
    Locked(PathBuf),
    /// The operating system's word.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// What a folder held.
#[derive(Debug, Default)]
pub struct Kept {
    /// The newest bars of each series, the oldest first, each start once.
    pub bars: FxHashMap<(InstrumentToken, Timeframe), Vec<Candle>>,
    /// The last snapshot.
    pub snapshot: Option<Snapshot>,
    /// What was wrong, and put right.
    pub recovery: Recovery,
}

/// What was found broken when a folder was opened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Recovery {
    /// Damaged records between good ones, skipped.
    pub damaged: u64,
    /// Bytes cut off the ends of files, as a kill leaves them.
    pub cut: u64,
    /// Files of another version and snapshots that cannot be read, ignored.
    pub ignored: u64,
}

/// See the module. Owned by one thread, which it blocks.
#[derive(Debug)]
pub struct BarStore {
    dir: PathBuf,
    limits: Limits,
    clock: Clock,
    days: BTreeMap<Date, Day>,
    lost: u64,
    /// Locked for as long as it is open.
    _lock: File,
}

impl BarStore {
    /// Opens the folder, makes it if need be, and keeps every other program out. Days beyond the limit are deleted,
    /// a torn end is cut off, what is of another version is put aside as `*.ignored`.
    ///
    /// # Errors
    /// When another program has the folder, or the operating system refuses it.
    pub fn open(dir: &Path, limits: Limits, clock: Clock) -> Result<(Self, Kept), StoreError> {
        let limits = Limits { days: limits.days.max(1), ..limits };
        std::fs::create_dir_all(dir).map_err(io_error(dir))?;
        let lock = lock(dir)?;
        let mut days: Vec<Date> = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(io_error(dir))? {
            let name = entry.map_err(io_error(dir))?.file_name();
            days.extend(name.to_str().and_then(|name| name.strip_suffix(".bars")?.parse::<Date>().ok()));
        }
        days.sort_unstable();
        for day in days.drain(..days.len().saturating_sub(limits.days)) {
            let path = path(dir, day);
            std::fs::remove_file(&path).map_err(io_error(&path))?;
        }
        let mut kept = Kept::default();
        let mut good = BTreeMap::new();
        for day in days {
            let path = path(dir, day);
            let each = |(token, timeframe, bar)| {
                keep(kept.bars.entry((token, timeframe)).or_default(), bar, limits.bars);
            };
            match day::recover(&path, each).map_err(io_error(&path))? {
                Some(found) => {
                    kept.recovery.damaged += found.damaged;
                    kept.recovery.cut += found.cut;
                    good.insert(day, Day::default());
                }
                None => {
                    tracing::warn!(file = %path.display(), "bars of another version are ignored");
                    kept.recovery.ignored += 1;
                    std::fs::rename(&path, path.with_extension("bars.ignored")).map_err(io_error(&path))?;
                }
            }
        }
        for bars in kept.bars.values_mut() {
            bars.drain(..bars.len().saturating_sub(limits.bars));
        }
        match states::read(dir) {
            Ok(snapshot) => kept.snapshot = snapshot,
            Err(reason) => {
                tracing::warn!(dir = %dir.display(), reason, "the states of the builders are ignored");
                kept.recovery.ignored += 1;
            }
        }
        Ok((Self { dir: dir.to_owned(), limits, clock, days: good, lost: 0, _lock: lock }, kept))
    }

    /// Takes a closed bar, or one closed before and revised. It is on disk after the next [`BarStore::flush`].
    ///
    /// A bar of the future would push out a day that counts, so it is refused.
    pub fn append(&mut self, token: InstrumentToken, timeframe: Timeframe, bar: &Candle) {
        let date = Date::of(bar.start);
        let pending = self.days.values().map(Day::pending).sum::<usize>();
        let tomorrow = self.clock.unix_seconds() as i64 + DAY_S;
        if !(0..tomorrow).contains(&bar.start) || pending >= MOST_PENDING || !self.enter(date) {
            self.lost += 1;
            return;
        }
        self.days.entry(date).or_default().push(&(token, timeframe, *bar));
    }

    /// Whether the day is one of those kept; a new one takes the place of the oldest.
    fn enter(&mut self, date: Date) -> bool {
        if self.days.contains_key(&date) || self.days.len() < self.limits.days {
            return true;
        }
        let Some(oldest) = self.days.keys().next().copied().filter(|oldest| *oldest < date) else { return false };
        self.days.remove(&oldest);
        // What cannot be deleted now is deleted when the folder is opened next.
        let _ = std::fs::remove_file(path(&self.dir, oldest));
        true
    }

    /// Hands all bars to the operating system: from then on they survive the end of this program.
    ///
    /// # Errors
    /// What the operating system says. Nothing is lost: the next call tries again.
    pub fn flush(&mut self) -> io::Result<()> {
        let newest = self.days.keys().next_back().copied();
        for (date, day) in &mut self.days {
            day.write(&path(&self.dir, *date))?;
            if Some(*date) != newest {
                day.close();
            }
        }
        Ok(())
    }

    /// Replaces the snapshot, after the bars: no state may know of a bar that the files lack.
    ///
    /// # Errors
    /// What the operating system says; the old snapshot stays then.
    pub fn snapshot(&mut self, at: i64, states: &[(InstrumentToken, Bars)]) -> io::Result<()> {
        self.flush()?;
        self.days.values().try_for_each(Day::sync)?;
        states::write(&self.dir, at, states)
    }

    /// Bars that were not kept: older than all days, of the future, or the disk has refused too many.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

/// Puts a bar where it belongs. Of two with one start the later one counts, except that a whole bar is not given up for
/// a partial one: a builder that comes back from a snapshot may close again what had been closed after it.
fn keep(bars: &mut Vec<Candle>, bar: Candle, most: usize) {
    let at = bars.partition_point(|known| known.start < bar.start);
    match bars.get_mut(at).filter(|known| known.start == bar.start) {
        Some(known) if bar.partial && !known.partial => {}
        Some(known) => *known = bar,
        None => bars.insert(at, bar),
    }
    if bars.len() > most.saturating_mul(2) {
        bars.drain(..bars.len() - most);
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(StoreError::Io { path, source }),
    }
}

fn path(dir: &Path, date: Date) -> PathBuf {
    dir.join(format!("{date}.bars"))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    |source| StoreError::Io { path: path.to_owned(), source }
}
