//! crossbeam's `ArrayQueue`, step by step, over loom's atomics.
//!
//! The same loads, stores and orderings as the original, so that a model can neither lean on an order that the queue does
//! not give nor miss one that it gives. Only the values lie elsewhere: in a lock that loom does not see and that is never
//! contended, since loom switches threads only at its own operations, and none happens while it is held.

use super::sync::{AtomicUsize, Ordering, fence, spin_loop};
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub struct ArrayQueue<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    places: Box<[Place<T>]>,
    lap: usize,
}

#[derive(Debug)]
struct Place<T> {
    stamp: AtomicUsize,
    value: Mutex<Option<T>>,
}

impl<T> Place<T> {
    fn swap(&self, value: Option<T>) -> Option<T> {
        std::mem::replace(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner), value)
    }
}

impl<T> ArrayQueue<T> {
    pub fn new(capacity: usize) -> Self {
        let places = (0..capacity).map(|at| Place { stamp: AtomicUsize::new(at), value: Mutex::new(None) }).collect();
        let lap = (capacity + 1).next_power_of_two();
        Self { head: AtomicUsize::new(0), tail: AtomicUsize::new(0), places, lap }
    }

    /// The position after one, in this lap or the next.
    fn next(&self, position: usize) -> usize {
        let index = position & (self.lap - 1);
        if index + 1 < self.places.len() { position + 1 } else { (position & !(self.lap - 1)) + self.lap }
    }

    pub fn push(&self, value: T) -> Result<(), T> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            let place = &self.places[tail & (self.lap - 1)];
            let stamp = place.stamp.load(Ordering::Acquire);
            if tail == stamp {
                let claimed = self.tail.compare_exchange(tail, self.next(tail), Ordering::SeqCst, Ordering::Relaxed);
                match claimed {
                    Ok(_) => {
                        place.swap(Some(value));
                        place.stamp.store(tail + 1, Ordering::Release);
                        return Ok(());
                    }
                    Err(other) => tail = other,
                }
            } else {
                if stamp + self.lap == tail + 1 {
                    fence(Ordering::SeqCst);
                    if self.head.load(Ordering::Relaxed) + self.lap == tail {
                        return Err(value);
                    }
                }
                spin_loop();
                tail = self.tail.load(Ordering::Relaxed);
            }
        }
    }

    pub fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let place = &self.places[head & (self.lap - 1)];
            let stamp = place.stamp.load(Ordering::Acquire);
            if head + 1 == stamp {
                let claimed = self.head.compare_exchange(head, self.next(head), Ordering::SeqCst, Ordering::Relaxed);
                match claimed {
                    Ok(_) => {
                        let value = place.swap(None);
                        place.stamp.store(head + self.lap, Ordering::Release);
                        return value;
                    }
                    Err(other) => head = other,
                }
            } else {
                if stamp == head {
                    fence(Ordering::SeqCst);
                    if self.tail.load(Ordering::Relaxed) == head {
                        return None;
                    }
                }
                spin_loop();
                head = self.head.load(Ordering::Relaxed);
            }
        }
    }

    pub fn len(&self) -> usize {
        // The original's two ends, taken one behind the other; models call it only when nothing moves.
        let (head, tail) = (self.head.load(Ordering::SeqCst), self.tail.load(Ordering::SeqCst));
        let (from, to) = (head & (self.lap - 1), tail & (self.lap - 1));
        if from < to {
            to - from
        } else if from > to || tail != head {
            self.places.len() - from + to
        } else {
            0
        }
    }

    pub fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::SeqCst);
        self.tail.load(Ordering::SeqCst) == head
    }
}
