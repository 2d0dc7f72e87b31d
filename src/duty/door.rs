//! The door of the thread that has the feed: demand comes in, and it is woken.

use crate::market::Demand;
use crate::room;
use crate::session::door::Door;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// Most demand messages that wait; the sender then waits too.
const DEMANDS: usize = 64;

/// How the control side reaches the feed's thread.
#[derive(Debug)]
pub struct FeedDoor {
    demand: ArrayQueue<Vec<Demand>>,
    bell: Bell,
}

/// A poll has one waker: on a thread with both parts the writer's door has it.
#[derive(Debug)]
enum Bell {
    Own(mio::Waker),
    Shared(Arc<Door>),
}

impl FeedDoor {
    /// A door to a thread of the feed's own, which sleeps on `waker`'s poll.
    pub fn own(waker: mio::Waker) -> Self {
        Self { demand: ArrayQueue::new(DEMANDS), bell: Bell::Own(waker) }
    }

    /// A door to a thread that also has the writer behind `door`.
    pub fn shared(door: Arc<Door>) -> Self {
        Self { demand: ArrayQueue::new(DEMANDS), bell: Bell::Shared(door) }
    }

    /// Tells the feed what is wanted, waiting while the queue is full. Control side.
    pub async fn tell(&self, changes: Vec<Demand>) {
        room::offer(&self.demand, changes, || self.wake()).await;
    }

    /// The oldest message that waits. **Thread**: the feed's.
    pub(super) fn take(&self) -> Option<Vec<Demand>> {
        self.demand.pop()
    }

    /// Wakes the thread. Any thread.
    pub fn wake(&self) {
        match &self.bell {
            Bell::Own(waker) => drop(waker.wake()),
            Bell::Shared(door) => door.ring(),
        }
    }
}
