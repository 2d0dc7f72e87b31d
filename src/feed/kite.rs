//! Stop 1 of a live tick: the pool of connections to Kite's ticker.
//!
//! Two halves on two threads. [`KiteFeed`] lives on the data plane: it owns the open sockets, never blocks, reads,
//! subscribes, and gives a socket up when it dies. [`KiteConnector`] lives on the control plane: it does all that
//! waits (name look-up, TLS, handshake, back-off, a refused token) and hands each finished connection over. Between
//! them are a queue of one connection a socket, a bounded channel of reports, and [`KiteStatus`].
//!
//! ```text
//!   KiteConnector -- open connection, wake() -->  KiteFeed
//!   KiteConnector <-- why it ended; texts ------  KiteFeed
//!   freshness     <-- what is (not) served -----  KiteFeed
//! ```
//!
//! An API key has up to three sockets of 3,000 instruments each. Which instrument is on which is in `packing`; what keeps
//! strangers and old values out is `gate`.

mod attempts;
mod backoff;
mod connector;
mod credentials;
mod dial;
mod duty;
mod gate;
mod inlet;
mod keys;
mod line;
mod link;
mod mark;
mod notice;
mod packing;
mod request;
mod settings;
mod status;
mod texts;

pub use connector::KiteConnector;
pub use credentials::{Credentials, CredentialsError, Source};
pub use duty::KiteFeed;
pub use keys::{KeySnapshot, Keys, SetTokenError};
pub use link::Down;
pub use notice::Notice;
pub use settings::{Settings, Waits};
pub use status::{KiteSnapshot, KiteState, KiteStatus, SocketSnapshot};

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tokio::sync::mpsc;

use crate::market::InstrumentToken;
use line::Line;
use status::SocketStatus;

/// Texts and refusals that may wait for the control half. Kite sends a few texts a minute; what does not fit is
/// counted in [`KiteSnapshot::texts_dropped`].
const REPORTS: usize = 1024;
/// Outages that may wait; the duty half tells the next one later.
const OUTAGES: usize = 64;

/// What the duty half tells the control half, apart from the end of a connection.
enum Report {
    /// A socket is needed from now on.
    Open {
        /// Its number.
        line: usize,
    },
    /// A text message of Kite's, as it came.
    Text {
        /// The number of the socket.
        line: usize,
        /// The text.
        text: String,
    },
    /// Instruments that found no room on any socket.
    Refused(Vec<InstrumentToken>),
}

/// Makes the two halves of the pool.
///
/// `clock` is the program's monotonic clock in nanoseconds, the one [`KiteFeed`] is polled with. `wake` is called on
/// the control side after a connection was handed over, and must make the duty cycle poll its feed soon.
pub fn feed(
    settings: Settings,
    clock: impl Fn() -> u64 + Send + Sync + 'static,
    wake: impl Fn() + Send + Sync + 'static,
) -> (KiteFeed, KiteConnector) {
    let clock: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(clock);
    let keys = Arc::new(Keys::new(settings.credentials.clone()));
    let sockets = (0..settings.credentials.len()).flat_map(|key| (0..settings.sockets).map(move |_| key));
    let sockets: Vec<_> = sockets.map(|key| Arc::new(SocketStatus::new(key, clock.clone()))).collect();
    let handovers: Vec<_> = sockets.iter().map(|_| Arc::new(ArrayQueue::new(1))).collect();
    let lines = handovers.iter().cloned().zip(sockets.iter().cloned()).enumerate();
    let mut lines: Vec<_> = lines.map(|(number, (handover, status))| Line::new(number, handover, status)).collect();
    // The control half opens the first unasked.
    lines.iter_mut().take(1).for_each(|line| line.asked = true);
    let status = Arc::new(KiteStatus::new(sockets, keys.clone(), settings.capacity()));
    let (reports, incoming) = mpsc::channel(REPORTS);
    let (outages, told) = mpsc::channel(OUTAGES);
    let feed = KiteFeed::new(&settings, lines, reports, outages, status.clone());
    let connector = KiteConnector {
        settings,
        handovers,
        reports: incoming,
        outages: Some(told),
        notices: None,
        keys,
        status,
        wake: Arc::new(wake),
    };
    (feed, connector)
}
