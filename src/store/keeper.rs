//! The thread that writes, so that no other waits for a disk.

use super::{BarStore, Snapshot};
use crate::market::{Candle, InstrumentToken, Timeframe};
use crossbeam::queue::ArrayQueue;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bars are on disk after at most this long.
const FLUSH: Duration = Duration::from_secs(1);
/// The thread looks this often for work; nobody pays for waking it.
const POLL: Duration = Duration::from_millis(50);

/// What the thread is given.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A bar that was closed or revised.
    Bar(InstrumentToken, Timeframe, Candle),
    /// The states of all builders.
    Snapshot(Box<Snapshot>),
    /// To write at once.
    Flush,
}

/// What was counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeeperStats {
    /// Bars taken for writing.
    pub bars: u64,
    /// Snapshots on disk.
    pub snapshots: u64,
    /// Entries refused because the queue was full.
    pub dropped: u64,
    /// Bars taken and given up: see [`BarStore::lost`].
    pub lost: u64,
    /// Attempts to write that failed; each is made again.
    pub failures: u64,
}

#[derive(Debug)]
struct Shared {
    queue: ArrayQueue<Entry>,
    stopping: AtomicBool,
    bars: AtomicU64,
    snapshots: AtomicU64,
    dropped: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
}

impl Shared {
    fn new(capacity: usize) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            queue: ArrayQueue::new(capacity.max(1)),
            stopping: AtomicBool::new(false),
            bars: zero(),
            snapshots: zero(),
            dropped: zero(),
            lost: zero(),
            failures: zero(),
        })
    }
}

/// Where entries are handed in. Any thread; never waits.
#[derive(Clone, Debug)]
pub struct KeeperPort(Arc<Shared>);

impl KeeperPort {
    /// Hands an entry in; whether there was room for it. One without is counted and gone.
    pub fn try_send(&self, entry: Entry) -> bool {
        let sent = self.0.queue.push(entry).is_ok();
        if !sent {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }

    /// What was counted.
    pub fn stats(&self) -> KeeperStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KeeperStats {
            bars: read(&self.0.bars),
            snapshots: read(&self.0.snapshots),
            dropped: read(&self.0.dropped),
            lost: read(&self.0.lost),
            failures: read(&self.0.failures),
        }
    }
}

/// The thread; dropping it writes what was handed in and ends it.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread over a store. `capacity` is how many entries may wait: when a minute ends, all instruments
    /// close a bar at once.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(store: BarStore, capacity: usize) -> io::Result<Self> {
        let shared = Shared::new(capacity);
        let mut writer = Writer { store, shared: Arc::clone(&shared), snapshot: None, failing: false };
        let thread = thread::Builder::new().name("tickfan-keeper".to_owned()).spawn(move || writer.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Where entries are handed in.
    pub fn port(&self) -> KeeperPort {
        KeeperPort(Arc::clone(&self.shared))
    }

    /// Writes all that was handed in before and ends the thread.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been told by its own message.
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct Writer {
    store: BarStore,
    shared: Arc<Shared>,
    /// The newest snapshot that is not on disk.
    snapshot: Option<Box<Snapshot>>,
    /// The last attempt has failed, and it was told.
    failing: bool,
}

impl Writer {
    fn run(&mut self) {
        let mut flushed = Instant::now();
        loop {
            // Read before the queue: what was handed in before the end is written.
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            if self.take() || stopping || flushed.elapsed() >= FLUSH {
                self.write();
                flushed = Instant::now();
            }
            if stopping {
                return;
            }
            thread::park_timeout(POLL);
        }
    }

    /// Empties the queue; whether something has to be written at once.
    fn take(&mut self) -> bool {
        let mut flush = false;
        // No more than fit, so that a steady stream cannot keep it from writing.
        for _ in 0..self.shared.queue.capacity() {
            match self.shared.queue.pop() {
                Some(Entry::Bar(token, timeframe, bar)) => {
                    self.store.append(token, timeframe, &bar);
                    self.shared.bars.fetch_add(1, Ordering::Relaxed);
                }
                Some(Entry::Snapshot(snapshot)) => (self.snapshot, flush) = (Some(snapshot), true),
                Some(Entry::Flush) => flush = true,
                None => break,
            }
        }
        self.shared.lost.store(self.store.lost(), Ordering::Relaxed);
        flush
    }

    fn write(&mut self) {
        let written = match &self.snapshot {
            Some(snapshot) => self.store.snapshot(snapshot.at, &snapshot.states),
            None => self.store.flush(),
        };
        match written {
            Ok(()) => {
                self.shared.snapshots.fetch_add(u64::from(self.snapshot.take().is_some()), Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("bars are written to disk again");
                }
            }
            Err(error) => {
                self.shared.failures.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "bars cannot be written to disk; trying again every second");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_counts() {
        let port = KeeperPort(Shared::new(2));
        let sent: Vec<bool> = (0..4).map(|_| port.try_send(Entry::Flush)).collect();
        assert_eq!(sent, [true, true, false, false]);
        assert_eq!(port.stats(), KeeperStats { dropped: 2, ..KeeperStats::default() });
    }
}
