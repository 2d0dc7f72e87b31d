//! One socket of the pool, as the duty half sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam::queue::ArrayQueue;
use mio::{Registry, Token};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::Report;
use super::gate::Gate;
use super::link::{Down, Link};
use super::packing::Packing;
use super::status::SocketStatus;

/// See the module. **Thread**: the feed's.
pub(super) struct Line {
    /// Its number in the pool.
    number: usize,
    /// Where the control half puts an open connection.
    pub(super) handover: Arc<ArrayQueue<Link>>,
    pub(super) link: Option<Link>,
    pub(super) status: Arc<SocketStatus>,
    /// The control half was asked to connect.
    pub(super) asked: bool,
    /// Bytes that had arrived when the line was last seen alive.
    received: u64,
    /// When that was, or when its connection was taken over; monotonic. What the watchdog counts from.
    alive_ns: u64,
    /// When a byte came last, over all connections, or when the line was asked for; monotonic, 0 for never. What its
    /// subscribers' patience counts from.
    pub(super) heard_ns: u64,
    /// There may be more to read, of which no edge tells: the last poll stopped at its budget, or the connection is
    /// new, could write again, or has failed.
    pub(super) unread: bool,
    /// Why its connection must end, once what has arrived is read.
    failed: Option<Down>,
    /// Its subscribers count as told that it is silent.
    pub(super) lost: bool,
    /// It may have instruments whose subscribers do not.
    pub(super) news: bool,
    /// Before that time, monotonic, Kite is asked nothing more: a storm of changes becomes one of a few requests.
    pub(super) may_ask_ns: u64,
    /// When what has not been heard of since the line is back counts as served nevertheless; 0 for never.
    pub(super) settled_ns: u64,
}

impl Line {
    pub(super) fn new(number: usize, handover: Arc<ArrayQueue<Link>>, status: Arc<SocketStatus>) -> Self {
        Self {
            number,
            handover,
            link: None,
            status,
            asked: false,
            received: 0,
            alive_ns: 0,
            heard_ns: 0,
            unread: false,
            failed: None,
            lost: false,
            news: false,
            may_ask_ns: 0,
            settled_ns: 0,
        }
    }

    /// Takes over a connection; an older one is given up.
    pub(super) fn take_over(&mut self, link: Link, packing: &mut Packing, registry: Option<&Registry>, now_ns: u64) {
        self.end(None, packing, registry);
        self.received = link.received();
        self.alive_ns = now_ns;
        self.link = Some(link);
        // The handshake may have read ahead.
        self.unread = true;
        self.may_ask_ns = 0;
        packing.set_down(self.number, false);
    }

    /// Says upstream what has yet to be said, unless earlier words still wait for the kernel or were said just now.
    pub(super) fn write(
        &mut self,
        packing: &mut Packing,
        registry: Option<&(Registry, Token)>,
        now_ns: u64,
        pace_ns: u64,
    ) -> Result<(), Down> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if link.is_unsent() {
            link.flush()?;
            // With TLS, what had been read waited behind what could not be written.
            self.unread |= !link.is_unsent();
        }
        if !link.is_unsent() && !packing.is_settled(self.number) && now_ns >= self.may_ask_ns {
            self.may_ask_ns = now_ns + pace_ns;
            link.send(packing.requests(self.number, now_ns))?;
            self.status.subscribed.store(packing.held(self.number) as u64, Relaxed);
        }
        if let Some((registry, first)) = registry {
            link.register(registry, Token(first.0 + self.number)).map_err(|error| Down::Io(error.kind()))?;
        }
        Ok(())
    }

    /// Reads until the socket is empty or `budget` packets were handed on; takes what it spends from the budget. Returns
    /// the number of binary messages.
    pub(super) fn read(
        &mut self,
        packing: &mut Packing,
        gate: &mut Gate,
        reports: &mpsc::Sender<Report>,
        now_ns: u64,
        budget: &mut usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> (usize, Result<(), Down>) {
        let Some(link) = &mut self.link else { return (0, Ok(())) };
        let (mut messages, mut bytes, mut heard) = (0, 0, false);
        self.unread = false;
        let result = loop {
            if *budget == 0 {
                self.unread = true;
                break Ok(());
            }
            let message = match link.read() {
                Ok(Some(message)) => message,
                Ok(None) => break Ok(()),
                Err(down) => break Err(down),
            };
            heard = true;
            // What holds no packet costs its turn too, or a flood of heartbeats would never end.
            let mut cost = 1;
            match message {
                Message::Binary(payload) => {
                    let (rest, passed) = gate.pass(&payload, self.number, packing.owners(), now_ns);
                    link.ticked |= passed.packets > 0;
                    cost = cost.max(passed.packets);
                    messages += 1;
                    bytes += payload.len() as u64;
                    self.status.count(passed);
                    if let Some(rest) = rest {
                        sink(rest);
                    }
                }
                Message::Text(text) => {
                    self.status.count_text();
                    let report = Report::Text { line: self.number, text: text.to_string() };
                    if reports.try_send(report).is_err() {
                        self.status.texts_dropped.fetch_add(1, Relaxed);
                    }
                }
                _ => {}
            }
            *budget = budget.saturating_sub(cost);
        };
        if heard {
            self.status.heard(now_ns, messages as u64, bytes);
        }
        // Any byte is a sign of life, and so is what could not be looked at.
        let received = link.received();
        if heard || self.unread || received != self.received {
            self.received = received;
            self.alive_ns = now_ns;
            self.heard_ns = now_ns;
        }
        if result.is_ok()
            && !self.unread
            && let Some(down) = self.failed.take()
        {
            return (messages, Err(down));
        }
        (messages, result)
    }

    /// Has the connection end behind what has arrived, which is still good.
    pub(super) fn fail(&mut self, down: Down) {
        if let Some(link) = &mut self.link {
            link.edge(true);
            self.failed = Some(down);
            self.unread = true;
        }
    }

    /// Whether the watchdog lets the connection live.
    pub(super) fn check_alive(&self, now_ns: u64, watchdog_ns: u64) -> Result<(), Down> {
        if self.link.is_some() && now_ns >= self.deadline(watchdog_ns) { Err(Down::Watchdog) } else { Ok(()) }
    }

    /// When the watchdog gives the connection up.
    pub(super) fn deadline(&self, watchdog_ns: u64) -> u64 {
        self.alive_ns.saturating_add(watchdog_ns)
    }

    /// Gives up the connection, if there is one; `None` tells the control half that this half is going away.
    pub(super) fn end(&mut self, down: Option<Down>, packing: &mut Packing, registry: Option<&Registry>) {
        (self.unread, self.failed) = (false, None);
        if let Some(link) = self.link.take() {
            link.end(registry, down);
        }
        packing.start_over(self.number);
        self.status.subscribed.store(0, Relaxed);
    }
}
