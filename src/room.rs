//! Room in a bounded queue whose other end is a thread that waits for nobody.

use crossbeam::queue::ArrayQueue;
use std::time::Duration;

/// How often who finds no room looks again. By the clock: the thread that makes room would pay for telling.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Puts in `item`, waiting while the queue is full, and wakes the other end, each time anew. Control side.
pub async fn offer<T>(queue: &ArrayQueue<T>, mut item: T, wake: impl Fn()) {
    while let Err(refused) = queue.push(item) {
        item = refused;
        wake();
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    wake();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[tokio::test]
    async fn who_finds_no_room_wakes_the_other_end_and_waits_for_it() {
        let (queue, taken) = (ArrayQueue::new(1), RefCell::new(Vec::new()));
        queue.push("early").unwrap();
        offer(&queue, "late", || taken.borrow_mut().extend(queue.pop())).await;
        assert_eq!(taken.into_inner(), ["early", "late"]);
    }
}
