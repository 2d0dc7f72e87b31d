//! The data plane's threads: which parts each has, and on which core it runs.

use super::{Settings, Threads};
use crate::clock::Clock;
use crate::duty::{Congestion, Duty, DutyFrame, FeedDoor, FeedPart, Overload};
use crate::fanout::board::Board;
use crate::fanout::publisher::Publisher;
use crate::fanout::slot::Inbox;
use crate::feed::Feed;
use crate::session::door::Door;
use crate::session::writer::{Writer, WriterSettings};
use crate::stats::{Collector, DutyCounters, FeedCounters, WriterCounters};
use crate::wire::close::Close;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The data plane before its threads run.
pub(super) struct DataPlane {
    pub(super) duties: Vec<(String, Duty)>,
    pub(super) doors: Vec<Arc<Door>>,
    pub(super) feed_door: Arc<FeedDoor>,
    pub(super) feed_counters: Arc<FeedCounters>,
    pub(super) writer_counters: Vec<Arc<WriterCounters>>,
    pub(super) duty_counters: Vec<Arc<DutyCounters>>,
    pub(super) collector: Collector,
    pub(super) stop: Arc<AtomicBool>,
}

impl DataPlane {
    pub(super) fn build(
        settings: &Settings,
        board: &Arc<Board>,
        clock: &Clock,
        feed: Box<dyn Feed>,
        engine: &Arc<Inbox>,
    ) -> io::Result<Self> {
        let writers = match settings.threads {
            Threads::One => 1,
            Threads::Split(writers) => writers.max(1),
        };
        let (market_time, patient) = (feed.market_time(), feed.patience().is_some());
        // It waits for sockets that are full, and nothing may be left out.
        let late_after_ns = settings.writer.late_after_ns.filter(|_| !patient);
        let writer_settings = WriterSettings { late_after_ns, ..settings.writer };
        let mut collector = Collector::default();
        let stop = Arc::new(AtomicBool::new(false));
        let congestion = Arc::new(Congestion::new(writers));
        let mut duty_counters = Vec::new();
        let mut writer_counters = Vec::new();
        let mut doors = Vec::new();
        // Each writer has its poll; in one-thread mode the feed shares the only one.
        let mut parts = Vec::new();
        let tabs_each = settings.max_connections.div_ceil(writers);
        for place in 0..writers {
            let (poll, waker) = Duty::poll()?;
            let door = Arc::new(Door::new(waker, tabs_each));
            let counters = Arc::new(WriterCounters::default());
            let registry = poll.registry().try_clone()?;
            let writer = Writer::new(
                Arc::clone(&door),
                Arc::clone(board),
                clock.clone(),
                writer_settings,
                registry,
                Arc::clone(&counters),
            );
            doors.push(door);
            writer_counters.push(counters);
            parts.push((poll, place, writer));
        }
        let feed_counters = Arc::new(FeedCounters::default());
        let publisher =
            Publisher::new(board, clock.clone(), Arc::clone(&feed_counters), collector.recorder()).follow(market_time);
        let mut frame = |poll, place| {
            let counters = Arc::new(DutyCounters::default());
            duty_counters.push(Arc::clone(&counters));
            DutyFrame {
                poll,
                idle: settings.idle,
                clock: clock.clone(),
                recorder: collector.recorder(),
                counters,
                congestion: Arc::clone(&congestion),
                place,
                overload: (!patient).then(Overload::default),
                stop: Arc::clone(&stop),
            }
        };
        let frames: Vec<_> = parts.into_iter().map(|(poll, place, writer)| (frame(poll, place), writer)).collect();
        let part = |door: &Arc<FeedDoor>, writers| {
            FeedPart::new(feed, publisher, Arc::clone(door), writers).with_engine(Arc::clone(engine))
        };
        let mut duties = Vec::new();
        let feed_door;
        match settings.threads {
            Threads::One => {
                // A second waker of the same poll would replace the first: the feed is woken through the writer's.
                let (frame, writer) = frames.into_iter().next().ok_or_else(|| io::Error::other("no writer"))?;
                feed_door = Arc::new(FeedDoor::shared(Arc::clone(&doors[0])));
                let part = part(&feed_door, Vec::new());
                duties.push(("tickfan-duty".to_owned(), Duty::new(frame, Some(part), Some(writer))?));
            }
            Threads::Split(_) => {
                let (poll, waker) = Duty::poll()?;
                feed_door = Arc::new(FeedDoor::own(waker));
                let feed_frame = frame(poll, writers);
                let part = part(&feed_door, doors.clone());
                duties.push(("tickfan-feed".to_owned(), Duty::new(feed_frame, Some(part), None)?));
                for (at, (frame, writer)) in frames.into_iter().enumerate() {
                    duties.push((format!("tickfan-wr-{at}"), Duty::new(frame, None, Some(writer))?));
                }
            }
        }
        Ok(Self { duties, doors, feed_door, feed_counters, writer_counters, duty_counters, collector, stop })
    }
}

/// Starts a data-plane thread. A pin that fails is told and changes nothing else.
pub(super) fn spawn(name: String, at: usize, pin: bool, duty: Duty) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.clone()).spawn(move || {
        if pin {
            pin_to_core(&name, at);
        }
        duty.run(&Close::GoingAway.frame());
    })
}

/// Pins the calling thread to the core at that place from the end: the first cores serve interrupts on most machines.
pub(super) fn pin_to_core(name: &str, at: usize) {
    let core = core_affinity::get_core_ids().and_then(|cores| cores.into_iter().rev().nth(at));
    match core {
        Some(core) if core_affinity::set_for_current(core) => {
            tracing::info!(thread = name, core = core.id, "pinned");
        }
        _ => tracing::warn!(thread = name, "cannot be pinned to a core; runs unpinned"),
    }
}
