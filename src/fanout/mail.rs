//! The part of an inbox that is never conflated away, and the news of values that may be.
//!
//! Ticks go through the [ring](super::ring), which throws the old away when it is full. A closed candle, an alert or a
//! notice must not be thrown away: it waits here, in order, as a shared message. Of a forming value only the news waits,
//! at most once for each interest; the writer reads the newest value when the socket can take it.
//!
//! Bounded: messages by [`Mailbox::LIMIT`], beyond which the tab is given up as too slow, news by the number of
//! interests.

use super::series::{Interest, Message, Subscription};
use crossbeam::queue::SegQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What waits for a tab beside its ring.
#[derive(Debug)]
pub enum Mail {
    /// A message that must arrive.
    Message {
        /// To which of the connection's subscriptions it belongs; `None` for the connection itself.
        of: Option<Arc<Subscription>>,
        /// The message.
        message: Arc<Message>,
    },
    /// The series of an interest has a newer value.
    News {
        /// Whose.
        interest: Arc<Interest>,
        /// The series' epoch when the news was posted: it is void once another bar has been closed, since then other
        /// news stands behind the closed bar.
        epoch: u64,
    },
}

/// See the module. Any thread puts in, one writer takes out.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// Boxed, as that of the ring is.
    queue: Box<SegQueue<Mail>>,
    /// What is in the queue, or about to be: counted before it is put in. A writer that finds 0 has not to touch the queue.
    waiting: AtomicUsize,
    /// Messages among that, news not counted.
    messages: AtomicUsize,
    /// A message found no room: the tab can never again be complete.
    overrun: AtomicBool,
}

impl Mailbox {
    /// Most messages that wait for one tab. They are shared, so a tab that is frozen costs a pointer for each; at one
    /// closed candle a minute of each of 100 series it is two thirds of an hour.
    pub const LIMIT: usize = 4_096;

    /// Puts in a message; false, once and for all, when there is no room. Any thread.
    pub fn keep(&self, of: Option<Arc<Subscription>>, message: Arc<Message>) -> bool {
        // Relaxed: a count that is a few messages off under a race bounds as well.
        if self.overrun.load(Ordering::Relaxed) {
            return false;
        }
        if self.messages.fetch_add(1, Ordering::Relaxed) >= Self::LIMIT {
            self.messages.fetch_sub(1, Ordering::Relaxed);
            // Release: the writer that sees it also finds what was put in before.
            self.overrun.store(true, Ordering::Release);
            return false;
        }
        self.put(Mail::Message { of, message });
        true
    }

    /// Puts in news. Any thread.
    pub fn news(&self, interest: &Arc<Interest>, epoch: u64) {
        self.put(Mail::News { interest: Arc::clone(interest), epoch });
    }

    fn put(&self, mail: Mail) {
        // Relaxed: the announcement that follows tells the writer, of both.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.push(mail);
    }

    /// The oldest mail. **Thread**: the writer.
    #[inline]
    pub fn take(&self) -> Option<Mail> {
        if self.depth() == 0 {
            return None;
        }
        let mail = self.queue.pop()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if matches!(mail, Mail::Message { .. }) {
            self.messages.fetch_sub(1, Ordering::Relaxed);
        }
        Some(mail)
    }

    /// Whether a message found no room. Any thread.
    pub fn is_overrun(&self) -> bool {
        self.overrun.load(Ordering::Acquire)
    }

    /// Messages and news that wait. Any thread; may change at once.
    #[inline]
    pub fn depth(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_ends_the_tab_and_is_never_lost_in_silence() {
        let mail = Mailbox::default();
        let message = || Arc::new(Message::default());
        let kept = (0..=Mailbox::LIMIT).filter(|_| mail.keep(None, message())).count();
        assert_eq!((kept, mail.is_overrun(), mail.depth()), (Mailbox::LIMIT, true, Mailbox::LIMIT));
        assert!(mail.take().is_some());
        assert!(!mail.keep(None, message()), "a gap in the middle would be worse than an end");
    }
}
