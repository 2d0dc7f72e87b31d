//! `tickfan record`: writes what a feed yields to a tape.

use crate::clock::Clock;
use crate::feed::Feed;
use crate::market::{Demand, InstrumentToken, Mode};
use crate::tape::{ReelWriter, TapeEnd, TapeError, TapeWriter};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Recorded {
    /// Messages written.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why recording ended early.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The tape cannot be written.
    #[error(transparent)]
    Tape(#[from] TapeError),
    /// The feed's sockets cannot be watched.
    #[error("cannot wait for the feed: {0}")]
    Io(#[from] std::io::Error),
}

/// What to record, and where.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// Asked of the feed in full mode.
    pub tokens: &'a [InstrumentToken],
    /// The tape, continued behind its last good record; or a folder, made if it is not there and the path ends in a
    /// slash, which gets a tape a day.
    pub path: &'a Path,
    /// Most bytes of a tape in a folder, after which the next is begun.
    pub most_bytes: u64,
    /// For how long; until `stop` is set if `None`.
    pub length: Option<Duration>,
    /// Ends the recording.
    pub stop: &'a AtomicBool,
}

/// How often the tape is flushed and progress is told. With the longest sleep below, less than a second passes.
const FLUSH_NS: u64 = 500_000_000;
/// Messages are written as they come; the feed is asked again after so many packets.
const BUDGET: usize = 1_024;

/// What is written to.
enum Tape {
    One(TapeWriter),
    Reel(ReelWriter),
}

impl Tape {
    fn open(path: &Path, most_bytes: u64) -> Result<Self, TapeError> {
        if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Ok(Self::Reel(ReelWriter::new(path, most_bytes)?));
        }
        let (tape, end) = TapeWriter::resume(path)?;
        if end != TapeEnd::Complete {
            tracing::warn!(tape = %path.display(), %end, "the tape was not whole; it goes on behind its good part");
        }
        Ok(Self::One(tape))
    }

    fn append(&mut self, time_ns: u64, message: &[u8]) -> Result<(), TapeError> {
        match self {
            Self::One(tape) => tape.append(time_ns, message),
            Self::Reel(reel) => reel.append(time_ns, message),
        }
    }

    fn flush(&mut self) -> Result<(), TapeError> {
        match self {
            Self::One(tape) => tape.flush(),
            Self::Reel(reel) => reel.flush(),
        }
    }
}

/// Records `feed`. `progress` is called about twice a second. Heartbeats are left out. Blocks: has a thread to itself.
///
/// # Errors
/// When the tape cannot be written.
pub fn record(
    feed: &mut dyn Feed,
    poll: &mut mio::Poll,
    clock: &Clock,
    recording: Recording<'_>,
    mut progress: impl FnMut(Recorded),
) -> Result<Recorded, RecordError> {
    let Recording { tokens, path, most_bytes, length, stop } = recording;
    let mut tape = Tape::open(path, most_bytes)?;
    feed.register(poll.registry(), mio::Token(0))?;
    let demand: Vec<_> = tokens.iter().map(|token| Demand { token: *token, mode: Some(Mode::Full) }).collect();
    feed.demand(&demand);
    let mut events = mio::Events::with_capacity(16);
    let mut recorded = Recorded::default();
    let mut failed = None;
    let start_ns = clock.now_ns();
    let mut flush_ns = start_ns + FLUSH_NS;
    while !stop.load(Ordering::Relaxed) {
        let now_ns = clock.now_ns();
        if length.is_some_and(|length| now_ns - start_ns >= length.as_nanos() as u64) {
            break;
        }
        let messages = feed.poll(now_ns, BUDGET, &mut |message| {
            if message.len() > 1 && failed.is_none() {
                failed = tape.append(clock.unix_ns(now_ns), message).err();
                recorded.messages += 1;
                recorded.bytes += message.len() as u64;
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        if now_ns >= flush_ns {
            flush_ns = now_ns + FLUSH_NS;
            tape.flush()?;
            progress(recorded);
        }
        let due_ns = if messages > 0 { now_ns } else { feed.due_ns().unwrap_or(u64::MAX).min(flush_ns) };
        let wait = Duration::from_nanos(due_ns.saturating_sub(now_ns));
        match poll.poll(&mut events, Some(wait.min(Duration::from_millis(200)))) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
            _ => events.iter().for_each(|event| feed.edge(event)),
        }
    }
    tape.flush()?;
    Ok(recorded)
}
