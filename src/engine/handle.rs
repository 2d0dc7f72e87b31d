//! How the control side reaches the engine.

use super::alert::Alert;
use super::command::{Command, Full, Granted, Wish};
use super::counters::EngineCounters;
use super::track::Bars;
use crate::fanout::series::Subscription;
use crate::market::{Candle, InstrumentToken, Timeframe};
use crate::room;
use crossbeam::queue::ArrayQueue;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use tokio::sync::oneshot;

/// Most requests that wait; a sender then waits too.
const COMMANDS: usize = 4_096;

/// The engine has stopped, because the gateway does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the gateway is stopping")]
pub struct Stopped;

/// See the module. Control side.
#[derive(Debug)]
pub struct Engine {
    commands: ArrayQueue<Command>,
    thread: OnceLock<Thread>,
    counters: Arc<EngineCounters>,
}

impl Engine {
    pub(super) fn new(counters: Arc<EngineCounters>) -> Self {
        Self { commands: ArrayQueue::new(COMMANDS), thread: OnceLock::new(), counters }
    }

    /// What it counts.
    pub fn counters(&self) -> &EngineCounters {
        &self.counters
    }

    /// Begins subscriptions; returns what became of each. What was known of an indicator has been posted by then, so a
    /// reply that is sent now leaves after it.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn begin(&self, wishes: Vec<Wish>) -> Result<Vec<Granted>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Begin(wishes, reply)).await;
        answer.await.map_err(|_| Stopped)
    }

    /// Ends subscriptions: no mail of them reaches its connection from now on.
    pub async fn end(&self, subscriptions: Vec<Arc<Subscription>>) {
        if !subscriptions.is_empty() {
            subscriptions.iter().for_each(|subscription| subscription.end());
            self.send(Command::End(subscriptions)).await;
        }
    }

    /// The newest `count` closed bars and the one that forms, once the history is loaded.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn bars(&self, token: InstrumentToken, timeframe: Timeframe, count: usize) -> Result<Bars, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Bars { token, timeframe, count, reply }).await;
        answer.await.map_err(|_| Stopped)
    }

    /// Begins to watch for an alert.
    ///
    /// # Errors
    /// When its indicator would be one too many; as when the engine has stopped.
    pub async fn watch(&self, alert: Alert) -> Result<(), Full> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Watch(alert, reply)).await;
        answer.await.unwrap_or(Err(Full(0)))
    }

    /// Watches for an alert no longer; nothing happens if it has fired.
    pub async fn unwatch(&self, token: InstrumentToken, id: Arc<str>) {
        self.send(Command::Unwatch { token, id }).await;
    }

    /// Gives it a history it asked for, or says that there is none to be had.
    pub async fn loaded(&self, token: InstrumentToken, timeframe: Timeframe, bars: Option<Vec<Candle>>) {
        self.send(Command::Loaded { token, timeframe, bars }).await;
    }

    /// The feed was lost at `at` (Unix seconds): bars that are open lack something. `None` means all instruments.
    pub async fn interrupted(&self, at: i64, mut tokens: Option<Vec<InstrumentToken>>) {
        tokens.iter_mut().for_each(|tokens| tokens.sort_unstable());
        self.send(Command::Interrupted { at, tokens }).await;
    }

    async fn send(&self, command: Command) {
        room::offer(&self.commands, command, || self.wake()).await;
    }

    /// Wakes its thread if it sleeps. Any thread.
    pub fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// The next request. **Thread**: the engine's.
    pub(super) fn command(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// Says which thread is to be woken. **Thread**: the engine's, once.
    pub(super) fn runs_here(&self) {
        let _ = self.thread.set(std::thread::current());
    }
}
