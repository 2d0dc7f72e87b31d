//! One wording of one value: its series, and who listens.

use super::counters::EngineCounters;
use crate::fanout::series::{Interest, Listener, Message, Series, Subscription};
use crate::fanout::slot::Inbox;
use crate::wire::Format;
use crate::wire::frame::Span;
use std::sync::Arc;

/// How a client wrote what it wants; it gets it back in the same words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wording {
    /// The symbol; empty where a message has none.
    pub symbol: Arc<str>,
    /// The timeframe.
    pub timeframe: Arc<str>,
}

/// A connection that wants something, and how.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Its subscription.
    pub of: Arc<Subscription>,
    /// Where its mail goes.
    pub inbox: Arc<Inbox>,
    /// How messages are written.
    pub format: Format,
}

/// See the module. **Thread**: the engine's.
#[derive(Debug)]
pub struct View {
    /// The words.
    pub wording: Wording,
    series: Arc<Series>,
    number: u64,
    epoch: u64,
    listeners: Vec<Listener>,
}

impl View {
    /// A view that nobody listens to yet.
    pub fn new(wording: Wording) -> Self {
        Self { wording, series: Arc::default(), number: 0, epoch: 0, listeners: Vec::new() }
    }

    /// Adds a listener.
    pub fn add(&mut self, subscriber: &Subscriber) {
        let interest = Arc::new(Interest::new(Arc::clone(&subscriber.of), Arc::clone(&self.series)));
        let inbox = Arc::clone(&subscriber.inbox);
        self.listeners.push(Listener { interest, inbox, format: subscriber.format });
    }

    /// Removes the listeners of a subscription; returns how many.
    pub fn remove(&mut self, of: &Arc<Subscription>) -> u64 {
        let before = self.listeners.len();
        self.listeners.retain(|listener| !Arc::ptr_eq(&listener.interest.of, of));
        (before - self.listeners.len()) as u64
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.listeners.len()
    }

    /// Publishes a value of a bar that forms: of these a listener gets the newest when it can take it.
    pub fn publish_forming(
        &mut self,
        counters: &EngineCounters,
        write: impl Fn(&mut Vec<u8>, Format, &Wording) -> Span,
    ) {
        let Some(message) = self.message(counters, write) else { return };
        self.series.store(&message);
        self.listeners.iter().for_each(|listener| listener.news(self.epoch));
    }

    /// Publishes what must arrive: a closed bar.
    pub fn publish_closed(
        &mut self,
        counters: &EngineCounters,
        write: impl Fn(&mut Vec<u8>, Format, &Wording) -> Span,
    ) {
        self.epoch += 1;
        let Some(message) = self.message(counters, write) else { return };
        self.series.store(&message);
        // One that has overrun is closed by its writer, and then unsubscribed by its session.
        self.listeners.iter().for_each(|listener| _ = listener.keep(&message));
    }

    /// Sends a value to the newest listener alone: what was known when it came.
    pub fn greet(&mut self, write: impl Fn(&mut Vec<u8>, Format, &Wording) -> Span) {
        let Some(listener) = self.listeners.last() else { return };
        let (format, wording) = (listener.format, &self.wording);
        let wanted = |candidate| candidate == format;
        let message = Message::new(0, self.epoch, wanted, |out, format| write(out, format, wording));
        listener.keep(&Arc::new(message));
    }

    fn message(
        &mut self,
        counters: &EngineCounters,
        write: impl Fn(&mut Vec<u8>, Format, &Wording) -> Span,
    ) -> Option<Arc<Message>> {
        if self.listeners.is_empty() {
            return None;
        }
        self.number += 1;
        counters.messages.add(1);
        let wanted = |format| self.listeners.iter().any(|listener| listener.format == format);
        Some(Arc::new(Message::new(self.number, self.epoch, wanted, |out, format| write(out, format, &self.wording))))
    }
}

/// The views of one value.
#[derive(Debug, Default)]
pub struct Views(Vec<View>);

impl Views {
    /// The view with these words, made if there is none.
    pub fn worded(&mut self, wording: &Wording) -> &mut View {
        let at = self.0.iter().position(|view| view.wording == *wording).unwrap_or_else(|| {
            self.0.push(View::new(wording.clone()));
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// Removes the listeners of a subscription; returns how many.
    pub fn remove(&mut self, of: &Arc<Subscription>) -> u64 {
        let removed = self.0.iter_mut().map(|view| view.remove(of)).sum();
        self.0.retain(|view| !view.is_empty());
        removed
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut View> {
        self.0.iter_mut()
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.0.iter().map(View::listeners).sum()
    }
}
