//! Which forming bars are to be published, and when: each at most once in a while.

use crate::market::Timeframe;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A timeframe of an instrument: the instrument's place and the timeframe.
pub type Place = (u32, Timeframe);

/// See the module. A place is put in when its bar has changed, and is not put in again until it was taken out.
#[derive(Debug, Default)]
pub struct FormingQueue(BinaryHeap<Reverse<(u64, Place)>>);

impl FormingQueue {
    /// Puts in a place, to be published not before `due_ns` (monotonic).
    pub fn push(&mut self, due_ns: u64, place: Place) {
        self.0.push(Reverse((due_ns, place)));
    }

    /// A place that is due at `now_ns`.
    pub fn pop(&mut self, now_ns: u64) -> Option<Place> {
        let Reverse((due_ns, place)) = self.0.peek().copied()?;
        (due_ns <= now_ns).then(|| {
            self.0.pop();
            place
        })
    }

    /// When the next one is due.
    pub fn due_ns(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((due_ns, _))| *due_ns)
    }
}
