//! Requests at a steady pace, whoever makes them.

use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Gives each caller a turn, one interval after the turn before.
#[derive(Debug)]
pub(super) struct Pacer {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pacer {
    pub fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1).div_f64(f64::from(per_second.max(1)));
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// Waits for a turn. In order of asking; a caller who goes away leaves his turn unused.
    pub async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(Instant::now());
            *next = turn + self.interval;
            turn
        };
        sleep_until(turn).await;
    }

    /// Gives no new turn before so long from now.
    pub async fn hold(&self, wait: Duration) {
        let mut next = self.next.lock().await;
        *next = (*next).max(Instant::now() + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn turns_are_an_interval_apart_for_all_together() {
        let pacer = Arc::new(Pacer::new(4));
        let began = Instant::now();
        let callers: Vec<_> = (0..9)
            .map(|_| {
                let pacer = Arc::clone(&pacer);
                tokio::spawn(async move {
                    pacer.turn().await;
                    began.elapsed().as_millis()
                })
            })
            .collect();
        let mut turns = Vec::new();
        for caller in callers {
            turns.push(caller.await.unwrap());
        }
        turns.sort_unstable();
        assert_eq!(turns, [0, 250, 500, 750, 1_000, 1_250, 1_500, 1_750, 2_000]);
        pacer.hold(Duration::from_secs(5)).await;
        pacer.turn().await;
        assert_eq!(began.elapsed().as_millis(), 7_000);
    }
}
