//! The control half: keeps the connections open, as far as Kite allows.

use std::collections::HashSet;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc, watch};

use super::attempts::Attempts;
use super::keys::Keys;
use super::link::Link;
use super::notice::Notice;
use super::status::{KiteState, KiteStatus};
use super::texts::{Echoes, Texts};
use super::{Report, Settings};
use crate::feed::Outage;

/// Notices that may wait for their receiver.
const NOTICES: usize = 256;

/// The half that waits; see [`super`]. Runs as one task on the control runtime.
pub struct KiteConnector {
    pub(super) settings: Settings,
    /// One a socket.
    pub(super) handovers: Vec<Arc<ArrayQueue<Link>>>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) outages: Option<mpsc::Receiver<Outage>>,
    pub(super) notices: Option<mpsc::Sender<Notice>>,
    pub(super) keys: Arc<Keys>,
    pub(super) status: Arc<KiteStatus>,
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
}

impl KiteConnector {
    /// The numbers for the operator.
    pub fn status(&self) -> Arc<KiteStatus> {
        self.status.clone()
    }

    /// The API keys, whose access tokens can be swapped.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.clone()
    }

    /// Where Kite's texts go from now on, each once, whichever of a key's sockets it came on. Without this call they are
    /// only counted, and errors logged.
    ///
    /// A receiver that falls behind by 256 loses the newest, which [`super::KiteSnapshot::texts_dropped`] counts.
    pub fn notices(&mut self) -> mpsc::Receiver<Notice> {
        let (sender, receiver) = mpsc::channel(NOTICES);
        self.notices = Some(sender);
        receiver
    }

    /// Which instruments are no longer served, and which are again. `None` when it was taken before; without this call
    /// nobody is told.
    pub fn outages(&mut self) -> Option<mpsc::Receiver<Outage>> {
        self.outages.take()
    }

    /// Connects, and connects again whenever a connection ends, until `stop` becomes true or its sender is gone, or
    /// until the [`super::KiteFeed`] is dropped.
    ///
    /// An open connection belongs to the feed and stays open after a stop until the feed is dropped.
    pub async fn connect_forever(self, mut stop: watch::Receiver<bool>) {
        let Self { settings, handovers, reports, outages, notices, keys, status, wake } = self;
        // Nobody will ask for it any more: the duty half sees that by the closed channel.
        drop(outages);
        let settings = Arc::new(settings);
        let needed: Vec<Arc<Notify>> = handovers.iter().map(|_| Arc::default()).collect();
        // The first is needed from the start: for Kite's texts, and so that a bad token shows before the first tab does.
        needed.iter().take(1).for_each(|needed| needed.notify_one());
        let attempts = handovers.into_iter().enumerate().zip(&needed).map(|((number, handover), needed)| {
            let socket = status.sockets[number].clone();
            Attempts::new(number, settings.clone(), keys.clone(), handover, socket, wake.clone()).run(needed.clone())
        });
        let attempts = join_all(attempts);
        let texts = Texts {
            notices,
            status: status.clone(),
            keys: keys.clone(),
            needed: needed.clone(),
            named: HashSet::new(),
            instruments: None,
            echoes: Echoes::default(),
        };
        let reason = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => "stopped",
            _ = attempts => "the feed is gone",
            () = texts.run(reports) => "the feed is gone",
            () = keys.watch(settings.waits.credentials) => "the feed is gone",
        };
        tracing::info!(reason, "upstream connections end");
        for socket in &status.sockets {
            socket.set(KiteState::Stopped, reason.to_owned(), None);
        }
    }
}
