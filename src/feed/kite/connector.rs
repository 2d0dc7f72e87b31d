//! The control half: keeps a connection open, as far as Kite allows.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam::queue::ArrayQueue;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::backoff::{Backoff, at_least};
use super::dial::{DialError, dial};
use super::link::{Down, Ended, Link};
use super::notice::Notice;
use super::status::{KiteState, KiteStatus};
use super::{Credentials, CredentialsError, Report, Settings};
use crate::market::InstrumentToken;

/// Notices that may wait for their receiver.
const NOTICES: usize = 256;
/// Most instruments one log line names.
const NAMED: usize = 20;

/// The half that waits; see [`super`]. Runs as one task on the control runtime.
pub struct KiteConnector {
    settings: Settings,
    handover: Arc<ArrayQueue<Link>>,
    reports: mpsc::Receiver<Report>,
    notices: Option<mpsc::Sender<Notice>>,
    status: Arc<KiteStatus>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl KiteConnector {
    pub(super) fn new(
        settings: Settings,
        handover: Arc<ArrayQueue<Link>>,
        reports: mpsc::Receiver<Report>,
        status: Arc<KiteStatus>,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self { settings, handover, reports, notices: None, status, wake }
    }

    /// The numbers for the operator.
    pub fn status(&self) -> Arc<KiteStatus> {
        self.status.clone()
    }

    /// Where Kite's texts go from now on. Without this call they are only counted, and errors logged.
    ///
    /// A receiver that falls behind by 256 loses the newest, which [`super::KiteSnapshot::texts_dropped`] counts.
    pub fn notices(&mut self) -> mpsc::Receiver<Notice> {
        let (sender, receiver) = mpsc::channel(NOTICES);
        self.notices = Some(sender);
        receiver
    }

    /// Connects, and connects again whenever the connection ends, until `stop` becomes true or its sender is gone, or
    /// until the [`super::KiteFeed`] is dropped.
    ///
    /// An open connection belongs to the feed and stays open after a stop until the feed is dropped.
    pub async fn connect_forever(self, mut stop: watch::Receiver<bool>) {
        let Self { settings, handover, reports, notices, status, wake } = self;
        let in_use = Arc::new(ArcSwapOption::empty());
        let texts =
            Texts { notices, status: status.clone(), in_use: in_use.clone(), named: HashSet::new(), instruments: None };
        let attempts = Attempts {
            backoff: Backoff::new(settings.waits.backoff_first, settings.waits.backoff_most),
            settings,
            handover,
            status: status.clone(),
            in_use,
            wake,
            suspicions: 0,
        };
        let reason = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => "stopped",
            () = attempts.run() => "the feed is gone",
            () = texts.run(reports) => "the feed is gone",
        };
        tracing::info!(reason, "upstream connection ends");
        status.set(KiteState::Stopped, reason.to_owned(), None);
    }
}

/// The endless series of attempts.
struct Attempts {
    settings: Settings,
    handover: Arc<ArrayQueue<Link>>,
    status: Arc<KiteStatus>,
    /// The credentials of the last attempt.
    in_use: Arc<ArcSwapOption<Credentials>>,
    wake: Box<dyn Fn() + Send + Sync>,
    backoff: Backoff,
    /// Connections in a row that were closed early and without a tick.
    suspicions: u32,
}

impl Attempts {
    /// Returns when the duty half is gone.
    async fn run(mut self) {
        loop {
            let credentials = match self.read_credentials().await {
                Ok(credentials) => credentials,
                Err(error) => {
                    self.wait(KiteState::BackingOff, format!("credentials: {error}"), self.settings.waits.credentials)
                        .await;
                    continue;
                }
            };
            self.in_use.store(Some(Arc::new(credentials.clone())));
            self.status.set(KiteState::Connecting, "connecting".to_owned(), None);
            match dial(&self.settings.root, &credentials, &self.settings.waits).await {
                Err(error) => self.failed(error, &credentials).await,
                Ok((socket, fd)) => {
                    let opened = Instant::now();
                    let (link, end) = Link::new(socket, fd);
                    self.handover.force_push(link);
                    tracing::info!("upstream connection open");
                    self.status.set_live();
                    (self.wake)();
                    let Ok(ended) = end.await else { return };
                    self.ended(ended, opened.elapsed(), &credentials).await;
                }
            }
        }
    }

    /// Off the runtime's threads: a file may be on a disk that takes its time.
    async fn read_credentials(&self) -> Result<Credentials, CredentialsError> {
        let source = self.settings.credentials.clone();
        let blocking = tokio::task::spawn_blocking(move || source.read());
        blocking.await.unwrap_or(Err(CredentialsError::Interrupted))
    }

    async fn failed(&mut self, error: DialError, credentials: &Credentials) {
        let reason = spoken(credentials, &error.to_string());
        match error {
            DialError::Http { status: 403, .. } => {
                self.refused(format!("token rejected ({reason})"), credentials, None).await;
            }
            DialError::Http { status: 429, .. } => {
                let wait = at_least(self.settings.waits.rate_limited);
                self.wait(KiteState::RateLimited, format!("rate limited ({reason})"), wait).await;
            }
            DialError::Http { status: 400, .. } => {
                let wait = self.backoff.next();
                self.wait(KiteState::BackingOff, format!("malformed request ({reason})"), wait).await;
            }
            _ => {
                let wait = self.backoff.next();
                self.wait(KiteState::BackingOff, reason, wait).await;
            }
        }
    }

    async fn ended(&mut self, Ended { down, ticked }: Ended, lasted: Duration, credentials: &Credentials) {
        let reason = spoken(credentials, &down.to_string());
        if ticked || lasted >= self.settings.waits.healthy {
            self.backoff.reset();
            self.suspicions = 0;
        } else if suspicious(&down) {
            self.suspicions += 1;
        } else {
            self.suspicions = 0;
        }
        if self.suspicions >= 2 {
            self.suspicions = 0;
            let reason = format!("token rejected, it seems: closed early twice without a tick ({reason})");
            self.refused(reason, credentials, Some(self.settings.waits.suspicion)).await;
        } else {
            let wait = self.backoff.next();
            self.wait(KiteState::BackingOff, reason, wait).await;
        }
    }

    async fn wait(&self, state: KiteState, reason: String, wait: Duration) {
        tracing::warn!(reason, wait_ms = wait.as_millis() as u64, "no upstream connection");
        self.status.set(state, reason, Some(wait));
        sleep(wait).await;
    }

    /// Waits until the credentials are others than the `refused` ones, or for `at_most`.
    async fn refused(&mut self, reason: String, refused: &Credentials, at_most: Option<Duration>) {
        let advice = self.settings.credentials.advice();
        tracing::error!(reason, advice, "Kite refuses the access token; there are no ticks until it has another one");
        self.status.set(KiteState::TokenRefused, format!("{reason}; {advice}"), at_most);
        let changed = async {
            loop {
                sleep(self.settings.waits.credentials).await;
                if self.read_credentials().await.is_ok_and(|credentials| credentials != *refused) {
                    tracing::info!("new credentials");
                    return;
                }
            }
        };
        match at_most {
            None => changed.await,
            Some(at_most) => {
                let _ = tokio::time::timeout(at_most, changed).await;
            }
        }
        self.backoff.reset();
    }
}

/// Whether an early end may mean a dead token, which some of Kite's servers accept and drop seconds later. A server
/// that says it restarts or is overloaded means that, and silence is the network's.
fn suspicious(down: &Down) -> bool {
    match down {
        Down::Closed { code, .. } => !matches!(code, Some(1001 | 1012 | 1013)),
        Down::Io(kind) => matches!(kind, std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset),
        Down::Watchdog | Down::Protocol(_) => false,
    }
}

/// The other side's words, fit for the log: without our secrets, on one line, and no longer than 300 characters.
fn spoken(secrets: &Credentials, text: &str) -> String {
    secrets.redact(text).chars().filter(|letter| !letter.is_control()).take(300).collect()
}

/// What the duty half reports beside ticks.
struct Texts {
    notices: Option<mpsc::Sender<Notice>>,
    status: Arc<KiteStatus>,
    /// What must not appear in the log.
    in_use: Arc<ArcSwapOption<Credentials>>,
    /// Refused instruments that were named in the log.
    named: HashSet<InstrumentToken>,
    /// Size and entity tag of the last list of instruments.
    instruments: Option<(u64, String)>,
}

impl Texts {
    /// Returns when the duty half is gone.
    async fn run(mut self, mut reports: mpsc::Receiver<Report>) {
        while let Some(report) = reports.recv().await {
            match report {
                Report::Text(text) => self.text(&text),
                Report::Refused(tokens) => self.refused(&tokens),
            }
        }
    }

    fn text(&mut self, text: &str) {
        let notice = Notice::parse(text);
        match &notice {
            Notice::Error(text) => {
                let text = self.in_use.load().as_ref().map_or_else(|| text.clone(), |secrets| spoken(secrets, text));
                tracing::warn!(text, "Kite complains");
                self.status.set_last_error(text);
            }
            Notice::Instruments { count, etag } => {
                // Said at the start of each connection; news only when it is another list.
                let list = Some((*count, etag.clone()));
                if self.instruments == list {
                    return;
                }
                self.instruments = list;
            }
            _ => {}
        }
        let Some(notices) = &self.notices else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = notices.try_send(notice) {
            self.status.texts_dropped.fetch_add(1, Relaxed);
            tracing::warn!("a notice of Kite's is lost: nobody takes them");
        }
    }

    fn refused(&mut self, tokens: &[InstrumentToken]) {
        let news: Vec<u32> = tokens.iter().filter(|token| self.named.insert(**token)).map(|token| token.0).collect();
        if !news.is_empty() {
            let tokens = &news[..news.len().min(NAMED)];
            tracing::warn!(
                count = news.len(),
                ?tokens,
                "over the limit of instruments; they get no ticks until others leave"
            );
        }
    }
}
