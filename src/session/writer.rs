//! The thread-owned side of all tabs of one thread: carries out commands, serves the tabs that have something, watches
//! the sockets that are full, keeps the timers.

use super::door::{Command, Door};
use super::outlet::Written;
use super::tab::Tab;
use super::turn::{OwnEncodings, Stamp, Turn};
use crate::clock::Clock;
use crate::fanout::board::Board;
use crate::fanout::slot::TOGETHER;
use crate::stats::{Recorder, WriterCounters};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// A writer's settings.
#[derive(Clone, Copy, Debug)]
pub struct WriterSettings {
    /// About how many bytes leave in one write.
    pub budget: usize,
    /// How long a batch may wait, nanoseconds.
    pub batch_delay_ns: u64,
    /// How long an update may wait under overload before it makes way for a newer one, nanoseconds; none for as long as its
    /// ring has room.
    pub overload_wait_ns: Option<u64>,
    /// How much longer than its way a tab may take to read what it is sent until nothing more is sent, nanoseconds; `None` for
    /// as long as its socket takes data. See [`Probe`](super::probe::Probe).
    pub late_after_ns: Option<u64>,
    /// Time between two heartbeats of a tab, nanoseconds.
    pub heartbeat_ns: u64,
}

/// See the module. **Thread**: the one that runs its duty cycle.
pub struct Writer {
    door: Arc<Door>,
    board: Arc<Board>,
    clock: Clock,
    settings: WriterSettings,
    registry: Registry,
    counters: Arc<WriterCounters>,
    tabs: Vec<Option<Box<Tab>>>,
    /// Tabs that have their turn in this round. Empty between rounds, kept for its memory.
    due: Vec<u32>,
    /// Tabs that had no time left, then those that used up their budget: they go on in the next turn.
    unfinished: Vec<u32>,
    /// Tabs that were offered something before the change that brings their inbox.
    early: Vec<u32>,
    timers: BinaryHeap<Reverse<(u64, u32)>>,
    /// Heartbeats of the tabs, and of the connections of Kite's protocol.
    heartbeats: [Round; 2],
    /// What has been put together for tabs and not been handed to their sockets.
    filled: Vec<Filled>,
    out: Vec<u8>,
    stamps: Vec<Stamp>,
    own: OwnEncodings,
    /// See [`Self::has_shed`].
    has_shed: bool,
    /// See [`Turn::max_wait_ns`].
    max_wait_ns: u64,
    /// Monotonic time when the writer looked at the clock last: when it began with something, and after each write. Tabs are
    /// filled by it: a look at the clock for each would cost as much as its ring.
    now_ns: u64,
}

/// A tab's part of what has been put together.
#[derive(Debug)]
struct Filled {
    key: u32,
    /// Whether the tab has more than its budget allowed.
    more: bool,
    /// Where its bytes end in `out`; they begin where those before end.
    out_end: usize,
    /// Where its stamps end.
    stamps_end: usize,
    /// How many of its bytes are replies.
    replies: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("tabs", &self.counters.tabs.get()).finish_non_exhaustive()
    }
}

/// Most commands carried out in one turn, so that ticks get theirs.
const COMMANDS_A_TURN: usize = 64;
/// How often in a turn the tabs go round, each with its budget, before the feed has its turn again: until they have what
/// the feed brought last, so that a ring does not run over while its socket has room; but not for ever, since a tab that
/// subscribes to thousands of instruments is owed megabytes.
const ROUNDS: usize = 8;
/// How long a turn is under overload.
const SHORT_TURN_NS: u64 = 5_000_000;
/// Bytes put together for many tabs before they are handed to their sockets. Putting together and handing over are two
/// loops, since each walks through memory the other has just driven out of the caches; this bounds how long the first
/// tab waits for the last, and stays in the core's own cache until it is sent.
const ARENA: usize = 64 * 1_024;
/// How long a tab may take what it has not taken yet and its last frame.
const FAREWELL_NS: u64 = 2_000_000_000;
/// Time between two heartbeats of Kite's protocol, nanoseconds: its clients reconnect after 5 s without a message.
const KITE_HEARTBEAT_NS: u64 = 1_000_000_000;

/// Heartbeats go round, so that they do not all leave at once: each step serves the tabs whose key leaves the same rest.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Whether it is for the connections of Kite's protocol, or for all others.
    kite: bool,
    step: u64,
    step_ns: u64,
    /// When the next step is due, monotonic.
    due_ns: u64,
}

impl Round {
    /// Into how many steps the time between two heartbeats is divided.
    const STEPS: u64 = 64;

    const fn new(kite: bool, heartbeat_ns: u64, now_ns: u64) -> Self {
        let step_ns = heartbeat_ns / Self::STEPS;
        Self { kite, step: 0, step_ns, due_ns: now_ns + step_ns }
    }

    /// When its next step is due; never, when there is nobody to serve.
    fn next_ns(&self, counters: &WriterCounters) -> u64 {
        let kite = counters.kite_tabs.get();
        let served = if self.kite { kite } else { counters.tabs.get() - kite };
        if served == 0 { u64::MAX } else { self.due_ns }
    }
}

/// Lends a tab what it needs for a turn, from the fields it does not borrow.
macro_rules! turn {
    ($self:ident, $recorder:expr) => {
        Turn {
            clock: &$self.clock,
            now_ns: $self.now_ns,
            limit: $self.out.len() + $self.settings.budget,
            out: &mut $self.out,
            stamps: &mut $self.stamps,
            own: &mut $self.own,
            counters: &$self.counters,
            recorder: $recorder,
            board: &$self.board,
            batch_delay_ns: $self.settings.batch_delay_ns,
            max_wait_ns: $self.max_wait_ns,
            overload_wait_ns: $self.settings.overload_wait_ns,
            late_after_ns: $self.settings.late_after_ns,
            late: false,
            shed: false,
        }
    };
}

impl Writer {
    /// A writer behind `door` whose full sockets are watched by `registry`'s poll, under their tabs' keys as tokens.
    pub fn new(
        door: Arc<Door>,
        board: Arc<Board>,
        clock: Clock,
        settings: WriterSettings,
        registry: Registry,
        counters: Arc<WriterCounters>,
    ) -> Self {
        let now_ns = clock.now_ns();
        let heartbeats =
            [Round::new(false, settings.heartbeat_ns, now_ns), Round::new(true, KITE_HEARTBEAT_NS, now_ns)];
        Self {
            door,
            board,
            clock,
            settings,
            registry,
            counters,
            tabs: Vec::new(),
            due: Vec::new(),
            unfinished: Vec::new(),
            early: Vec::new(),
            timers: BinaryHeap::new(),
            heartbeats,
            filled: Vec::new(),
            out: Vec::with_capacity(ARENA + settings.budget * 2),
            stamps: Vec::new(),
            own: OwnEncodings::default(),
            has_shed: false,
            max_wait_ns: u64::MAX,
            now_ns,
        }
    }

    /// The writer's door.
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// One turn: commands, timers, and every tab that has something, until it has it, [`ROUNDS`] times at most. Returns the
    /// amount of work done; 0 means idle.
    ///
    /// Under overload turns are short and go on where the last one ended, so that a tab's values are as new as the feed's last
    /// turn and not as its own; and what is old and not the newest is left out.
    pub fn turn(&mut self, recorder: &mut Recorder, overloaded: bool) -> usize {
        let mut work = 0;
        self.now_ns = self.clock.now_ns();
        self.max_wait_ns = self.settings.overload_wait_ns.filter(|_| overloaded).unwrap_or(u64::MAX);
        for _ in 0..COMMANDS_A_TURN {
            let Some((key, command)) = self.door.command() else { break };
            self.carry_out(key, command, recorder);
            work += 1;
        }
        let now_ns = self.now_ns;
        while let Some(Reverse((due_ns, key))) = self.timers.peek().copied()
            && due_ns <= now_ns
        {
            self.timers.pop();
            if self.tab(key).is_some_and(|tab| tab.leaving_ns() == due_ns) {
                self.close(key, &[]);
                work += 1;
            } else if self.tab(key).is_some_and(|tab| tab.ring_timer(due_ns, now_ns)) {
                self.fill(key, recorder);
                work += 1;
            }
        }
        self.has_shed = false;
        // Only now: whoever waits is not to wait for timers without end.
        let until_ns = if overloaded { self.now_ns + SHORT_TURN_NS } else { u64::MAX };
        for _ in 0..ROUNDS {
            work += self.round(until_ns, recorder);
            if !self.is_unfinished() || self.now_ns >= until_ns {
                break;
            }
        }
        for round in 0..self.heartbeats.len() {
            if now_ns >= self.heartbeats[round].next_ns(&self.counters) {
                self.heartbeats(round, now_ns, recorder);
            }
        }
        work
    }

    /// Whether a value made way for a newer one in the last turn, because its tab had none in time. Not because its socket
    /// was full: then the tab goes on as soon as it has room.
    pub const fn has_shed(&self) -> bool {
        self.has_shed
    }

    /// Serves every tab that has something once, or as many as there is time for. Returns how many those were.
    fn round(&mut self, until_ns: u64, recorder: &mut Recorder) -> usize {
        // Only those that stand in the lists now: what comes meanwhile has its turn in the next round.
        let mut due = std::mem::take(&mut self.due);
        due.append(&mut self.unfinished);
        due.extend(std::iter::from_fn(|| self.door.port.pop()).take(self.door.port.waiting()));
        let mut served = 0;
        for keys in due.chunks(TOGETHER) {
            if until_ns != u64::MAX && served > 0 {
                // Those who wait for their throttle or fill a batch send nothing, which would have told the time.
                self.now_ns = self.clock.now_ns();
                if self.now_ns >= until_ns {
                    break;
                }
            }
            keys.iter().filter_map(|key| seen(&self.tabs, *key)).for_each(Tab::touch);
            keys.iter().for_each(|key| self.fill(*key, recorder));
            served += keys.len();
        }
        self.hand_over(recorder);
        // Those who had no turn have the next one, before those who want another.
        self.unfinished.splice(..0, due.drain(served..));
        due.clear();
        self.due = due;
        served
    }

    /// When the next turn is due although nothing comes, monotonic.
    pub fn due_ns(&self) -> u64 {
        if self.is_unfinished() {
            return 0;
        }
        let timer = self.timers.peek().map_or(u64::MAX, |Reverse((due_ns, _))| *due_ns);
        self.heartbeats.iter().fold(timer, |due_ns, round| due_ns.min(round.next_ns(&self.counters)))
    }

    /// Whether somebody who has something waits for a turn, or for another one.
    pub fn is_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Whether sockets are full, and so the poll must be looked at.
    pub fn watches(&self) -> bool {
        self.counters.blocked_tabs.get() > 0
    }

    /// Whether a tab that reads has more waiting than one turn could send, or cannot be sent anything yet: a patient feed
    /// then waits.
    pub fn is_congested(&self) -> bool {
        self.is_unfinished() || !self.early.is_empty() || self.watches()
    }

    /// A watched socket has room again.
    pub fn writable(&mut self, key: u32, recorder: &mut Recorder) {
        let Some(tab) = self.tabs.get_mut(key as usize).and_then(Option::as_deref_mut) else { return };
        if !tab.outlet.watched {
            return;
        }
        let mut turn = turn!(self, recorder);
        let written = tab.outlet.resume(&mut turn);
        self.now_ns = turn.now_ns;
        match written {
            // Edge-triggered: while it stays registered the next room is told.
            Written::Blocked => {}
            Written::Dead if tab.leaving_ns() == 0 => self.unwatch(key),
            Written::Dead => self.close(key, &[]),
            Written::All if tab.leaving_ns() > 0 => self.close(key, &[]),
            Written::All => {
                let has_shed = self.has_shed;
                self.unwatch(key);
                self.fill(key, recorder);
                self.hand_over(recorder);
                self.has_shed = has_shed;
            }
        }
    }

    /// Stops watching a socket.
    fn unwatch(&mut self, key: u32) {
        let Some(tab) = self.tabs.get_mut(key as usize).and_then(Option::as_deref_mut) else { return };
        if std::mem::take(&mut tab.outlet.watched) {
            let _ = self.registry.deregister(&mut SourceFd(&tab.outlet.socket().as_raw_fd()));
            self.counters.blocked_tabs.sub(1);
        }
    }

    fn tab(&mut self, key: u32) -> Option<&mut Tab> {
        self.tabs.get_mut(key as usize).and_then(Option::as_deref_mut)
    }

    fn carry_out(&mut self, key: u32, command: Command, recorder: &mut Recorder) {
        if let Command::Open(tab) = command {
            let place = key as usize;
            if self.tabs.len() <= place {
                self.tabs.resize_with(place + 1, || None);
            }
            self.counters.tabs.add(1);
            self.counters.kite_tabs.add(u64::from(tab.is_kite()));
            self.tabs[place] = Some(tab);
            return;
        }
        if let Command::Close(frame) = command {
            self.hand_over(recorder);
            let now_ns = self.now_ns;
            if self.tab(key).is_some_and(|tab| tab.leave(&frame, now_ns, now_ns + FAREWELL_NS)) {
                return self.timers.push(Reverse((now_ns + FAREWELL_NS, key)));
            }
            return self.close(key, &frame);
        }
        let Some(tab) = self.tabs.get_mut(key as usize).and_then(Option::as_deref_mut) else { return };
        let mut turn = turn!(self, recorder);
        let more = match command {
            Command::Change(change) => {
                self.early.retain(|early| *early != key);
                tab.change(*change, &mut turn);
                tab.fill(&mut turn)
            }
            Command::Send(frame) => {
                tab.send(&frame, &mut turn);
                false
            }
            Command::Open(_) | Command::Close(_) => return,
        };
        self.note(key, more, recorder);
    }

    /// Puts together what a tab has waiting.
    fn fill(&mut self, key: u32, recorder: &mut Recorder) {
        let Some(tab) = self.tabs.get_mut(key as usize).and_then(Option::as_deref_mut) else { return };
        if tab.lacks_inbox() {
            self.early.push(key);
            return;
        }
        let mut turn = turn!(self, recorder);
        let more = tab.fill(&mut turn);
        self.has_shed |= turn.shed;
        self.note(key, more, recorder);
    }

    /// Notes what was put together for a tab since the last note, and when it wants its next turn.
    fn note(&mut self, key: u32, more: bool, recorder: &mut Recorder) {
        if let Some(due_ns) = self.tab(key).and_then(|tab| tab.alarm.news()) {
            self.timers.push(Reverse((due_ns, key)));
        }
        let begin = self.filled.last().map_or(0, |filled| filled.out_end);
        if self.out.len() > begin {
            let (out_end, stamps_end) = (self.out.len(), self.stamps.len());
            let replies = self.tab(key).map_or(0, Tab::take_replies);
            self.filled.push(Filled { key, more, out_end, stamps_end, replies });
            if out_end >= ARENA {
                self.hand_over(recorder);
            }
        } else if more {
            self.unfinished.push(key);
        }
    }

    /// Hands what was put together to the sockets.
    fn hand_over(&mut self, recorder: &mut Recorder) {
        if self.filled.is_empty() {
            return;
        }
        let mut filled = std::mem::take(&mut self.filled);
        let (mut out, mut stamps) = (std::mem::take(&mut self.out), std::mem::take(&mut self.stamps));
        let (mut out_at, mut stamps_at) = (0, 0);
        let mut turn = turn!(self, recorder);
        for filled in filled.chunks(TOGETHER) {
            filled.iter().filter_map(|next| seen(&self.tabs, next.key)).for_each(|tab| tab.outlet.touch());
            for &Filled { key, more, out_end, stamps_end, replies } in filled {
                let (bytes, received) = (&out[out_at..out_end], &stamps[stamps_at..stamps_end]);
                (out_at, stamps_at) = (out_end, stamps_end);
                let Some(tab) = self.tabs.get_mut(key as usize).and_then(Option::as_deref_mut) else { continue };
                let written = tab.outlet.write(bytes, received, replies, &mut turn);
                match written {
                    Written::All if more => {
                        tab.expect_turn();
                        self.unfinished.push(key);
                    }
                    Written::Blocked if !tab.outlet.watched => watch(&self.registry, tab, key, &self.counters),
                    _ => {}
                }
            }
        }
        self.now_ns = turn.now_ns;
        filled.clear();
        out.clear();
        stamps.clear();
        (self.filled, self.out, self.stamps) = (filled, out, stamps);
    }

    fn close(&mut self, key: u32, frame: &[u8]) {
        self.unwatch(key);
        self.early.retain(|early| *early != key);
        let Some(mut tab) = self.tabs.get_mut(key as usize).and_then(Option::take) else { return };
        tab.outlet.close(frame);
        self.counters.kite_tabs.sub(tab.is_kite().into());
        self.counters.slow_tabs.sub(tab.probe.is_some_and(|probe| probe.counts_as_slow()).into());
        self.counters.tabs.sub(1);
        self.counters.closed_tabs.add(1);
        self.door.free(key);
    }

    fn heartbeats(&mut self, round: usize, now_ns: u64, recorder: &mut Recorder) {
        let round = &mut self.heartbeats[round];
        round.due_ns = (round.due_ns + round.step_ns).max(now_ns);
        round.step = (round.step + 1) % Round::STEPS;
        let (kite, mut key) = (round.kite, round.step as usize);
        while key < self.tabs.len() {
            if let Some(tab) = self.tabs[key].as_deref_mut()
                && tab.is_kite() == kite
            {
                let mut turn = turn!(self, recorder);
                tab.heartbeat(&mut turn);
                self.note(key as u32, false, recorder);
            }
            key += Round::STEPS as usize;
        }
        self.hand_over(recorder);
    }

    /// Ends every tab with `frame`: the program stops. **Thread**: the writer's, as its last act.
    pub fn close_all(&mut self, frame: &[u8]) {
        for key in 0..self.tabs.len() as u32 {
            self.close(key, frame);
        }
    }
}

/// The tab of a key, only to look at.
fn seen(tabs: &[Option<Box<Tab>>], key: u32) -> Option<&Tab> {
    tabs.get(key as usize)?.as_deref()
}

/// Watches a full socket for room. Registering tells at once if there is room already, so none is missed in between.
fn watch(registry: &Registry, tab: &mut Tab, key: u32, counters: &WriterCounters) {
    let socket = tab.outlet.socket().as_raw_fd();
    match registry.register(&mut SourceFd(&socket), Token(key as usize), Interest::WRITABLE) {
        Ok(()) => {
            tab.outlet.watched = true;
            counters.blocked_tabs.add(1);
        }
        Err(error) => {
            tracing::warn!(%error, "a full socket cannot be watched: its tab ends");
            tab.outlet.kill();
        }
    }
}
