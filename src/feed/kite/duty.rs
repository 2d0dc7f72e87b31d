//! The duty half: reads and subscribes on the open connections, and never waits for anything.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;

use super::gate::Gate;
use super::line::Line;
use super::packing::Packing;
use super::status::KiteStatus;
use super::{Report, Settings};
use crate::feed::{Demand, Feed, Outage};
use crate::market::InstrumentToken;

/// The feed of Kite's ticker; see [`super`]. Without a connection it is idle, and the control half sees to the next.
pub struct KiteFeed {
    lines: Vec<Line>,
    packing: Packing,
    gate: Gate,
    registry: Option<(mio::Registry, mio::Token)>,
    reports: mpsc::Sender<Report>,
    outages: mpsc::Sender<Outage>,
    status: Arc<KiteStatus>,
    watchdog_ns: u64,
    stale_ns: u64,
    spill_ns: u64,
    pace_ns: u64,
    /// The line that is read first in the next poll.
    first: usize,
    /// The time of the last poll, monotonic.
    now_ns: u64,
    /// When it last looked after everything but what has arrived, monotonic.
    kept_ns: u64,
}

/// Kite's heartbeat comes every second: a silent socket counts as lost only this much later than a closed one.
const HEARTBEAT_SLACK_NS: u64 = 500_000_000;
/// What did not tick in so long after its socket came back has nothing new to say: Kite answers a subscription with the
/// last packet at once.
const SETTLE_NS: u64 = 1_000_000_000;
/// How long everything but reading waits while messages come without a pause.
const KEEP_NS: u64 = 10_000_000;

const fn ns(time: Duration) -> u64 {
    time.as_nanos() as u64
}

impl KiteFeed {
    pub(super) fn new(
        settings: &Settings,
        lines: Vec<Line>,
        reports: mpsc::Sender<Report>,
        outages: mpsc::Sender<Outage>,
        status: Arc<KiteStatus>,
    ) -> Self {
        let packing = Packing::new(lines.len(), settings.max_tokens);
        Self {
            lines,
            packing,
            gate: Gate::default(),
            registry: None,
            reports,
            outages,
            status,
            watchdog_ns: ns(settings.watchdog),
            stale_ns: ns(settings.stale),
            spill_ns: ns(settings.spill),
            pace_ns: ns(settings.pace),
            first: 0,
            now_ns: 0,
            kept_ns: 0,
        }
    }

    fn write(&mut self, at: usize) {
        let line = &mut self.lines[at];
        if let Err(down) = line.write(&mut self.packing, self.registry.as_ref(), self.now_ns, self.pace_ns) {
            line.fail(down);
        }
    }

    /// Reads a line with what is left of the budget.
    fn read(&mut self, at: usize, budget: &mut usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let line = &mut self.lines[at];
        let (messages, read) = line.read(&mut self.packing, &mut self.gate, &self.reports, self.now_ns, budget, sink);
        if let Err(down) = read {
            self.end(at, down);
        }
        messages
    }

    /// Everything but reading: new connections, what is to be said upstream, watchdogs, outages.
    fn keep(&mut self) {
        self.kept_ns = self.now_ns;
        for at in 0..self.lines.len() {
            self.keep_line(at);
        }
        self.tell_outages();
        self.spill();
    }

    fn keep_line(&mut self, at: usize) {
        let now_ns = self.now_ns;
        let line = &mut self.lines[at];
        if line.asked && line.heard_ns == 0 {
            line.heard_ns = now_ns.max(1);
        }
        if let Some(link) = line.handover.pop() {
            let registry = self.registry.as_ref().map(|(registry, _)| registry);
            line.take_over(link, &mut self.packing, registry, now_ns);
        }
        self.write(at);
        if let Err(down) = self.lines[at].check_alive(now_ns, self.watchdog_ns) {
            self.end(at, down);
        }
    }

    fn end(&mut self, at: usize, down: super::Down) {
        let registry = self.registry.as_ref().map(|(registry, _)| registry);
        self.lines[at].end(Some(down), &mut self.packing, registry);
    }

    /// Asks the control half for the sockets that are needed.
    fn ask(&mut self) {
        for at in 0..self.lines.len() {
            if self.packing.tokens(at) > 0 {
                self.ask_for(at);
            }
        }
    }

    fn ask_for(&mut self, at: usize) {
        let line = &mut self.lines[at];
        if !line.asked && self.reports.try_send(Report::Open { line: at }).is_ok() {
            line.asked = true;
        }
    }

    /// When a line counts as lost, if nothing is heard of it before.
    fn lost_from(&self, line: &Line) -> u64 {
        let slack_ns = if line.link.is_some() { HEARTBEAT_SLACK_NS } else { 0 };
        line.heard_ns + self.stale_ns + slack_ns
    }

    /// Tells the control side which instruments are no longer served, and which are again.
    fn tell_outages(&mut self) {
        let now_ns = self.now_ns;
        for at in 0..self.lines.len() {
            let line = &self.lines[at];
            if !line.asked {
                continue;
            }
            if now_ns >= self.lost_from(line) {
                if !line.lost || line.news {
                    self.lose(at);
                }
            } else if line.lost {
                let line = &mut self.lines[at];
                line.lost = false;
                line.settled_ns = now_ns + SETTLE_NS;
            } else if line.settled_ns != 0 && now_ns >= line.settled_ns {
                self.lines[at].settled_ns = 0;
                let regained = &mut self.gate.regained;
                for (token, owner) in self.packing.owners().iter_mut().filter(|(_, owner)| owner.line == at) {
                    if owner.lost_ns != 0 {
                        regained.push((*token, std::mem::take(&mut owner.lost_ns)));
                    }
                }
            }
        }
        if !self.gate.regained.is_empty() {
            match self.outages.try_reserve() {
                Ok(place) => place.send(Outage::Over(std::mem::take(&mut self.gate.regained))),
                Err(_) if self.outages.is_closed() => self.gate.regained.clear(),
                // It is told with the next poll.
                Err(_) => {}
            }
        }
    }

    /// A line is silent: its instruments are lost since it was heard last.
    fn lose(&mut self, at: usize) {
        let line = &mut self.lines[at];
        let since_ns = line.heard_ns;
        let place = self.outages.try_reserve();
        if place.is_err() && !self.outages.is_closed() {
            // It is told with the next poll.
            return;
        }
        (line.lost, line.news) = (true, false);
        let Ok(place) = place else { return };
        let owners = self.packing.owners().iter_mut();
        let lost: Vec<InstrumentToken> = owners
            .filter(|(_, owner)| owner.line == at && owner.lost_ns == 0)
            .map(|(token, owner)| {
                owner.lost_ns = since_ns;
                *token
            })
            .collect();
        if !lost.is_empty() {
            place.send(Outage::Begun { tokens: lost, since_ns });
        }
    }

    /// Finds other sockets for what is on one that has been down for long.
    fn spill(&mut self) {
        for at in 0..self.lines.len() {
            let line = &self.lines[at];
            let down = line.asked && line.link.is_none() && self.now_ns >= line.heard_ns + self.spill_ns;
            if !down || self.packing.tokens(at) == 0 {
                continue;
            }
            self.packing.set_down(at, true);
            let lines = &mut self.lines;
            if self.packing.spill(at, |to| lines[to].link.is_some() && !lines[to].lost) > 0 {
                // What does not tick on its new socket is served there all the same.
                for line in lines.iter_mut().filter(|line| line.link.is_some()) {
                    line.settled_ns = self.now_ns + SETTLE_NS;
                }
            }
            // No open socket has room: one that was not needed so far may. One at a time.
            let opening = |line: &Line| {
                line.asked && line.link.is_none() && self.now_ns < line.heard_ns.saturating_add(self.spill_ns)
            };
            if self.packing.tokens(at) > 0
                && !self.lines.iter().any(opening)
                && let Some(idle) = self.lines.iter().position(|line| !line.asked)
            {
                self.ask_for(idle);
            }
        }
    }

    /// When something is due although nothing arrives.
    fn due_of(&self, at: usize) -> u64 {
        let line = &self.lines[at];
        if line.unread || !line.handover.is_empty() {
            return 0;
        }
        let mut due_ns = u64::MAX;
        if let Some(link) = &line.link {
            due_ns = line.deadline(self.watchdog_ns);
            if !self.packing.is_settled(at) && !link.is_unsent() {
                // What the kernel did not take is told by an edge; what must wait for its time is not.
                due_ns = due_ns.min(line.may_ask_ns.max(self.now_ns + 1));
            }
        } else if line.asked && self.packing.tokens(at) > 0 {
            // Once it is down for long, every half second: for sockets that open meanwhile.
            due_ns = (line.heard_ns + self.spill_ns).max(self.now_ns + HEARTBEAT_SLACK_NS);
        }
        if line.asked && (!line.lost || line.news) {
            due_ns = due_ns.min(self.lost_from(line));
        }
        if line.settled_ns != 0 { due_ns.min(line.settled_ns) } else { due_ns }
    }
}

impl Feed for KiteFeed {
    fn name(&self) -> &'static str {
        "kite"
    }

    fn poll(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        if now_ns >= self.now_ns + HEARTBEAT_SLACK_NS {
            // The thread may have been held up: before a line counts as silent, the kernel is asked.
            self.lines.iter_mut().filter_map(|line| line.link.as_mut()).for_each(|link| link.edge(false));
        }
        self.now_ns = now_ns;
        let lines = self.lines.len();
        let (mut messages, mut left) = (0, budget);
        let first = self.first;
        for turn in 0..lines {
            let at = (first + turn) % lines;
            messages += self.read(at, &mut left, sink);
            if self.lines[at].unread && self.first == first {
                // Whoever had to stop is the first next time, so that no socket starves behind another.
                self.first = at;
            }
        }
        if self.first == first {
            self.first = (first + 1) % lines.max(1);
        }
        // Ticks that were just published are on their way: the rest waits until they have left, which is when the next poll
        // comes, unless more and more is coming.
        if messages == 0 || now_ns >= self.kept_ns + KEEP_NS {
            self.keep();
        }
        messages
    }

    fn due_ns(&self) -> Option<u64> {
        let kept_ns = if self.kept_ns == self.now_ns { u64::MAX } else { self.now_ns + 1 };
        let due_ns = (0..self.lines.len()).map(|at| self.due_of(at)).fold(kept_ns, u64::min);
        (due_ns != u64::MAX).then_some(due_ns)
    }

    fn demand(&mut self, changes: &[Demand]) {
        let refused = self.packing.apply(changes);
        self.gate.regained.append(self.packing.forgotten());
        self.status.refused.store(self.packing.refused() as u64, Relaxed);
        if !refused.is_empty() {
            // Only the log misses it when the channel is full; the count above is right in any case.
            let _ = self.reports.try_send(Report::Refused(refused));
        }
        self.ask();
        for at in 0..self.lines.len() {
            self.lines[at].news = true;
            self.write(at);
        }
    }

    fn register(&mut self, registry: &mio::Registry, first: mio::Token) -> std::io::Result<()> {
        self.registry = Some((registry.try_clone()?, first));
        (0..self.lines.len()).for_each(|at| self.write(at));
        Ok(())
    }

    fn edge(&mut self, event: &mio::event::Event) {
        let Some((_, first)) = &self.registry else { return };
        let at = event.token().0.wrapping_sub(first.0);
        if let Some(link) = self.lines.get_mut(at).and_then(|line| line.link.as_mut()) {
            link.edge(event.is_read_closed() || event.is_error());
        }
    }
}

impl Drop for KiteFeed {
    fn drop(&mut self) {
        for line in &mut self.lines {
            line.end(None, &mut self.packing, self.registry.as_ref().map(|(registry, _)| registry));
            // The control half owns the queue too, and would wait for ever for the end of a connection nobody took.
            line.handover.pop();
        }
    }
}
