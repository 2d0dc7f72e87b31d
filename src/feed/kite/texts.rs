//! What Kite says in words, and what the duty half has to say.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustc_hash::FxBuildHasher;
use tokio::sync::{Notify, mpsc};

use super::Report;
use super::attempts::one_line;
use super::keys::Keys;
use super::notice::Notice;
use super::status::KiteStatus;
use crate::market::InstrumentToken;

/// Most instruments one log line names.
const NAMED: usize = 20;

/// Takes the reports of the duty half. Control side.
pub(super) struct Texts {
    pub(super) notices: Option<mpsc::Sender<Notice>>,
    pub(super) status: Arc<KiteStatus>,
    /// What must not appear in the log.
    pub(super) keys: Arc<Keys>,
    /// Rung when a socket is needed.
    pub(super) needed: Vec<Arc<Notify>>,
    /// Refused instruments that were named in the log.
    pub(super) named: HashSet<InstrumentToken>,
    /// Size and entity tag of the last list of instruments.
    pub(super) instruments: Option<(u64, String)>,
    pub(super) echoes: Echoes,
}

impl Texts {
    /// Returns when the duty half is gone.
    pub(super) async fn run(mut self, mut reports: mpsc::Receiver<Report>) {
        while let Some(report) = reports.recv().await {
            match report {
                Report::Open { line } => self.needed.iter().skip(line).take(1).for_each(|needed| needed.notify_one()),
                Report::Text { line, text } => self.text(line, &text),
                Report::Refused(tokens) => self.refused(&tokens),
            }
        }
    }

    fn text(&mut self, line: usize, text: &str) {
        let key = self.status.sockets.get(line).map_or(0, |socket| socket.key);
        let notice = Notice::parse(text);
        match &notice {
            Notice::Error(text) => {
                let text = one_line(&self.keys.redact(text));
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
            // Every socket of the key gets it.
            Notice::Order(_) | Notice::Message(_) if self.echoes.is_echo(key, line, text, Instant::now()) => return,
            _ => {}
        }
        let Some(notices) = &self.notices else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = notices.try_send(notice) {
            self.status.sockets.iter().skip(line).take(1).for_each(|socket| {
                socket.texts_dropped.fetch_add(1, Relaxed);
            });
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

/// Recognises what another socket of the same key has said before: Kite sends what concerns the account to every socket.
#[derive(Default)]
pub(super) struct Echoes {
    /// Oldest first.
    heard: VecDeque<Heard>,
}

struct Heard {
    hash: u64,
    key: usize,
    at: Instant,
    /// How many times it was passed on.
    passed: u32,
    /// How many times each socket has said it.
    said: Vec<(usize, u32)>,
}

/// How much later another socket may say the same.
const ECHO_TIME: Duration = Duration::from_secs(10);
/// Most texts remembered; beyond it an echo may be taken for another text.
const ECHOES: usize = 1_024;

impl Echoes {
    /// Whether the text of that socket has been passed on already. Twice the same on one socket is said twice.
    fn is_echo(&mut self, key: usize, line: usize, text: &str, now: Instant) -> bool {
        while self.heard.len() >= ECHOES
            || self.heard.front().is_some_and(|oldest| now.duration_since(oldest.at) > ECHO_TIME)
        {
            self.heard.pop_front();
        }
        let hash = FxBuildHasher.hash_one(text);
        let Some(heard) = self.heard.iter_mut().find(|heard| heard.hash == hash && heard.key == key) else {
            self.heard.push_back(Heard { hash, key, at: now, passed: 1, said: vec![(line, 1)] });
            return false;
        };
        let said = match heard.said.iter_mut().find(|(other, _)| *other == line) {
            Some((_, said)) => {
                *said += 1;
                *said
            }
            None => {
                heard.said.push((line, 1));
                1
            }
        };
        let echo = said <= heard.passed;
        heard.passed = heard.passed.max(said);
        echo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_socket_says_is_heard_once() {
        let mut echoes = Echoes::default();
        let now = Instant::now();
        assert!(!echoes.is_echo(0, 0, "order", now));
        assert!(echoes.is_echo(0, 1, "order", now));
        assert!(!echoes.is_echo(1, 3, "order", now), "another account");
        assert!(!echoes.is_echo(0, 1, "order", now), "a second time, on a socket that was quicker");
        assert!(echoes.is_echo(0, 0, "order", now));
        assert!(!echoes.is_echo(0, 0, "order", now + ECHO_TIME * 2));
    }
}
