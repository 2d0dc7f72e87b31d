//! The slot of a derived value: candles of one instrument and timeframe, or what an indicator says of them, in one
//! wording.
//!
//! What slots and rings are to ticks, a [`Series`] and its [`Interest`]s are to candles and indicators: the value is
//! kept once, encoded once, and reaches exactly the connections that asked. One thread publishes, the candle engine;
//! it alone knows the list of listeners, so publishing needs no shared list at all.

use super::mail::Mail;
use super::pending::Pending;
use super::slot::Inbox;
use crate::wire::Format;
use crate::wire::frame::Span;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One message of a series, in the formats that somebody wants. Immutable once it is published.
#[derive(Debug, Default)]
pub struct Message {
    /// Counts the messages of its series from 1.
    pub number: u64,
    /// How many bars of its series were closed, up to and with this message.
    pub epoch: u64,
    bytes: Vec<u8>,
    spans: [Span; Format::WRITTEN.len()],
}

impl Message {
    /// A message whose frames `write` appends, one for each format that `wanted` has.
    pub fn new(
        number: u64,
        epoch: u64,
        wanted: impl Fn(Format) -> bool,
        write: impl Fn(&mut Vec<u8>, Format) -> Span,
    ) -> Self {
        let mut message = Self { number, epoch, ..Self::default() };
        for format in Format::WRITTEN.into_iter().filter(|format| wanted(*format)) {
            message.spans[format as usize] = write(&mut message.bytes, format);
        }
        message
    }

    /// The frame in `format` and the part of it that is its body; `None` when it was not wanted.
    pub fn frame(&self, format: Format) -> Option<(&[u8], &[u8])> {
        let span = self.spans.get(format as usize)?;
        (!span.is_empty()).then(|| (&self.bytes[span.frame()], &self.bytes[span.body()]))
    }
}

/// The newest message of a series. Stored by the engine, read by writers.
#[derive(Debug, Default)]
pub struct Series(ArcSwapOption<Message>);

impl Series {
    /// The newest message.
    pub fn newest(&self) -> Option<Arc<Message>> {
        self.0.load_full()
    }

    /// Replaces it. **Thread**: the engine's.
    pub fn store(&self, message: &Arc<Message>) {
        self.0.store(Some(Arc::clone(message)));
    }
}

/// One subscription of a connection, to one series or to many.
#[derive(Debug, Default)]
pub struct Subscription {
    ended: AtomicBool,
}

impl Subscription {
    /// Ends it: its mail is passed over from now on. Called before the reply that says so is handed to the writer, so
    /// none follows the reply. Control side.
    pub fn end(&self) {
        // Release, although the queue that carries the reply orders it as well.
        self.ended.store(true, Ordering::Release);
    }

    /// Whether it has ended. Any thread.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// One connection's interest in one series, as the engine and the connection's writer share it.
#[derive(Debug)]
pub struct Interest {
    /// To which of the connection's subscriptions it belongs.
    pub of: Arc<Subscription>,
    /// Where the newest value is.
    pub series: Arc<Series>,
    /// News of it stands in the mailbox.
    news: Pending,
    /// Number of the last message sent. Written by the writer alone.
    sent: AtomicU64,
}

impl Interest {
    /// An interest to which nothing was sent yet.
    pub fn new(of: Arc<Subscription>, series: Arc<Series>) -> Self {
        Self { of, series, news: Pending::new(), sent: AtomicU64::new(0) }
    }

    /// Answers news posted in `epoch`: the newest message, unless it is void or was sent. **Thread**: the writer.
    pub fn answer(&self, epoch: u64) -> Option<Arc<Message>> {
        // Before the value is read: whoever stores a newer one afterwards posts news again.
        self.news.look();
        let message = self.series.newest()?;
        let due = message.epoch == epoch && message.number > self.sent.load(Ordering::Relaxed);
        due.then(|| {
            self.sent.store(message.number, Ordering::Relaxed);
            message
        })
    }
}

/// One connection in the engine's list of a series. **Thread**: the engine's.
#[derive(Debug)]
pub struct Listener {
    /// What its writer shares.
    pub interest: Arc<Interest>,
    /// Where its mail goes.
    pub inbox: Arc<Inbox>,
    /// How it wants its messages.
    pub format: Format,
}

impl Listener {
    /// Posts a message that must arrive; false when the mailbox has overrun.
    pub fn keep(&self, message: &Arc<Message>) -> bool {
        // News that stands before this message is void by its epoch: what comes later must be posted anew.
        self.interest.news.look();
        let kept = self.inbox.mail.keep(Some(Arc::clone(&self.interest.of)), Arc::clone(message));
        self.inbox.announce();
        kept
    }

    /// Posts that the series has a newer value, which was stored before.
    pub fn news(&self, epoch: u64) {
        if self.interest.news.post() {
            self.inbox.mail.news(&self.interest, epoch);
            self.inbox.announce();
        }
    }
}

impl Mail {
    /// The message to send, if there is still one. **Thread**: the writer.
    pub fn open(self) -> Option<Arc<Message>> {
        match self {
            Self::Message { of: Some(subscription), .. } if subscription.has_ended() => None,
            Self::Message { message, .. } => Some(message),
            Self::News { interest, .. } if interest.of.has_ended() => None,
            Self::News { interest, epoch } => interest.answer(epoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::port::Port;
    use crate::fanout::ring::Ring;

    fn message(number: u64, epoch: u64) -> Arc<Message> {
        Arc::new(Message { number, epoch, ..Message::default() })
    }

    fn listener() -> Listener {
        let port = Arc::new(Port::new(1));
        let inbox = Arc::new(Inbox::new(Ring::new(1), 0, port));
        Listener { interest: Arc::new(Interest::new(Arc::default(), Arc::default())), inbox, format: Format::Json }
    }

    fn read(listener: &Listener) -> Vec<u64> {
        let mail = std::iter::from_fn(|| listener.inbox.mail.take());
        mail.filter_map(Mail::open).map(|message| message.number).collect()
    }

    #[test]
    fn of_forming_values_a_slow_reader_gets_the_newest_one() {
        let listener = listener();
        for number in 1..=5 {
            listener.interest.series.store(&message(number, 0));
            listener.news(0);
        }
        assert_eq!(listener.inbox.mail.depth(), 1);
        assert_eq!(read(&listener), [5]);
        listener.interest.series.store(&message(6, 0));
        listener.news(0);
        assert_eq!(read(&listener), [6]);
    }

    #[test]
    fn nothing_comes_of_a_subscription_that_has_ended() {
        let listener = listener();
        listener.interest.series.store(&message(1, 0));
        listener.news(0);
        listener.keep(&message(2, 1));
        listener.interest.of.end();
        assert_eq!(read(&listener), [0; 0]);
    }

    #[test]
    fn a_closed_bar_arrives_and_nothing_overtakes_it() {
        let listener = listener();
        let publish = |number, epoch, closed| {
            let message = message(number, epoch);
            listener.interest.series.store(&message);
            if closed {
                listener.keep(&message);
            } else {
                listener.news(epoch);
            }
        };
        publish(1, 0, false);
        publish(2, 1, true);
        assert_eq!(read(&listener), [2], "once, not as news as well");
        publish(3, 1, false);
        publish(4, 2, true);
        publish(5, 2, false);
        publish(6, 3, true);
        publish(7, 3, false);
        assert_eq!(read(&listener), [4, 6, 7], "the news of 3 and 5 stands before bars that are closed since");
    }
}
