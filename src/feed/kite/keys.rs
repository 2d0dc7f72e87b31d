//! The API keys and the access token each has at the moment.
//!
//! A token lives for a day at most, so it is state of the running program: swapped by whoever writes the file, sends
//! SIGHUP, or calls [`Keys::set_access_token`], while open sockets and all clients stay. Kite looks at a token only when a
//! socket is opened.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::{Credentials, CredentialsError, Source};

/// What a key has.
#[derive(Clone, Debug)]
struct Held {
    /// The credentials, or why there are none.
    credentials: Result<Credentials, CredentialsError>,
    /// What the source said last: a file counts only when it says something else than before, so that it does not undo a
    /// token that was set by hand.
    said: Option<Credentials>,
    /// When the token was written or set, Unix seconds.
    issued_s: i64,
    /// How often a person has asked for another attempt.
    asked: u32,
}

/// One API key. Control side.
struct Key {
    source: Source,
    held: watch::Sender<Held>,
    /// What Kite has answered with 403.
    refused: ArcSwapOption<Credentials>,
}

/// One look at a key. Holds no secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KeySnapshot {
    /// Whether there is a token that Kite has not refused.
    pub token_usable: bool,
    /// Seconds until the token dies, at 06:00 Indian time on the morning after it was issued; negative when that is past.
    /// Open sockets survive it. `None` without a token.
    pub token_expires_in_s: Option<i64>,
}

/// Why a token could not be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SetTokenError {
    /// No such key.
    #[error("api_key: none of the configured keys")]
    UnknownKey,
    /// Not said which of several.
    #[error("api_key: missing; there are several keys")]
    WhichKey,
    /// Nothing, or not printable.
    #[error("access_token: must be printable characters without spaces, at least one")]
    BadToken,
}

/// All API keys, in the order of the settings. Control side.
pub struct Keys {
    keys: Vec<Key>,
    reread: Notify,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl Keys {
    /// Keys that have not been read yet.
    pub(super) fn new(sources: Vec<Source>) -> Self {
        let key = |source: Source| {
            let credentials = source.fixed().cloned().ok_or(CredentialsError::Interrupted);
            let held = Held { said: credentials.clone().ok(), credentials, issued_s: unix_s(), asked: 0 };
            Key { source, held: watch::Sender::new(held), refused: ArcSwapOption::empty() }
        };
        Self { keys: sources.into_iter().map(key).collect(), reread: Notify::new() }
    }

    /// Reads all files again at once, as SIGHUP asks for, and tries also tokens that Kite has refused. Any thread; returns
    /// before it is done.
    pub fn reread(&self) {
        self.reread.notify_one();
    }

    /// Takes another access token for the key, which may be left out when there is only one. Open sockets stay; one that
    /// was refused is opened at once. Lasts until the key's file says something else, or the program ends.
    ///
    /// # Errors
    /// When there is no such key, or the text cannot be a token.
    pub fn set_access_token(&self, api_key: Option<&str>, access_token: &str) -> Result<(), SetTokenError> {
        if access_token.is_empty() || !access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SetTokenError::BadToken);
        }
        let api_key_of = |key: &Key| key.held.borrow().credentials.as_ref().ok().map(|held| held.api_key.clone());
        let key = match (api_key, &*self.keys) {
            (None, [only]) => only,
            (None, _) => return Err(SetTokenError::WhichKey),
            (Some(name), keys) => keys
                .iter()
                .find(|key| api_key_of(key).is_some_and(|held| held.reveal() == name))
                .ok_or(SetTokenError::UnknownKey)?,
        };
        let Some(api_key) = api_key_of(key) else { return Err(SetTokenError::UnknownKey) };
        key.held.send_modify(|held| {
            held.credentials = Ok(Credentials::new(api_key.reveal(), access_token));
            held.issued_s = unix_s();
        });
        tracing::info!("another access token was set");
        Ok(())
    }

    /// What operators see.
    pub fn snapshot(&self) -> Vec<KeySnapshot> {
        let now_s = unix_s();
        let of = |key: &Key| {
            let held = key.held.borrow();
            let credentials = held.credentials.as_ref().ok();
            KeySnapshot {
                token_usable: credentials.is_some_and(|credentials| !key.refuses(credentials)),
                token_expires_in_s: credentials.map(|_| expiry_s(held.issued_s) - now_s),
            }
        };
        self.keys.iter().map(of).collect()
    }

    /// The credentials of this moment: a file is read anew, off the runtime's threads, since its disk may take its time.
    pub(super) async fn credentials(&self, key: usize) -> Result<Credentials, CredentialsError> {
        self.refresh(key).await;
        self.keys[key].held.borrow().credentials.clone()
    }

    async fn refresh(&self, key: usize) {
        let key = &self.keys[key];
        let Source::File(path) = &key.source else { return };
        let (source, path) = (key.source.clone(), path.clone());
        let blocking = tokio::task::spawn_blocking(move || {
            let written =
                std::fs::metadata(path).and_then(|file| file.modified()).unwrap_or_else(|_| SystemTime::now());
            (source.read(), written)
        });
        let Ok((read, written)) = blocking.await else { return };
        key.held.send_if_modified(|held| match read {
            Ok(credentials) if held.said.as_ref() == Some(&credentials) => false,
            Ok(credentials) => {
                held.said = Some(credentials.clone());
                held.credentials = Ok(credentials);
                held.issued_s = written.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
                let expires_in_s = expiry_s(held.issued_s) - unix_s();
                tracing::info!(expires_in_s, "credentials read");
                true
            }
            // One that is being written, or was moved away, takes nothing back.
            Err(error) if held.credentials.is_err() => {
                held.credentials = Err(error);
                false
            }
            Err(_) => false,
        });
    }

    /// Looks at the files every `period`, and when told to, for ever.
    pub(super) async fn watch(&self, period: Duration) {
        loop {
            if timeout(period, self.reread.notified()).await.is_ok() {
                tracing::info!("credentials are read again");
                for key in &self.keys {
                    key.refused.store(None);
                    key.held.send_modify(|held| held.asked = held.asked.wrapping_add(1));
                }
            }
            for key in 0..self.keys.len() {
                self.refresh(key).await;
            }
        }
    }

    /// Remembers that Kite refuses these credentials, so that no other socket tries them.
    pub(super) fn refuse(&self, key: usize, credentials: &Credentials) {
        self.keys[key].refused.store(Some(Arc::new(credentials.clone())));
    }

    /// Whether Kite has refused these credentials.
    pub(super) fn refuses(&self, key: usize, credentials: &Credentials) -> bool {
        self.keys[key].refuses(credentials)
    }

    /// Waits until the key has other credentials than these, or a person asks for another attempt.
    pub(super) async fn changed_from(&self, key: usize, credentials: &Credentials) {
        let asked = self.keys[key].held.borrow().asked;
        let other =
            |held: &Held| held.asked != asked || held.credentials.as_ref().is_ok_and(|held| held != credentials);
        // The sender lives in `self`, so it is never gone.
        let _ = self.keys[key].held.subscribe().wait_for(other).await;
    }

    /// What an operator has to do when the token is refused.
    pub(super) fn advice(&self, key: usize) -> String {
        self.keys[key].source.advice()
    }

    /// How long the token still lives, in words.
    pub(super) fn expiry(&self, key: usize) -> String {
        let left_s = expiry_s(self.keys[key].held.borrow().issued_s) - unix_s();
        let (hours, minutes) = (left_s.abs() / 3_600, left_s.abs() / 60 % 60);
        if left_s < 0 {
            format!("it died {hours} h {minutes} min ago")
        } else {
            format!("its time ends in {hours} h {minutes} min")
        }
    }

    /// `text` without any of the secrets.
    pub(super) fn redact(&self, text: &str) -> String {
        self.keys.iter().fold(text.to_owned(), |text, key| match &key.held.borrow().credentials {
            Ok(credentials) => credentials.redact(&text),
            Err(_) => text,
        })
    }
}

impl Key {
    fn refuses(&self, credentials: &Credentials) -> bool {
        self.refused.load().as_deref() == Some(credentials)
    }
}

fn unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

/// When a token dies that was issued then: the next 06:00 Indian time, Unix seconds.
fn expiry_s(issued_s: i64) -> i64 {
    /// 06:00 in India is 00:30 UTC.
    const SIX_IST: i64 = 30 * 60;
    const DAY: i64 = 86_400;
    (issued_s - SIX_IST).div_euclid(DAY) * DAY + DAY + SIX_IST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_dies_at_six_in_the_morning() {
        // 22 November 2026, 06:00 IST.
        let six = 1_795_307_400;
        assert_eq!(expiry_s(six - 1), six);
        assert_eq!(expiry_s(six), six + 86_400);
        assert_eq!(expiry_s(six + 3 * 3_600), six + 86_400);
    }

    #[tokio::test]
    async fn a_token_that_was_set_stays_until_the_file_says_something_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "api_key=k\naccess_token=one\n").unwrap();
        let keys = Keys::new(vec![Source::File(path.clone())]);
        assert_eq!(keys.credentials(0).await, Ok(Credentials::new("k", "one")));
        assert_eq!(keys.set_access_token(Some("other"), "two"), Err(SetTokenError::UnknownKey));
        assert_eq!(keys.set_access_token(None, "two words"), Err(SetTokenError::BadToken));
        keys.set_access_token(Some("k"), "two").unwrap();
        assert_eq!(keys.credentials(0).await, Ok(Credentials::new("k", "two")));
        std::fs::write(&path, "api_key=k\naccess_tok").unwrap();
        assert_eq!(
            keys.credentials(0).await,
            Ok(Credentials::new("k", "two")),
            "a half-written file takes nothing back"
        );
        std::fs::write(&path, "api_key=k\naccess_token=three\n").unwrap();
        assert_eq!(keys.credentials(0).await, Ok(Credentials::new("k", "three")));
        keys.refuse(0, &Credentials::new("k", "three"));
        assert!(!keys.snapshot()[0].token_usable);
        assert!(!format!("{keys:?}").contains("three"));
    }
}
