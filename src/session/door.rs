//! How the control side reaches a writer: a bounded queue of commands, and the keys of its tabs.

use super::lane::Lane;
use super::tab::{Delivery, Tab};
use crate::fanout::port::Port;
use crate::fanout::publisher;
use crate::fanout::slot::Inbox;
use crate::market::Mode;
use crate::room;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the control side asks of a writer, for the tab of one key. They are carried out in order.
#[derive(Debug)]
pub enum Command {
    /// A new tab.
    Open(Box<Tab>),
    /// New subscriptions and settings, with the reply that announces them, as one step.
    Change(Box<Change>),
    /// A finished frame.
    Send(Vec<u8>),
    /// The last frame, possibly none, and the end.
    Close(Vec<u8>),
}

/// See [`Command::Change`]. Lanes are removed before the reply and added after it, so no update of a removed token
/// follows the reply, and every snapshot does.
#[derive(Debug, Default)]
pub struct Change {
    /// Slots the tab no longer wants; all of them if [`Self::clear`].
    pub remove: Vec<u32>,
    /// Whether everything it had is removed.
    pub clear: bool,
    /// What it wants from now on.
    pub add: Vec<Lane>,
    /// Whether it wants every slot there is and will be, and how much of each; `None` changes nothing.
    pub firehose: Option<Option<Mode>>,
    /// Its inbox, at the first subscription.
    pub inbox: Option<Arc<Inbox>>,
    /// How messages are delivered from now on.
    pub delivery: Option<Delivery>,
    /// The reply.
    pub reply: Vec<u8>,
}

/// Most commands that wait; a sender then waits too.
const COMMANDS: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub struct Door {
    /// The list of sessions that have something.
    pub port: Arc<Port>,
    commands: ArrayQueue<(u32, Command)>,
    /// Keys no tab has.
    free: ArrayQueue<u32>,
    /// Tabs that have a key.
    used: AtomicUsize,
    waker: mio::Waker,
}

impl Door {
    /// A door to a writer that sleeps on `waker`'s poll, for at most `tabs` tabs.
    pub fn new(waker: mio::Waker, tabs: usize) -> Self {
        let tabs = tabs.max(1);
        let free = ArrayQueue::new(tabs);
        for key in 0..tabs as u32 {
            // There are exactly as many places as keys.
            let _ = free.push(key);
        }
        let commands = ArrayQueue::new(COMMANDS);
        Self { port: Arc::new(Port::new(tabs)), commands, free, used: AtomicUsize::new(0), waker }
    }

    /// A key for a new tab; `None` when there are as many tabs as allowed. Any thread.
    pub fn key(&self) -> Option<u32> {
        let key = self.free.pop()?;
        self.used.fetch_add(1, Ordering::Relaxed);
        Some(key)
    }

    /// Gives a key back. **Thread**: the writer, once nothing of the tab is left.
    pub fn free(&self, key: u32) {
        self.used.fetch_sub(1, Ordering::Relaxed);
        // There are exactly as many places as keys.
        let _ = self.free.push(key);
    }

    /// Tabs that have a key. Any thread.
    pub fn tabs(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Sends a command, waiting while the queue is full. Control side.
    pub async fn send(&self, key: u32, command: Command) {
        room::offer(&self.commands, (key, command), || self.wake()).await;
    }

    /// Wakes the writer if it sleeps. Any thread.
    pub fn wake(&self) {
        publisher::wake([(&*self.port, &self.waker)]);
    }

    /// Wakes the thread behind the door whether it sleeps or not: for what is not in the door's own lists.
    pub fn ring(&self) {
        // Fails only when the eventfd is gone, that is at shutdown.
        let _ = self.waker.wake();
    }

    /// The next command. **Thread**: the writer.
    pub fn command(&self) -> Option<(u32, Command)> {
        self.commands.pop()
    }

    /// Whether no command waits.
    pub fn is_quiet(&self) -> bool {
        self.commands.is_empty()
    }
}
