//! The writing half of a connection: stops 6 and 8 of a tick.
//!
//! A tab's messages leave in this order: what is left of the last write, replies, lanes whose newest value is owed (a
//! snapshot, or after the ring ran over), then the ring. All of it is put into one buffer and leaves in one write. When
//! the socket takes less than offered, the rest is kept and nothing is tried until the socket says that it has room.

use super::door::Change;
use super::lane::Lane;
use crate::clock::Clock;
use crate::fanout::board::Board;
use crate::fanout::slot::{Inbox, Slot, Value};
use crate::fanout::update::Update;
use crate::market::Mode;
use crate::stats::{Counter, Recorder, Stop, WriterCounters};
use crate::wire::frame::Span;
use crate::wire::{Encoding, Format, push};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// How a tab wants its messages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Delivery {
    /// In which notation.
    pub format: Format,
    /// Least time between two messages of one token, nanoseconds; 0 for none.
    pub throttle_ns: u64,
    /// How many messages make a batch; 0 for none.
    pub batch_size: u32,
}

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
    /// Rung when `replies` has become 0.
    pub replied: Notify,
}

/// Messages that wait to fill a batch.
#[derive(Debug, Default)]
struct Batch {
    /// The bodies, in JSON with a comma between.
    bodies: Vec<u8>,
    count: u32,
    /// When it must leave even if it is not full, monotonic.
    due_ns: u64,
    /// When each one's message was received.
    stamps: Vec<u64>,
}

/// See the module. **Thread**: its writer's.
#[derive(Debug)]
pub struct Tab {
    socket: Arc<TcpStream>,
    stats: Arc<TabStats>,
    inbox: Option<Arc<Inbox>>,
    delivery: Delivery,
    lanes: FxHashMap<u32, Lane>,
    /// Slots without a lane are wanted too, in this mode.
    firehose: Option<Mode>,
    /// Lanes whose newest value must be sent, oldest first.
    owed: VecDeque<u32>,
    batch: Option<Box<Batch>>,
    /// What the socket did not take, and how much of it has left since.
    unsent: Vec<u8>,
    unsent_at: usize,
    /// The oldest message in `unsent`, and how many: their latency is counted when they leave.
    unsent_stamps: (u64, u64),
    /// Conflated values the tab has not been told of.
    untold: u64,
    /// When it was told last, monotonic.
    told_ns: u64,
    /// When the tab wants a turn even if nothing comes, monotonic; 0 for never.
    timer_ns: u64,
    /// The time of that kind which the writer has noted last.
    noted_ns: u64,
    /// The writer watches the socket for room. Kept by the writer.
    pub watched: bool,
    /// The socket has failed: nothing more is written.
    dead: bool,
}

/// What a writer lends a tab for one turn.
pub struct Turn<'a> {
    /// The program's clock.
    pub clock: &'a Clock,
    /// Monotonic time of the turn, kept fresh by every write.
    pub now_ns: u64,
    /// Where messages are put together; empty at the start.
    pub out: &'a mut Vec<u8>,
    /// When the messages in `out` were received.
    pub stamps: &'a mut Vec<u64>,
    /// Encodings made for one tab, in case another wants the same.
    pub own: &'a mut OwnEncodings,
    /// The writer's counters.
    pub counters: &'a WriterCounters,
    /// The thread's histograms.
    pub recorder: &'a mut Recorder,
    /// For a firehose, which has no list of its own.
    pub board: &'a Board,
    /// About how many bytes may leave in one write.
    pub budget: usize,
    /// How long a batch may wait.
    pub batch_delay_ns: u64,
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("now_ns", &self.now_ns).finish_non_exhaustive()
    }
}

/// How a turn of a tab ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Flushed {
    /// Everything has left.
    All,
    /// More waits; the socket still has room.
    More,
    /// The socket is full: the writer must watch it.
    Blocked,
    /// The socket has failed.
    Dead,
}

/// Encodings of newest values, by slot and encoding: tabs that are behind at the same time share them.
#[derive(Debug, Default)]
pub struct OwnEncodings(FxHashMap<(u32, u8), OwnEncoding>);

#[derive(Debug, Default)]
struct OwnEncoding {
    number: u64,
    bytes: Vec<u8>,
    span: Span,
}

/// Most entries kept; beyond it all are forgotten.
const OWN_ENCODINGS: usize = 4_096;

impl OwnEncodings {
    fn frame(&mut self, slot: u32, encoding: Encoding, value: &Value, unix_ns: u64) -> (&[u8], &[u8]) {
        if self.0.len() >= OWN_ENCODINGS {
            self.0.clear();
        }
        let own = self.0.entry((slot, encoding.index() as u8)).or_default();
        let number = value.numbers.of(Mode::Full);
        if own.number != number {
            own.number = number;
            own.bytes.clear();
            own.span = push::tick_frame(&mut own.bytes, encoding, &value.tick, unix_ns, false);
        }
        (&own.bytes[own.span.frame()], &own.bytes[own.span.body()])
    }
}

/// One write call in so many is timed by itself.
const TIMED_WRITES: u64 = 16;

/// Least time between two notices of conflation.
const NOTICE_NS: u64 = 1_000_000_000;

impl Tab {
    /// A tab that has nothing yet.
    pub fn new(socket: Arc<TcpStream>, stats: Arc<TabStats>) -> Self {
        Self {
            socket,
            stats,
            inbox: None,
            delivery: Delivery::default(),
            lanes: FxHashMap::default(),
            firehose: None,
            owed: VecDeque::new(),
            batch: None,
            unsent: Vec::new(),
            unsent_at: 0,
            unsent_stamps: (0, 0),
            untold: 0,
            told_ns: 0,
            timer_ns: 0,
            noted_ns: 0,
            watched: false,
            dead: false,
        }
    }

    /// The socket, to be watched while it is full.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the socket is full.
    pub fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Takes over new settings and subscriptions, with the reply between what is removed and what is added.
    pub fn change(&mut self, change: Change, turn: &mut Turn<'_>) -> Flushed {
        // A batch that waits may hold ticks of what is given up: they belong before the reply, not behind it.
        self.flush_batch(turn);
        if change.clear {
            self.lanes.clear();
            self.owed.clear();
        }
        for id in change.remove {
            self.lanes.remove(&id);
        }
        if let Some(delivery) = change.delivery {
            self.delivery = delivery;
            self.lanes.values_mut().for_each(|lane| lane.due_ns = 0);
        }
        if change.inbox.is_some() {
            self.inbox = change.inbox;
        }
        self.firehose = change.firehose.unwrap_or(self.firehose);
        turn.out.extend_from_slice(&change.reply);
        for lane in change.add {
            let id = lane.slot.id;
            self.lanes.insert(id, lane);
            self.owe(id);
        }
        if self.is_blocked() {
            return self.queue_out(turn);
        }
        self.serve(turn)
    }

    /// Puts what is in `turn.out` behind what the socket has not taken yet.
    fn queue_out(&mut self, turn: &mut Turn<'_>) -> Flushed {
        let messages = turn.stamps.len() as u64;
        turn.counters.delivered.add(messages);
        self.stats.delivered.add(messages);
        self.unsent.append(turn.out);
        turn.stamps.clear();
        self.stats.unsent.set((self.unsent.len() - self.unsent_at) as u64);
        Flushed::Blocked
    }

    /// Puts a lane into the list of those whose newest value is owed.
    fn owe(&mut self, id: u32) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && !std::mem::replace(&mut lane.owed, true)
        {
            self.owed.push_back(id);
        }
    }

    /// Sends a finished frame; behind what the socket has not taken yet, if there is such.
    pub fn send(&mut self, frame: &[u8], turn: &mut Turn<'_>) -> Flushed {
        turn.out.extend_from_slice(frame);
        turn.counters.messages.add(1);
        if self.is_blocked() { self.queue_out(turn) } else { self.write(turn) }
    }

    /// A turn: takes what the budget allows and writes it.
    pub fn serve(&mut self, turn: &mut Turn<'_>) -> Flushed {
        if self.dead {
            return Flushed::Dead;
        }
        if self.is_blocked() {
            self.release_ring();
            return Flushed::Blocked;
        }
        if let Some(inbox) = &self.inbox {
            inbox.ring.begin();
        }
        let more = self.fill(turn);
        match self.write(turn) {
            Flushed::All if more => Flushed::More,
            other => other,
        }
    }

    /// While the socket is full the ring fills up and runs over. Then what it holds will never be sent, and is let go,
    /// so that a frozen tab pins no updates; and the ring stays announced, so that it costs nothing more per tick.
    fn release_ring(&mut self) {
        let Some(inbox) = self.inbox.clone() else { return };
        inbox.ring.begin();
        if inbox.ring.is_behind() {
            while inbox.ring.take().is_some() {}
            let _ = inbox.ring.announce();
        }
    }

    /// Puts messages into `turn.out` until the budget is used; true when more waits.
    fn fill(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(inbox) = self.inbox.clone() else { return false };
        if inbox.ring.take_behind() {
            while inbox.ring.take().is_some() {}
            self.owe_all(turn.board);
        }
        while let Some(id) = self.owed.pop_front() {
            self.pay(id, turn);
            if turn.out.len() >= turn.budget {
                return true;
            }
        }
        while let Some(update) = inbox.ring.take() {
            self.take(&update, turn);
            if turn.out.len() >= turn.budget {
                return true;
            }
        }
        self.tell(turn);
        self.end_batch(turn);
        false
    }

    /// After the ring ran over: every lane may have missed something.
    fn owe_all(&mut self, board: &Board) {
        if let Some(mode) = self.firehose {
            for slot in board.table().load().values() {
                self.lanes.entry(slot.id).or_insert_with(|| Lane::new(Arc::clone(slot), mode));
            }
        }
        for (id, lane) in &mut self.lanes {
            if !lane.owed && !lane.held {
                lane.owed = true;
                self.owed.push_back(*id);
            }
        }
    }

    /// Sends a lane's newest value if the tab does not have it yet: the value is chosen now, when it can leave, and not
    /// when the debt arose.
    fn pay(&mut self, id: u32, turn: &mut Turn<'_>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.owed = false;
        let Some(value) = lane.slot.value() else { return };
        let number = value.numbers.of(lane.mode);
        if number <= lane.sent && !lane.fresh {
            return;
        }
        if self.delivery.throttle_ns > 0 && turn.now_ns < lane.due_ns {
            lane.held = true;
            let due_ns = lane.due_ns;
            self.arm(due_ns);
            return;
        }
        let skipped = if lane.fresh { 0 } else { number - lane.sent - 1 };
        let (fresh, mode) = (lane.fresh, lane.mode);
        lane.sent = number;
        lane.fresh = false;
        lane.due_ns = turn.now_ns + self.delivery.throttle_ns;
        if self.delivery.throttle_ns > 0 {
            turn.counters.throttled.add(skipped);
        } else {
            turn.counters.skipped.add(skipped);
            self.stats.conflated.add(skipped);
            self.untold += skipped;
        }
        let encoding = Encoding { format: self.delivery.format, mode };
        let unix_ns = turn.clock.unix_ns(value.received_ns);
        if fresh {
            turn.counters.snapshots.add(1);
            self.snapshot(encoding, &value, unix_ns, turn);
        } else {
            turn.counters.own_encodings.add(1);
            let Turn { own, out, .. } = turn;
            let (frame, body) = own.frame(id, encoding, &value, unix_ns);
            if self.delivery.batch_size > 0 {
                let body = body.to_vec();
                self.append_to_batch(&body, value.received_ns, turn);
            } else {
                out.extend_from_slice(frame);
                turn.stamps.push(value.received_ns);
            }
        }
    }

    /// Sends the first message of a subscription. Its value may be old, so it does not count as a latency.
    fn snapshot(&mut self, encoding: Encoding, value: &Value, unix_ns: u64, turn: &mut Turn<'_>) {
        if self.delivery.batch_size > 0 {
            let mut frame = Vec::new();
            let span = push::tick_frame(&mut frame, encoding, &value.tick, unix_ns, true);
            self.append_to_batch(&frame[span.body()], turn.now_ns, turn);
        } else {
            append_frame(turn.out, |out| push::tick_frame(out, encoding, &value.tick, unix_ns, true));
            turn.counters.delivered.add(1);
            self.stats.delivered.add(1);
        }
    }

    /// Sends an update from the ring.
    fn take(&mut self, update: &Arc<Update>, turn: &mut Turn<'_>) {
        if let Some(mode) = self.firehose
            && !self.lanes.contains_key(&update.slot)
            && let Some(slot) = slot_of(turn.board, update)
        {
            self.lanes.insert(update.slot, Lane::new(slot, mode));
        }
        let Some(lane) = self.lanes.get_mut(&update.slot) else {
            turn.counters.unsubscribed.add(1);
            return;
        };
        let number = update.numbers.of(lane.mode);
        if number <= lane.sent {
            turn.counters.outdated.add(1);
            return;
        }
        if self.delivery.throttle_ns > 0 && turn.now_ns < lane.due_ns {
            if !std::mem::replace(&mut lane.held, true) {
                let due_ns = lane.due_ns;
                self.arm(due_ns);
            }
            return;
        }
        let (fresh, mode) = (lane.fresh, lane.mode);
        lane.fresh = false;
        lane.sent = number;
        lane.due_ns = turn.now_ns + self.delivery.throttle_ns;
        let encoding = Encoding { format: self.delivery.format, mode };
        turn.recorder.record(Stop::Writer, turn.now_ns.saturating_sub(update.received_ns));
        match update.frame(encoding) {
            Some((frame, _)) if !fresh && self.delivery.batch_size == 0 => {
                turn.out.extend_from_slice(frame);
                turn.stamps.push(update.received_ns);
            }
            Some((_, body)) if !fresh => self.append_to_batch(body, update.received_ns, turn),
            _ => {
                // The first message of a subscription, or one that was published before the tab changed its format.
                let value = Value { numbers: update.numbers, received_ns: update.received_ns, tick: update.tick };
                if fresh {
                    turn.counters.snapshots.add(1);
                    self.snapshot(encoding, &value, update.received_unix_ns, turn);
                } else {
                    turn.counters.own_encodings.add(1);
                    let mut frame = Vec::new();
                    let span = push::tick_frame(&mut frame, encoding, &value.tick, update.received_unix_ns, false);
                    if self.delivery.batch_size > 0 {
                        self.append_to_batch(&frame[span.body()], update.received_ns, turn);
                    } else {
                        turn.out.extend_from_slice(&frame[span.frame()]);
                        turn.stamps.push(update.received_ns);
                    }
                }
            }
        }
    }

    fn append_to_batch(&mut self, body: &[u8], received_ns: u64, turn: &mut Turn<'_>) {
        let batch = self.batch.get_or_insert_default();
        if batch.count == 0 {
            batch.due_ns = turn.now_ns + turn.batch_delay_ns;
        } else if self.delivery.format == Format::Json {
            batch.bodies.push(b',');
        }
        batch.bodies.extend_from_slice(body);
        batch.stamps.push(received_ns);
        batch.count += 1;
        if batch.count >= self.delivery.batch_size {
            self.flush_batch(turn);
        }
    }

    /// Sends the batch if its time has come, else sees to it that it will.
    fn end_batch(&mut self, turn: &mut Turn<'_>) {
        match &self.batch {
            Some(batch) if batch.count > 0 && batch.due_ns <= turn.now_ns => self.flush_batch(turn),
            Some(batch) if batch.count > 0 => self.arm(batch.due_ns),
            _ => {}
        }
    }

    fn flush_batch(&mut self, turn: &mut Turn<'_>) {
        let Some(batch) = self.batch.as_deref_mut().filter(|batch| batch.count > 0) else { return };
        let format = self.delivery.format;
        append_frame(turn.out, |out| push::batch_frame(out, format, batch.count as usize, &batch.bodies));
        turn.stamps.append(&mut batch.stamps);
        batch.bodies.clear();
        batch.count = 0;
    }

    /// Tells the tab how many values it missed, at most once a second.
    fn tell(&mut self, turn: &mut Turn<'_>) {
        if self.untold == 0 {
            return;
        }
        if self.told_ns != 0 && turn.now_ns < self.told_ns + NOTICE_NS {
            self.arm(self.told_ns + NOTICE_NS);
            return;
        }
        let notice = serde_json::json!({"type": "conflated", "count": self.untold,
            "timestamp": turn.clock.unix_seconds()});
        let format = self.delivery.format;
        append_frame(turn.out, |out| push::value_frame(out, format, &notice));
        self.untold = 0;
        self.told_ns = turn.now_ns;
        turn.counters.messages.add(1);
    }

    /// The time at which the tab wants a turn, if the writer has not noted it yet.
    pub fn note_timer(&mut self) -> Option<u64> {
        let news = self.timer_ns != 0 && self.timer_ns != self.noted_ns;
        self.noted_ns = self.timer_ns;
        news.then_some(self.timer_ns)
    }

    /// Wants a turn at that time at the latest.
    fn arm(&mut self, at_ns: u64) {
        if self.timer_ns == 0 || at_ns < self.timer_ns {
            self.timer_ns = at_ns;
        }
    }

    /// A noted time has come: what the throttle held back is owed now, if it is due. False for a time that was meant for
    /// something else.
    pub fn ring_timer(&mut self, noted_ns: u64, now_ns: u64) -> bool {
        if self.timer_ns != noted_ns {
            return false;
        }
        self.timer_ns = 0;
        let mut next_ns = u64::MAX;
        for (id, lane) in &mut self.lanes {
            if lane.held && lane.due_ns <= now_ns {
                lane.held = false;
                if !std::mem::replace(&mut lane.owed, true) {
                    self.owed.push_back(*id);
                }
            } else if lane.held {
                next_ns = next_ns.min(lane.due_ns);
            }
        }
        if next_ns != u64::MAX {
            self.arm(next_ns);
        }
        true
    }

    /// Hands `turn.out` to the operating system.
    fn write(&mut self, turn: &mut Turn<'_>) -> Flushed {
        if turn.out.is_empty() {
            return Flushed::All;
        }
        let out = std::mem::take(turn.out);
        let outcome = self.write_once(&out, turn);
        *turn.out = out;
        let written = match outcome {
            Ok(written) => written,
            Err(flushed) => {
                turn.out.clear();
                turn.stamps.clear();
                return flushed;
            }
        };
        let messages = turn.stamps.len() as u64;
        turn.counters.delivered.add(messages);
        self.stats.delivered.add(messages);
        if written == turn.out.len() {
            for received_ns in turn.stamps.iter() {
                turn.recorder.record(Stop::Total, turn.now_ns.saturating_sub(*received_ns));
            }
            turn.out.clear();
            turn.stamps.clear();
            self.settle_replies();
            return Flushed::All;
        }
        self.unsent_stamps = (turn.stamps.iter().copied().min().unwrap_or(0), messages);
        // Exactly as much memory as is needed: this is what a frozen tab costs.
        self.unsent = turn.out[written..].to_vec();
        self.unsent_at = 0;
        self.stats.unsent.set(self.unsent.len() as u64);
        self.stats.blocked_since_ns.set(turn.now_ns);
        turn.counters.blocked_writes.add(1);
        turn.out.clear();
        turn.stamps.clear();
        Flushed::Blocked
    }

    /// The socket says that it has room: goes on where the last write ended.
    pub fn resume(&mut self, turn: &mut Turn<'_>) -> Flushed {
        while self.unsent_at < self.unsent.len() {
            let unsent = std::mem::take(&mut self.unsent);
            let written = self.write_once(&unsent[self.unsent_at..], turn);
            self.unsent = unsent;
            match written {
                Ok(0) => {
                    self.stats.unsent.set((self.unsent.len() - self.unsent_at) as u64);
                    return Flushed::Blocked;
                }
                Ok(written) => self.unsent_at += written,
                Err(flushed) => return flushed,
            }
        }
        let (received_ns, messages) = std::mem::take(&mut self.unsent_stamps);
        turn.recorder.record_many(Stop::Total, turn.now_ns.saturating_sub(received_ns), messages);
        self.unsent = Vec::new();
        self.unsent_at = 0;
        self.stats.unsent.set(0);
        self.stats.blocked_since_ns.set(0);
        self.settle_replies();
        self.serve(turn)
    }

    /// One write call; 0 when the socket is full. Afterwards `turn.now_ns` is the time behind it.
    fn write_once(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<usize, Flushed> {
        // A clock reading is a percent of a write: only some are timed from their very begin.
        let timed = turn.counters.writes.get().is_multiple_of(TIMED_WRITES).then(|| turn.clock.now_ns());
        let written = loop {
            match (&*self.socket).write(bytes) {
                Ok(written) => break written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.kill();
                    return Err(Flushed::Dead);
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
    fn kill(&mut self) {
        self.dead = true;
        self.unsent = Vec::new();
        self.stats.unsent.set(0);
        self.settle_replies();
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Everything has left, so every reply has.
    fn settle_replies(&self) {
        if self.stats.replies.load(Ordering::Relaxed) != 0 {
            self.stats.replies.store(0, Ordering::Relaxed);
            self.stats.replied.notify_one();
        }
    }

    /// A heartbeat in the tab's format.
    pub fn heartbeat(&mut self, turn: &mut Turn<'_>) -> Flushed {
        if self.is_blocked() || self.dead {
            // It has more to read than it can take; a sign of life on top would only wait too.
            return Flushed::All;
        }
        let heartbeat = serde_json::json!({"type": "heartbeat", "timestamp": turn.clock.unix_seconds()});
        let format = self.delivery.format;
        append_frame(turn.out, |out| push::value_frame(out, format, &heartbeat));
        turn.counters.messages.add(1);
        self.write(turn)
    }

    /// The last frame, if the stream is between two frames, and the end.
    pub fn close(self, frame: &[u8]) {
        if !self.is_blocked() && !self.dead && !frame.is_empty() {
            let _ = (&*self.socket).write(frame);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
        self.settle_replies();
    }
}

/// Appends a frame built in place. A short frame begins two bytes behind the old end: the gap is closed.
fn append_frame(out: &mut Vec<u8>, build: impl FnOnce(&mut Vec<u8>) -> Span) {
    let old_end = out.len();
    let span = build(out);
    out.drain(old_end..span.frame().start);
}

fn slot_of(board: &Board, update: &Update) -> Option<Arc<Slot>> {
    board.table().load().get(&update.tick.token).cloned()
}
