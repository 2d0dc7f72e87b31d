//! What the subscribers want, on its way to the feed.

use crate::clock::Clock;
use crate::demand::{self, DemandSettings, Ledger};
use crate::duty::FeedDoor;
use crate::fanout::board::Board;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Tells the feed, which `obeys` or sends everything anyway, what the subscribers want, at most `capacity` instruments
/// at a time. See [`crate::demand`].
pub(super) async fn tell_demand(
    board: Arc<Board>,
    door: Arc<FeedDoor>,
    bell: Arc<Notify>,
    settings: DemandSettings,
    obeys: bool,
    capacity: usize,
    clock: Clock,
) {
    let linger_ns = settings.linger.as_nanos() as u64;
    let mut ledger = Ledger::default();
    loop {
        let wait = ledger
            .due_ns(linger_ns)
            .map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(clock.now_ns())).max(Duration::from_millis(1)));
        tokio::select! {
            () = bell.notified() => tokio::time::sleep(settings.debounce).await,
            () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
        }
        let now_ns = clock.now_ns();
        let more = ledger.note(&board.take_demand(), now_ns);
        let mut tell = ledger.settle(now_ns, linger_ns);
        tell.extend(ledger.evict(capacity));
        tell.extend(more);
        if obeys {
            demand::cool(&board, &tell);
        }
        if !tell.is_empty() {
            door.tell(tell).await;
        }
    }
}
