//! Stop 8 of a tick: a tab's socket, and what it has not taken yet.
//!
//! When the socket takes less than offered, the rest is kept, with its place, and nothing more is tried until the socket
//! says that it has room.

use super::turn::{Stamp, Turn};
use crate::stats::{Counter, Stop};
use std::hint::black_box;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// What others may see of a tab: its two halves share it, operators read it.
#[derive(Debug, Default)]
pub struct TabStats {
    /// Tick messages handed to the operating system.
    pub delivered: Counter,
    /// Values that the tab never got because a newer one replaced them.
    pub conflated: Counter,
    /// Bytes handed to the operating system.
    pub bytes: Counter,
    /// Bytes that wait because the socket is full.
    pub unsent: Counter,
    /// When the socket became full, monotonic; 0 while it is not.
    pub blocked_since_ns: Counter,
    /// Bytes of replies given to the writer and not yet handed to the operating system. The reading half adds, the
    /// writing half subtracts.
    pub replies: AtomicU64,
    /// Rung when `replies` has become less.
    pub replied: Notify,
}

/// How a write ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Written {
    /// Everything has left.
    All,
    /// The socket is full: the writer must watch it.
    Blocked,
    /// The socket has failed, now or before: the reading half will see its end and close the session.
    Dead,
}

/// See the module. **Thread**: the writer's.
#[derive(Debug)]
pub struct Outlet {
    socket: Arc<TcpStream>,
    stats: Arc<TabStats>,
    /// What the socket did not take, and how much of it has left since.
    unsent: Vec<u8>,
    unsent_at: usize,
    /// The oldest message in `unsent`, and how many: their age is counted when they leave.
    unsent_stamps: (u64, u32),
    /// Bytes of replies in what was offered and has not left whole.
    replies: u64,
    /// The writer watches the socket for room. Kept by the writer.
    pub watched: bool,
    /// The socket has failed: nothing more is written.
    dead: bool,
}

/// One write call in so many is timed by itself: a clock reading is a percent of a write.
const TIMED_WRITES: u64 = 16;

impl Outlet {
    /// An outlet to a non-blocking socket.
    pub fn new(socket: Arc<TcpStream>, stats: Arc<TabStats>) -> Self {
        Self {
            socket,
            stats,
            unsent: Vec::new(),
            unsent_at: 0,
            unsent_stamps: (0, 0),
            replies: 0,
            watched: false,
            dead: false,
        }
    }

    /// The socket, to be watched while it is full.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What operators see.
    pub fn stats(&self) -> &TabStats {
        &self.stats
    }

    /// Reads what a write will need.
    #[inline]
    pub fn touch(&self) {
        black_box((self.socket.as_raw_fd(), self.stats.delivered.get()));
    }

    /// Whether nothing may be put together for it now: its socket is full, or has failed.
    #[inline]
    pub fn is_shut(&self) -> bool {
        self.dead || !self.unsent.is_empty()
    }

    /// Hands `bytes` to the operating system, behind what it has not taken yet. `stamps` tell how old the tick messages in
    /// it are, `replies` how many of the bytes are replies.
    pub fn write(&mut self, bytes: &[u8], stamps: &[Stamp], replies: u64, turn: &mut Turn<'_>) -> Written {
        self.replies += replies;
        if self.dead {
            // The reading half may wait for its replies to leave: they never will.
            self.settle_replies();
            return Written::Dead;
        }
        let messages = stamps.len() as u64;
        turn.counters.delivered.add(messages);
        self.stats.delivered.add(messages);
        if !self.unsent.is_empty() {
            return self.keep(bytes, stamps, turn.now_ns);
        }
        let written = match self.write_once(bytes, turn) {
            Ok(written) => written,
            Err(dead) => return dead,
        };
        if written < bytes.len() {
            turn.counters.blocked_writes.add(1);
            self.stats.blocked_since_ns.set(turn.now_ns);
            return self.keep(&bytes[written..], stamps, turn.now_ns);
        }
        // The ticks of one message have one stamp: a look-up in the histogram for all of them.
        for alike in stamps.chunk_by(|one, next| one == next) {
            let age_ns = turn.now_ns.saturating_sub(alike[0].received_ns());
            turn.recorder.record_many(alike[0].stop(), age_ns, alike.len() as u32);
        }
        self.settle_replies();
        Written::All
    }

    /// Keeps what the socket does not take. Exactly as much memory as is needed: this is what a frozen tab costs.
    fn keep(&mut self, bytes: &[u8], stamps: &[Stamp], now_ns: u64) -> Written {
        let (oldest, messages) = self.unsent_stamps;
        let oldest = if messages == 0 { now_ns } else { oldest };
        self.unsent_stamps =
            (stamps.iter().map(|stamp| stamp.received_ns()).fold(oldest, u64::min), messages + stamps.len() as u32);
        self.unsent.reserve_exact(bytes.len());
        self.unsent.extend_from_slice(bytes);
        self.stats.unsent.set((self.unsent.len() - self.unsent_at) as u64);
        Written::Blocked
    }

    /// The socket says that it has room: goes on where the last write ended.
    pub fn resume(&mut self, turn: &mut Turn<'_>) -> Written {
        while self.unsent_at < self.unsent.len() {
            let unsent = std::mem::take(&mut self.unsent);
            let written = self.write_once(&unsent[self.unsent_at..], turn);
            match written {
                Ok(written) => {
                    self.unsent = unsent;
                    self.unsent_at += written;
                    self.stats.unsent.set((self.unsent.len() - self.unsent_at) as u64);
                    if written == 0 {
                        return Written::Blocked;
                    }
                }
                Err(dead) => return dead,
            }
        }
        let (received_ns, messages) = std::mem::take(&mut self.unsent_stamps);
        turn.recorder.record_many(Stop::Age, turn.now_ns.saturating_sub(received_ns), messages);
        self.unsent = Vec::new();
        self.unsent_at = 0;
        self.stats.blocked_since_ns.set(0);
        self.settle_replies();
        Written::All
    }

    /// One write call; 0 when the socket is full. Afterwards `turn.now_ns` is the time behind it.
    fn write_once(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<usize, Written> {
        let timed = turn.counters.writes.get().is_multiple_of(TIMED_WRITES).then(|| turn.clock.now_ns());
        let written = loop {
            match (&*self.socket).write(bytes) {
                Ok(written) => break written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.kill();
                    return Err(Written::Dead);
                }
            }
        };
        turn.now_ns = turn.clock.now_ns();
        if let Some(before) = timed {
            turn.recorder.record(Stop::Socket, turn.now_ns.saturating_sub(before));
        }
        turn.counters.writes.add(1);
        turn.counters.bytes.add(written as u64);
        self.stats.bytes.add(written as u64);
        Ok(written)
    }

    /// Ends the socket: the reading half sees its end and closes the session.
    pub fn kill(&mut self) {
        self.dead = true;
        self.unsent = Vec::new();
        self.stats.unsent.set(0);
        self.settle_replies();
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// A reply of so many bytes will never leave.
    pub fn let_go(&mut self, replies: u64) {
        self.replies += replies;
        self.settle_replies();
    }

    /// Everything offered has left, or never will.
    fn settle_replies(&mut self) {
        let replies = std::mem::take(&mut self.replies);
        if replies > 0 {
            self.stats.replies.fetch_sub(replies, Ordering::Relaxed);
            self.stats.replied.notify_one();
        }
    }

    /// Appends the last frame behind what the socket has not taken yet; false when nothing waits, or never will leave.
    pub fn append_last(&mut self, frame: &[u8], now_ns: u64) -> bool {
        let waits = !self.dead && !self.unsent.is_empty() && !frame.is_empty();
        if waits {
            let _ = self.keep(frame, &[], now_ns);
        }
        waits
    }

    /// The last frame, if the stream is between two frames, and the end.
    pub fn close(&mut self, frame: &[u8]) {
        if !self.is_shut() && !frame.is_empty() {
            let _ = (&*self.socket).write(frame);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
        self.settle_replies();
    }
}
