//! A recorded tape as a feed: a day, or its busiest minutes, again and again.
//!
//! The only clock is the `now_ns` of [`Feed::poll`], so a replay is the same on a fast and on a slow machine, and a
//! test needs no sleeping. Reading the file happens within `poll` through a read-ahead buffer: a tape on a local disk
//! is in the page cache since the scan that opening makes, so this does not block for long.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Demand, Feed};
use crate::clock::MarketTime;
use crate::market::InstrumentToken;
use crate::tape::{Reel, TapeEnd, TapeError, TapeScan, scan};

mod options;
mod progress;
#[cfg(test)]
mod tests;

pub use options::{OptionError, Speed, Start, TapeOptions};
pub use progress::TapeProgress;

/// Between the last message of a round and the first of the next, in time of the tape: a loop has a seam one can see,
/// and a tape of one message does not spin.
const SEAM_NS: f64 = 1e9;

/// Replays one tape, or several as one. See [`TapeOptions`].
#[derive(Debug)]
pub struct TapeFeed {
    options: TapeOptions,
    found: TapeScan,
    reader: Reel,
    state: State,
    progress: Arc<TapeProgress>,
    time: MarketTime,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Until somebody wants something.
    Waiting,
    /// Begins with the next poll, which knows the time.
    Starting,
    /// `start_ns` is when the tape's first message was or is due; the reader's current record was not yet handed out.
    Playing { start_ns: u64 },
    /// The tape is over, or could not be read any further.
    Finished,
}

impl TapeFeed {
    /// Scans the tapes and is ready to play them. Reads every file once, whole: seconds for gigabytes, so call it while
    /// starting, never on the hot path.
    ///
    /// # Errors
    /// When the file cannot be read or is no tape; the error names it.
    pub fn open(options: TapeOptions) -> Result<Self, TapeError> {
        let found = scan(&options.path)?;
        if found.end != TapeEnd::Complete {
            tracing::warn!(tape = %options.path.display(), good_records = found.messages, end = %found.end,
                "the tape is not whole; its good part is played");
        }
        let reader = Reel::open(&options.path)?;
        let progress = Arc::new(TapeProgress::new(found.messages));
        let state = match options.start {
            Start::AtOnce => State::Starting,
            Start::OnFirstSubscriber => State::Waiting,
        };
        Ok(Self { options, found, reader, state, progress, time: MarketTime::default() })
    }

    /// What is on the tape.
    pub fn found(&self) -> &TapeScan {
        &self.found
    }

    /// A handle for any thread that wants to show how far the replay is.
    pub fn progress(&self) -> Arc<TapeProgress> {
        Arc::clone(&self.progress)
    }

    /// What is being played, as it was named.
    pub fn path(&self) -> &PathBuf {
        &self.options.path
    }

    /// When the reader's current record is due.
    fn due_of_record_ns(&self, start_ns: u64) -> u64 {
        match self.options.speed {
            Speed::Max => 0,
            Speed::Times(times) => {
                // A clock that was set back while recording must not hold up what follows.
                let offset_ns = self.reader.time_ns().saturating_sub(self.found.first_ns);
                start_ns.saturating_add((offset_ns as f64 / times) as u64)
            }
        }
    }

    /// Moves on to the next record, over the seam if need be.
    fn advance(&mut self, start_ns: u64) -> State {
        match self.reader.advance() {
            Ok(true) => return State::Playing { start_ns },
            // The end: no record is current any more, but its time still stands, and with it the seam.
            Ok(false) if self.options.looped && self.reader.records() > 0 => {
                let last_due_ns = self.due_of_record_ns(start_ns);
                if self.reader.rewind().is_ok() && self.reader.advance().unwrap_or(false) {
                    self.progress.next_round();
                    let seam_ns = match self.options.speed {
                        Speed::Max => 0,
                        Speed::Times(times) => (SEAM_NS / times) as u64,
                    };
                    return State::Playing { start_ns: last_due_ns.saturating_add(seam_ns) };
                }
                tracing::error!(tape = %self.options.path.display(), "the tape cannot be read again; it ends here");
            }
            Ok(false) => {
                tracing::info!(tape = %self.options.path.display(), records = self.reader.records(), "the tape is over")
            }
            Err(error) => tracing::error!(%error, "the tape cannot be read any further; it ends here"),
        }
        self.progress.finish();
        State::Finished
    }
}

impl Feed for TapeFeed {
    fn name(&self) -> &'static str {
        "tape"
    }

    fn universe(&self) -> Vec<InstrumentToken> {
        self.found.tokens.clone()
    }

    fn poll(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        if let State::Starting = self.state {
            self.progress.start();
            self.state = self.advance(now_ns);
        }
        let (mut messages, mut packets) = (0, 0);
        while let State::Playing { start_ns } = self.state {
            if packets >= budget || self.due_of_record_ns(start_ns) > now_ns {
                break;
            }
            let message = self.reader.message();
            let weight = weight(message);
            // Two messages that are too much together would run over the ring of a tab that keeps up.
            if messages > 0 && packets + weight > budget {
                break;
            }
            self.time.tell(self.reader.time_ns());
            sink(message);
            messages += 1;
            packets += weight;
            self.progress.played();
            self.state = self.advance(start_ns);
        }
        messages
    }

    fn due_ns(&self) -> Option<u64> {
        match self.state {
            State::Waiting | State::Finished => None,
            State::Starting => Some(0),
            State::Playing { start_ns } => Some(self.due_of_record_ns(start_ns)),
        }
    }

    fn patience(&self) -> Option<Duration> {
        (self.options.speed == Speed::Max).then_some(self.options.patience)
    }

    fn market_time(&self) -> MarketTime {
        self.time.clone()
    }

    fn demand(&mut self, changes: &[Demand]) {
        if matches!(self.state, State::Waiting) && changes.iter().any(|change| change.mode.is_some()) {
            self.state = State::Starting;
        }
    }
}

/// What a message counts against the budget: its packets; a heartbeat counts one, so that a poll always ends.
fn weight(message: &[u8]) -> usize {
    message.first_chunk::<2>().map_or(1, |count| usize::from(u16::from_be_bytes(*count)).max(1))
}
