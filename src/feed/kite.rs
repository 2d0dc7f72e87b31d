//! Stop 1 of a live tick: the one connection to Kite's ticker.
//!
//! Two halves on two threads. [`KiteFeed`] lives on the data plane: it owns the open socket, never blocks, reads,
//! subscribes, and gives the socket up when it dies. [`KiteConnector`] lives on the control plane: it does all that
//! waits (name look-up, TLS, handshake, back-off, a refused token) and hands each finished connection over. Between
//! them are a queue of one connection, a bounded channel of reports, and [`KiteStatus`].
//!
//! ```text
//!   KiteConnector -- open connection, wake() -->  KiteFeed
//!   KiteConnector <-- why it ended; texts ------  KiteFeed
//! ```

mod backoff;
mod connector;
mod credentials;
mod dial;
mod duty;
mod link;
mod notice;
mod settings;
mod status;
mod wanted;

pub use connector::KiteConnector;
pub use credentials::{Credentials, CredentialsError, Source};
pub use duty::KiteFeed;
pub use link::Down;
pub use notice::Notice;
pub use settings::{Settings, Waits};
pub use status::{KiteSnapshot, KiteState, KiteStatus};

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tokio::sync::mpsc;

use crate::market::InstrumentToken;
use link::Link;

/// Texts and refusals that may wait for the control half. Kite sends a few texts a minute; what does not fit is
/// counted in [`KiteSnapshot::texts_dropped`].
const REPORTS: usize = 1024;

/// What the duty half tells the control half, apart from the end of a connection.
enum Report {
    /// A text message of Kite's, as it came.
    Text(String),
    /// Instruments that found no room within `max_tokens`.
    Refused(Vec<InstrumentToken>),
}

/// Makes the two halves of a Kite connection.
///
/// `clock` is the program's monotonic clock in nanoseconds, the one [`KiteFeed`] is polled with. `wake` is called on
/// the control side after a connection was handed over, and must make the duty cycle poll its feed soon.
pub fn feed(
    settings: Settings,
    clock: impl Fn() -> u64 + Send + Sync + 'static,
    wake: impl Fn() + Send + Sync + 'static,
) -> (KiteFeed, KiteConnector) {
    let status = Arc::new(KiteStatus::new(clock));
    let handover: Arc<ArrayQueue<Link>> = Arc::new(ArrayQueue::new(1));
    let (reports, incoming) = mpsc::channel(REPORTS);
    let feed = KiteFeed::new(&settings, handover.clone(), reports, status.clone());
    let connector = KiteConnector::new(settings, handover, incoming, status, Box::new(wake));
    (feed, connector)
}
