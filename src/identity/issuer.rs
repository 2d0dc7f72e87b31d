//! One issuer of tokens and the keys it signs with.

use super::claims::{self, Claims};
use super::counters::Counters;
use super::fetch::Fetcher;
use super::key::{Key, KeySet};
use super::refusal::Refusal;
use crate::clock::Clock;
use arc_swap::ArcSwap;
use rand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What is expected of an issuer's tokens, and where its keys are. Keys belong to their issuer: two with the same `kid`
/// never meet.
#[derive(Debug)]
pub struct IssuerSettings {
    /// The claim `iss`, exactly.
    pub issuer: String,
    /// What the claim `aud` must contain.
    pub audience: String,
    /// A shared secret, for HS256.
    pub secret: Option<Key>,
    /// Where its public keys are.
    pub keys: Option<Fetcher>,
    /// Time between two readings of them; each is spread by a tenth.
    pub refresh: Duration,
    /// Shortest time between two readings that tokens ask for or that follow a failure.
    pub cool_down: Duration,
    /// How long keys serve without a successful reading.
    pub stale: Duration,
    /// How long its longest token lives; withdrawn keys are kept as long.
    pub lifetime: Duration,
}

/// See the module. Control side.
#[derive(Debug)]
pub struct Issuer {
    settings: IssuerSettings,
    secret: Option<Arc<Key>>,
    keys: ArcSwap<KeySet>,
    /// One reading at a time; who waits looks again afterwards.
    flight: Semaphore,
    /// When the last reading began, monotonic plus one; 0 before the first.
    tried_ns: AtomicU64,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Issuer {
    /// An issuer whose keys have not been read yet.
    pub fn new(mut settings: IssuerSettings, clock: Clock, counters: Arc<Counters>) -> Self {
        let secret = settings.secret.take().map(Arc::new);
        let (keys, tried_ns) = (ArcSwap::default(), AtomicU64::new(0));
        Self { settings, secret, keys, flight: Semaphore::new(1), tried_ns, clock, counters }
    }

    /// The claim `iss`.
    pub fn name(&self) -> &str {
        &self.settings.issuer
    }

    /// What the claim `aud` must contain.
    pub fn audience(&self) -> &str {
        &self.settings.audience
    }

    /// How long its longest token lives, seconds.
    pub fn lifetime_s(&self) -> u64 {
        self.settings.lifetime.as_secs()
    }

    /// The key of a token with that header. An unknown `kid` has the keys read again, once for all who ask and at most
    /// once in the cool-down: within it an unknown one is answered from what is known.
    ///
    /// # Errors
    /// When there is none, or keys could not be read for too long.
    pub async fn key(&self, header: &jsonwebtoken::Header) -> Result<Arc<Key>, Refusal> {
        if claims::is_shared(header.alg) {
            return self.secret.clone().ok_or(Refusal::Algorithm);
        }
        if self.settings.keys.is_none() {
            return Err(Refusal::Algorithm);
        }
        let kid = header.kid.as_deref().ok_or(Refusal::UnknownKey)?;
        let key = match self.known(kid)? {
            Some(key) => key,
            None => {
                let _flight = self.flight.acquire().await.map_err(|_| Refusal::Busy)?;
                match self.known(kid)? {
                    Some(key) => key,
                    None if self.is_cooling() => return Err(self.unknown()),
                    None => {
                        self.read().await;
                        self.known(kid)?.ok_or_else(|| self.unknown())?
                    }
                }
            }
        };
        if key.algorithm == header.alg { Ok(key) } else { Err(Refusal::Algorithm) }
    }

    /// A key that is known now; an error when the keys are too old to be used.
    fn known(&self, kid: &str) -> Result<Option<Arc<Key>>, Refusal> {
        let (keys, now_ns) = (self.keys.load(), self.clock.now_ns());
        let age_ns = keys.read_ns.map_or(0, |read_ns| now_ns.saturating_sub(read_ns));
        if u128::from(age_ns) > self.settings.stale.as_nanos() {
            // Too old. A reading may mend it, and until then nobody is let in by them.
            return if self.is_cooling() { Err(Refusal::KeysUnavailable) } else { Ok(None) };
        }
        Ok(keys.find(kid, now_ns, self.settings.lifetime.as_nanos() as u64))
    }

    fn unknown(&self) -> Refusal {
        if self.keys.load().read_ns.is_some() { Refusal::UnknownKey } else { Refusal::KeysUnavailable }
    }

    fn is_cooling(&self) -> bool {
        let tried_ns = self.tried_ns.load(Ordering::Relaxed);
        let since = self.clock.now_ns().saturating_sub(tried_ns.saturating_sub(1));
        tried_ns > 0 && u128::from(since) < self.settings.cool_down.as_nanos()
    }

    /// Reads the keys. The caller holds the flight.
    async fn read(&self) {
        let Some(fetcher) = &self.settings.keys else { return };
        self.tried_ns.store(self.clock.now_ns() + 1, Ordering::Relaxed);
        let lifetime_ns = self.settings.lifetime.as_nanos() as u64;
        let outcome = match fetcher.fetch().await {
            Ok(body) => {
                self.keys.load().replaced_by(&body, self.clock.now_ns(), lifetime_ns).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(keys) => {
                Counters::count(&self.counters.key_refreshes);
                if keys.refused > 0 {
                    tracing::warn!(issuer = self.name(), refused = keys.refused, "published keys that are not usable");
                }
                if keys.is_empty() {
                    tracing::warn!(issuer = self.name(), "no usable key is published");
                }
                self.keys.store(Arc::new(keys));
            }
            Err(error) => {
                Counters::count(&self.counters.key_failures);
                tracing::warn!(issuer = self.name(), %error, "keys could not be read; those known stay in use");
            }
        }
    }

    /// Reads the keys now and from time to time, for as long as it is polled.
    pub async fn refresh_forever(&self) {
        if self.settings.keys.is_none() {
            return;
        }
        loop {
            let began_ns = self.clock.now_ns();
            if let Ok(_flight) = self.flight.acquire().await
                && !self.is_cooling()
            {
                self.read().await;
            }
            let fresh = self.keys.load().read_ns.is_some_and(|read_ns| read_ns >= began_ns);
            let wait = if fresh { self.settings.refresh } else { self.settings.cool_down.min(self.settings.refresh) };
            let spread = rand::rng().random_range(0.9..1.1);
            tokio::time::sleep(wait.mul_f64(spread)).await;
        }
    }

    /// Checks a token's signature and claims with a key of this issuer. Some 30 to 100 us of work: not for a runtime
    /// thread.
    ///
    /// # Errors
    /// See [`claims::verify`].
    pub fn verify(&self, token: &str, key: &Key) -> Result<Claims, Refusal> {
        claims::verify(token, key, &self.settings.issuer, &self.settings.audience)
    }

    /// Seconds since the keys were read; `None` before the first time.
    pub fn keys_age_s(&self) -> Option<f64> {
        let read_ns = self.keys.load().read_ns?;
        Some(self.clock.now_ns().saturating_sub(read_ns) as f64 / 1e9)
    }
}
