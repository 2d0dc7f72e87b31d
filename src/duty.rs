//! The duty cycle: what a data-plane thread does, over and over.
//!
//! A cycle polls the feed, then gives the writer its turn, and sleeps only when neither had anything to do. Which parts a
//! thread has is a setting: one thread with both (no hand-over between threads at all), or a thread for the feed and one
//! for each writer. The code is the same, and a test can step it without a thread.

mod congestion;
mod door;
mod overload;

use crate::clock::Clock;
use crate::fanout::publisher::Publisher;
use crate::fanout::slot::Inbox;
use crate::feed::Feed;
use crate::session::door::Door;
use crate::session::writer::Writer;
use crate::stats::{DutyCounters, Recorder};
use mio::{Events, Poll, Token};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use congestion::Congestion;
pub use door::FeedDoor;
pub use overload::{Load, Overload};

/// What a thread does when it has nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// Sleeps until something comes. Costs nothing, and a wake-up (33 to 70 us) when it does.
    Park,
    /// Looks again after letting other threads run.
    Yield,
    /// Looks again at once. Wants a core of its own.
    Spin,
}

/// Token of the feed's first socket in the poll; its others follow. Below it are the keys of tabs.
const FEED: Token = Token(1 << 32);
/// Token of the wake-up.
const WAKE: Token = Token(usize::MAX);
/// Packets a feed may hand over before the writers have their turn: below the smallest default ring, so that a burst in
/// one token does not run over the ring of a tab that keeps up.
const BUDGET: usize = 128;
/// Packets that it may hand over under overload, practically all that have come: a quarter of what fits in the queue of the
/// engine, which should not miss any.
const FLOOD: usize = 16_384;
/// Ticks that may wait for the engine before a patient feed waits for it.
const ENGINE_BACKLOG: usize = 8_192;
/// How often sockets are looked at while the thread has no time to sleep.
const WATCH_NS: u64 = 200_000;
/// How often a feed that waits looks at writers of other threads, which do not wake it.
const LOOK_AGAIN_NS: u64 = 500_000;
/// Longest sleep: for what is due once a second.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The feed and what belongs to it.
pub struct FeedPart {
    /// The source of messages.
    pub feed: Box<dyn Feed>,
    /// Stops 2 to 6.
    pub publisher: Publisher,
    /// Where demand comes in.
    pub door: Arc<FeedDoor>,
    /// The doors of writers on other threads, to be woken after each batch.
    pub writers: Vec<Arc<Door>>,
    /// The engine's queue, for which a patient feed waits as well.
    pub engine: Option<Arc<Inbox>>,
    /// Until when it waits for tabs that are behind and do not read, monotonic.
    waiting_until_ns: Option<u64>,
    /// How often full sockets had had room again then.
    moved: u64,
    /// The feed has more than it could hand over.
    has_more: bool,
}

impl FeedPart {
    /// Puts the parts together.
    pub fn new(feed: Box<dyn Feed>, publisher: Publisher, door: Arc<FeedDoor>, writers: Vec<Arc<Door>>) -> Self {
        Self { feed, publisher, door, writers, engine: None, waiting_until_ns: None, moved: 0, has_more: false }
    }

    /// Lets a patient feed wait for the engine too.
    pub fn with_engine(mut self, engine: Arc<Inbox>) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Polls the feed and publishes what it hands over; the number of messages.
    fn poll(&mut self, now_ns: u64, woken_ns: u64, overloaded: bool, conflating: bool) -> usize {
        let budget = if overloaded { FLOOD } else { BUDGET };
        let publisher = &mut self.publisher;
        if conflating {
            publisher.conflate();
        }
        let messages = self.feed.poll(now_ns, budget, &mut |message| publisher.message(message, woken_ns));
        publisher.offer_newest();
        self.has_more = messages > 0 && self.feed.due_ns().is_some_and(|due_ns| due_ns <= now_ns);
        messages
    }

    /// Whether a patient feed should leave the tabs time.
    fn must_wait(&mut self, congested: bool, moved: u64, now_ns: u64) -> bool {
        // One that reads, however slowly, is waited for.
        if std::mem::replace(&mut self.moved, moved) != moved {
            self.waiting_until_ns = None;
        }
        let engine = || self.engine.as_ref().is_some_and(|inbox| inbox.ring.depth() > ENGINE_BACKLOG);
        let Some(patience) = self.feed.patience().filter(|_| congested || engine()) else {
            self.waiting_until_ns = None;
            return false;
        };
        now_ns < *self.waiting_until_ns.get_or_insert(now_ns + patience.as_nanos() as u64)
    }
}

/// A data-plane thread's work. **Thread**: the one that runs it.
pub struct Duty {
    feed: Option<FeedPart>,
    writer: Option<Writer>,
    poll: Poll,
    events: Events,
    idle: Idle,
    clock: Clock,
    recorder: Recorder,
    counters: Arc<DutyCounters>,
    congestion: Arc<Congestion>,
    /// The writer's place in `congestion`.
    place: usize,
    /// None where the feed is patient: nothing may make way then.
    overload: Option<Overload>,
    stop: Arc<AtomicBool>,
    /// When the thread last woke or finished a cycle: the begin of a message's way.
    woken_ns: u64,
    watched_ns: u64,
}

impl std::fmt::Debug for Duty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Duty").field("idle", &self.idle).finish_non_exhaustive()
    }
}

/// What every duty cycle needs besides its parts.
#[derive(Debug)]
pub struct DutyFrame {
    /// What it sleeps on.
    pub poll: Poll,
    /// What it does when idle.
    pub idle: Idle,
    /// The program's clock.
    pub clock: Clock,
    /// The thread's histograms.
    pub recorder: Recorder,
    /// What it counts about itself.
    pub counters: Arc<DutyCounters>,
    /// How far the writers are.
    pub congestion: Arc<Congestion>,
    /// The writer's place in it.
    pub place: usize,
    /// None where the feed is patient.
    pub overload: Option<Overload>,
    /// Set when it must end.
    pub stop: Arc<AtomicBool>,
}

impl Duty {
    /// A poll and a waker for it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn poll() -> std::io::Result<(Poll, mio::Waker)> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKE)?;
        Ok((poll, waker))
    }

    /// Puts the parts together and registers the feed's sockets.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(frame: DutyFrame, mut feed: Option<FeedPart>, writer: Option<Writer>) -> std::io::Result<Self> {
        if let Some(part) = &mut feed {
            part.feed.register(frame.poll.registry(), FEED)?;
        }
        let DutyFrame { poll, idle, clock, recorder, counters, congestion, place, overload, stop } = frame;
        Ok(Self {
            feed,
            writer,
            poll,
            events: Events::with_capacity(1_024),
            idle,
            woken_ns: clock.now_ns(),
            watched_ns: 0,
            clock,
            recorder,
            counters,
            congestion,
            place,
            overload,
            stop,
        })
    }

    /// One cycle; true when there was work.
    pub fn cycle(&mut self) -> bool {
        let mut work = 0;
        let (began_ns, mut fed_ns) = (self.woken_ns, 0);
        let overloaded = self.overload.as_ref().is_some_and(Overload::is_on);
        let congested = self.feed.is_some() && self.congestion.is_congested();
        if let Some(part) = &mut self.feed {
            while let Some(changes) = part.door.take() {
                part.feed.demand(&changes);
                work += 1;
            }
            let now_ns = self.clock.now_ns();
            if !part.must_wait(congested, self.congestion.moved(), now_ns) {
                let conflating = self.overload.as_ref().is_some_and(Overload::conflates);
                let messages = part.poll(now_ns, self.woken_ns, overloaded, conflating);
                work += messages;
                if overloaded {
                    fed_ns = self.clock.now_ns() - now_ns;
                }
                if messages > 0 {
                    self.congestion.publish();
                    part.writers.iter().for_each(|door| door.wake());
                }
            }
        }
        let batch = self.congestion.published();
        if let Some(writer) = &mut self.writer {
            work += writer.turn(&mut self.recorder, overloaded);
        }
        let watches = self.feed.is_some() || self.writer.as_ref().is_some_and(Writer::watches);
        if work > 0 && watches {
            work += self.watch();
        }
        if self.writer.as_ref().is_some_and(|writer| !writer.is_congested()) {
            self.congestion.pass(self.place, batch);
        }
        let now_ns = self.clock.now_ns();
        if let Some(part) = &mut self.feed {
            part.publisher.exchange(now_ns);
        }
        self.recorder.exchange(now_ns);
        self.woken_ns = now_ns;
        self.note_overload(began_ns, fed_ns, work > 0);
        self.counters.cycles.add(1);
        self.counters.busy_cycles.add(u64::from(work > 0));
        work > 0
    }

    /// At the end of a cycle that began then, and in which the feed took so long.
    fn note_overload(&mut self, began_ns: u64, fed_ns: u64, worked: bool) {
        let Some(overload) = &mut self.overload else { return };
        let unfinished = self.feed.as_ref().is_some_and(|part| part.has_more)
            || self.writer.as_ref().is_some_and(Writer::is_unfinished);
        let shed = self.writer.as_ref().is_some_and(Writer::has_shed);
        let (now_ns, took_ns) = (self.woken_ns, if worked { self.woken_ns.saturating_sub(began_ns) } else { 0 });
        let changes = overload.note(Load { now_ns, took_ns, fed_ns, unfinished, shed });
        if changes {
            self.counters.overloads.add(overload.is_on().into());
            self.counters.overloaded.set(overload.is_on().into());
        }
    }

    /// Looks at sockets now and then, for a thread too busy to sleep.
    fn watch(&mut self) -> usize {
        if self.clock.now_ns() < self.watched_ns + WATCH_NS { 0 } else { self.look(Some(Duration::ZERO)) }
    }

    /// Waits for events, carries out those of full sockets and tells the feed of its own. Returns how many those were.
    fn look(&mut self, wait: Option<Duration>) -> usize {
        if let Err(error) = self.poll.poll(&mut self.events, wait)
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "a data-plane thread cannot wait for events");
            // Else the thread would fill the log with the same line.
            std::thread::sleep(Duration::from_millis(10));
        }
        self.woken_ns = self.clock.now_ns();
        self.watched_ns = self.woken_ns;
        let mut work = 0;
        for event in self.events.iter().filter(|event| event.token() != WAKE) {
            if event.token() >= FEED {
                if let Some(part) = &mut self.feed {
                    part.feed.edge(event);
                }
            } else if let Some(writer) = &mut self.writer {
                writer.writable(event.token().0 as u32, &mut self.recorder);
                self.congestion.note_moved();
            }
            work += 1;
        }
        work
    }

    /// How long the thread may sleep.
    fn sleep_time(&self) -> Duration {
        let now_ns = self.clock.now_ns();
        let feed = self.feed.as_ref().map_or(u64::MAX, |part| match part.waiting_until_ns {
            Some(until_ns) if now_ns < until_ns => match &self.writer {
                // It waits for tabs, whose sockets wake the thread.
                Some(writer) if writer.is_congested() => until_ns,
                _ => now_ns + LOOK_AGAIN_NS,
            },
            _ => part.feed.due_ns().unwrap_or(u64::MAX),
        });
        let published = self.feed.as_ref().and_then(|part| part.publisher.due_ns()).unwrap_or(u64::MAX);
        let writer = self.writer.as_ref().map_or(u64::MAX, Writer::due_ns);
        let recorded = self.recorder.due_ns().unwrap_or(u64::MAX);
        let due_ns = feed.min(published).min(writer).min(recorded);
        Duration::from_nanos(due_ns.saturating_sub(now_ns)).min(LONGEST_SLEEP)
    }

    /// What the thread does between two cycles without work.
    fn rest(&mut self) {
        match self.idle {
            Idle::Spin => {
                std::hint::spin_loop();
                self.look(Some(Duration::ZERO));
            }
            Idle::Yield => {
                self.look(Some(Duration::ZERO));
                std::thread::yield_now();
            }
            Idle::Park => {
                let time = self.sleep_time();
                // The writer's door must know that its thread sleeps, and that nothing came just before.
                let may_sleep = self.writer.as_ref().is_none_or(|writer| {
                    let door = writer.door();
                    door.port.fall_asleep(|| door.is_quiet())
                });
                if may_sleep {
                    self.counters.sleeps.add(1);
                    self.look(Some(time));
                }
                if let Some(writer) = &self.writer {
                    writer.door().port.wake_up();
                }
            }
        }
    }

    /// Runs until it is told to stop, then ends every tab with `last_frame`.
    pub fn run(mut self, last_frame: &[u8]) {
        while !self.stop.load(Ordering::Relaxed) {
            if !self.cycle() {
                self.rest();
            }
        }
        if let Some(writer) = &mut self.writer {
            writer.close_all(last_frame);
        }
    }
}
