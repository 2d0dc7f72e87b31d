//! The duty half: reads and subscribes on the open connection, and never waits for anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::link::{Down, Link};
use super::status::KiteStatus;
use super::wanted::Wanted;
use super::{Report, Settings};
use crate::feed::{Demand, Feed};

/// The feed of Kite's ticker; see [`super`]. Without a connection it is idle, and the control half sees to the next.
pub struct KiteFeed {
    handover: Arc<ArrayQueue<Link>>,
    link: Option<Link>,
    wanted: Wanted,
    registry: Option<(mio::Registry, mio::Token)>,
    reports: mpsc::Sender<Report>,
    status: Arc<KiteStatus>,
    watchdog: Duration,
    /// Bytes that had arrived when the line was last seen alive, and when that was.
    alive: (u64, u64),
    /// The last poll stopped at its budget; as edges are not repeated, the rest must be asked for.
    unread: bool,
}

impl KiteFeed {
    pub(super) fn new(
        settings: &Settings,
        handover: Arc<ArrayQueue<Link>>,
        reports: mpsc::Sender<Report>,
        status: Arc<KiteStatus>,
    ) -> Self {
        Self {
            handover,
            link: None,
            wanted: Wanted::new(settings.max_tokens),
            registry: None,
            reports,
            status,
            watchdog: settings.watchdog,
            alive: (0, 0),
            unread: false,
        }
    }

    fn take_over(&mut self, link: Link, now_ns: u64) {
        self.end(None);
        self.alive = (link.received(), now_ns);
        self.link = Some(link);
        self.wanted.start_over();
    }

    /// Says upstream what has yet to be said, unless earlier words still wait for the kernel.
    fn write(&mut self) -> Result<(), Down> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if link.is_unsent() {
            link.flush()?;
        }
        if !link.is_unsent() && !self.wanted.is_settled() {
            link.send(self.wanted.requests())?;
            self.status.subscribed.store(self.wanted.held() as u64, Relaxed);
        }
        if let Some((registry, token)) = &self.registry {
            link.register(registry, *token).map_err(|error| Down::Io(error.kind()))?;
        }
        Ok(())
    }

    /// Reads until the socket is empty or `budget` packets were handed on. Returns the number of binary messages.
    fn read(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> (usize, Result<(), Down>) {
        let Some(link) = &mut self.link else { return (0, Ok(())) };
        let (mut messages, mut bytes, mut spent) = (0, 0, 0);
        let mut heard = false;
        self.unread = false;
        let result = loop {
            if spent >= budget {
                self.unread = true;
                break Ok(());
            }
            let message = match link.read() {
                Ok(Some(message)) => message,
                Ok(None) => break Ok(()),
                Err(down) => break Err(down),
            };
            heard = true;
            match message {
                Message::Binary(payload) => {
                    let packets = packets(&payload);
                    link.ticked |= packets > 0;
                    // What holds no packet costs its turn too, or a flood of heartbeats would never end.
                    spent += packets.max(1);
                    messages += 1;
                    bytes += payload.len();
                    sink(&payload);
                }
                Message::Text(text) => {
                    spent += 1;
                    add(&self.status.texts, 1);
                    if self.reports.try_send(Report::Text(text.to_string())).is_err() {
                        self.status.texts_dropped.fetch_add(1, Relaxed);
                    }
                }
                _ => spent += 1,
            }
        };
        if heard {
            self.status.heard(now_ns);
            add(&self.status.messages, messages as u64);
            add(&self.status.bytes, bytes as u64);
        }
        (messages, result)
    }

    /// Any byte since the last look is a sign of life.
    fn watch(&mut self, now_ns: u64) -> Result<(), Down> {
        let Some(link) = &self.link else { return Ok(()) };
        let received = link.received();
        if received != self.alive.0 || self.unread {
            self.alive = (received, now_ns);
        }
        if now_ns >= self.deadline() { Err(Down::Watchdog) } else { Ok(()) }
    }

    fn deadline(&self) -> u64 {
        self.alive.1.saturating_add(self.watchdog.as_nanos() as u64)
    }

    /// Gives up the connection, if there is one; `None` tells the control half that this half is going away.
    fn end(&mut self, down: Option<Down>) {
        self.unread = false;
        if let Some(link) = self.link.take() {
            link.end(self.registry.as_ref().map(|(registry, _)| registry), down);
        }
        self.status.subscribed.store(0, Relaxed);
    }
}

impl Feed for KiteFeed {
    fn name(&self) -> &'static str {
        "kite"
    }

    fn poll(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        if let Some(link) = self.handover.pop() {
            self.take_over(link, now_ns);
        }
        if self.link.is_none() {
            return 0;
        }
        let written = self.write();
        // Even after a failed write: what has arrived is still good.
        let (messages, read) = self.read(now_ns, budget, sink);
        // The answer to a ping may have been left unsent, which asks for another registration.
        let rest =
            if read.is_ok() && written.is_ok() { self.write().and_then(|()| self.watch(now_ns)) } else { Ok(()) };
        if let Err(down) = read.and(written).and(rest) {
            self.end(Some(down));
        }
        messages
    }

    fn due_ns(&self) -> Option<u64> {
        if self.unread || !self.handover.is_empty() {
            return Some(0);
        }
        self.link.as_ref().map(|_| self.deadline())
    }

    fn demand(&mut self, changes: &[Demand]) {
        let refused = self.wanted.apply(changes);
        self.status.refused.store(self.wanted.refused() as u64, Relaxed);
        if !refused.is_empty() {
            // Only the log misses it when the channel is full; the count above is right in any case.
            let _ = self.reports.try_send(Report::Refused(refused));
        }
        if let Err(down) = self.write() {
            self.end(Some(down));
        }
    }

    fn register(&mut self, registry: &mio::Registry, token: mio::Token) -> std::io::Result<()> {
        let registry = registry.try_clone()?;
        if let Some(link) = &mut self.link {
            link.register(&registry, token)?;
        }
        self.registry = Some((registry, token));
        Ok(())
    }
}

impl Drop for KiteFeed {
    fn drop(&mut self) {
        self.end(None);
        // The control half owns the queue too, and would wait for ever for the end of a connection nobody took.
        self.handover.pop();
    }
}

/// How many packets a message announces.
fn packets(message: &[u8]) -> usize {
    message.first_chunk::<2>().map_or(0, |count| usize::from(u16::from_be_bytes(*count)))
}

/// Adds to a counter that no other thread writes: a plain store is cheaper than a locked addition.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed) + amount, Relaxed);
}
