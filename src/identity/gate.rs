//! The one way in: see [`super`].
//!
//! A signature check is 30 to 100 us of arithmetic. It runs on the runtime's blocking threads, at most [`CHECKS`] at a time
//! with at most [`WAITING`] waiting, so that a flood of tokens cannot take the threads that serve connected tabs; and
//! what fails is limited by address before it is checked ([`super::door`]).

use super::api_key::{self, ApiKeys};
use super::archive::{Archive, Kept};
use super::claims;
use super::counters::Counters;
use super::credential;
use super::door::FailureDoor;
use super::issue::{SigningKey, TokenRequest};
use super::issuer::{Issuer, IssuerSettings};
use super::permissions::Permissions;
use super::principal::{Principal, Proof};
use super::rate::Rate;
use super::refusal::Refusal;
use super::revocation::{Full, Revocation};
use super::roster::{Caps, Roster};
use super::site::Site;
use super::ticket::{self, Tickets};
use super::watch::Watch;
use crate::clock::Clock;
use crate::secret::Secret;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Signature checks at a time.
pub const CHECKS: usize = 2;
/// Signature checks that may wait for their turn: some 15 ms of work.
pub const WAITING: usize = 256;
/// How long a client without a token has to send one.
pub const GRACE: Duration = Duration::from_secs(5);
/// Connections that may be open without a token where one is required.
pub const UNPROVED: usize = 1_000;

/// Who must show a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// Nobody; everybody may do everything. Where keys are configured, a token that is shown must hold all the same.
    Off,
    /// Nobody; who shows none is anonymous and may do what the default permissions say.
    Optional,
    /// Everybody.
    Required,
}

/// What a gate is built from.
#[derive(Debug)]
pub struct GateSettings {
    /// Who must show a token.
    pub policy: Policy,
    /// Whose tokens hold.
    pub issuers: Vec<IssuerSettings>,
    /// API keys.
    pub api_keys: ApiKeys,
    /// Whether a token may stand in the query.
    pub query_token: bool,
    /// What those may do whose token does not say.
    pub default: Permissions,
    /// Pages and host names.
    pub site: Site,
    /// Connections of a user and with a token.
    pub caps: Caps,
    /// What signs tokens for development, in the name of the first issuer; `None` where tokens are the user service's.
    pub signing: Option<SigningKey>,
    /// Wrong tokens an address may try.
    pub failures: Rate,
}

impl Default for GateSettings {
    /// Everybody is anonymous and may do everything.
    fn default() -> Self {
        Self {
            policy: Policy::Off,
            issuers: Vec::new(),
            api_keys: ApiKeys::default(),
            query_token: true,
            default: Permissions::ALL,
            site: Site::default(),
            caps: Caps { user: usize::MAX, token: usize::MAX },
            signing: None,
            failures: Rate::per_second(5, 100),
        }
    }
}

/// See the module. Control side, shared by all that serve clients.
#[derive(Debug)]
pub struct Gate {
    policy: Policy,
    issuers: Vec<Arc<Issuer>>,
    api_keys: ApiKeys,
    query_token: bool,
    default: Permissions,
    site: Site,
    roster: Arc<Roster>,
    door: FailureDoor,
    checks: Semaphore,
    waiting: AtomicUsize,
    unproved: Arc<Semaphore>,
    tickets: Tickets,
    signing: Option<SigningKey>,
    /// Where revocations are kept, if anywhere.
    archive: OnceLock<Archive>,
    clock: Clock,
    /// For operators.
    pub counters: Arc<Counters>,
}

impl Gate {
    /// A gate by these settings.
    pub fn new(settings: GateSettings, clock: Clock) -> Self {
        let counters = Arc::new(Counters::default());
        let issuer = |settings| Arc::new(Issuer::new(settings, clock.clone(), Arc::clone(&counters)));
        Self {
            policy: settings.policy,
            issuers: settings.issuers.into_iter().map(issuer).collect(),
            api_keys: settings.api_keys,
            query_token: settings.query_token,
            default: settings.default,
            site: settings.site,
            roster: Arc::new(Roster::new(settings.caps)),
            door: FailureDoor::new(settings.failures),
            checks: Semaphore::new(CHECKS),
            waiting: AtomicUsize::new(0),
            unproved: Arc::new(Semaphore::new(UNPROVED)),
            tickets: Tickets::default(),
            signing: settings.signing,
            archive: OnceLock::new(),
            clock,
            counters,
        }
    }

    /// Whose tokens hold.
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// Whether it can tell a good token from a bad one.
    pub fn is_configured(&self) -> bool {
        !self.issuers.is_empty() || !self.api_keys.is_empty()
    }

    /// What anonymous clients may do.
    fn anonymous(&self) -> Principal {
        Principal::anonymous(if self.policy == Policy::Off { Permissions::ALL } else { self.default })
    }

    /// Whether the server may be called by the name in these headers; for every request.
    ///
    /// # Errors
    /// [`Refusal::Host`], counted.
    pub fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.site.check_host(headers).map_err(|refusal| self.counters.refuse(refusal))
    }

    /// Who asks for a WebSocket: page, token, all that a handshake shows. A bad token is refused in every mode, except
    /// where nothing is configured that could tell. `None` is nobody yet: the first message must tell, within [`GRACE`].
    ///
    /// # Errors
    /// Counted; see [`Refusal::is_before_upgrade`] for how to tell it.
    pub async fn admit(&self, parts: &Parts, peer: IpAddr) -> Result<Option<Principal>, Refusal> {
        let credential = self.credential(parts)?;
        let has_token = credential.is_some();
        self.site.check_origin(&parts.headers, has_token).map_err(|refusal| self.counters.refuse(refusal))?;
        match credential {
            Some(token) if self.is_configured() => self.identify(&token, peer).await.map(Some),
            _ if self.policy == Policy::Required => Ok(None),
            _ => Ok(Some(self.anonymous())),
        }
    }

    /// Who a Kite client is, by the access token in its query: any token where authentication is off, else a token or an
    /// API key of ours.
    ///
    /// # Errors
    /// Counted.
    pub async fn admit_kite(&self, headers: &HeaderMap, token: &Secret, peer: IpAddr) -> Result<Principal, Refusal> {
        self.site.check_origin(headers, true).map_err(|refusal| self.counters.refuse(refusal))?;
        if self.policy == Policy::Off { Ok(self.anonymous()) } else { self.identify(token, peer).await }
    }

    /// Who asks for a session of indicators: a signed token is needed in every mode. `None` is who announced to tell with
    /// the first message, within [`GRACE`].
    ///
    /// # Errors
    /// Counted.
    pub async fn admit_jwt(&self, parts: &Parts, peer: IpAddr, tells: bool) -> Result<Option<Principal>, Refusal> {
        let credential = credential::of(parts, self.query_token).map_err(|refusal| self.counters.refuse(refusal))?;
        let allowed = self.site.check_origin(&parts.headers, credential.is_some());
        allowed.map_err(|refusal| self.counters.refuse(refusal))?;
        if self.issuers.is_empty() {
            return Err(self.counters.refuse(Refusal::Unconfigured));
        }
        match credential {
            None if tells => Ok(None),
            None => Err(self.counters.refuse(Refusal::MissingJwt)),
            // What is good elsewhere names no session here.
            Some(key) if api_key::is_key(key.reveal()) => Err(self.counters.refuse(Refusal::Malformed)),
            Some(token) => match self.identify(&token, peer).await? {
                who if who.proof == Proof::Jwt => Ok(Some(who)),
                _ => Err(self.counters.refuse(Refusal::Malformed)),
            },
        }
    }

    /// Who asks for a client's indicators: an API key, or a ticket for one, is needed in every mode.
    ///
    /// # Errors
    /// Counted.
    pub async fn admit_key(&self, parts: &Parts, peer: IpAddr) -> Result<Principal, Refusal> {
        let credential = credential::of(parts, self.query_token).map_err(|refusal| self.counters.refuse(refusal))?;
        let allowed = self.site.check_origin(&parts.headers, credential.is_some());
        allowed.map_err(|refusal| self.counters.refuse(refusal))?;
        let fits = |shown: &Secret| api_key::is_key(shown.reveal()) || ticket::is_ticket(shown.reveal());
        let who = match credential.filter(fits) {
            Some(shown) => Some(self.identify(&shown, peer).await?),
            None => None,
        };
        // A ticket for a token is no key.
        who.filter(|who| who.proof == Proof::ApiKey).ok_or_else(|| self.counters.refuse(Refusal::ApiKey))
    }

    /// The credential of a request.
    ///
    /// # Errors
    /// Counted.
    pub fn credential(&self, parts: &Parts) -> Result<Option<Secret>, Refusal> {
        // Where nothing is configured a token is no more than an unknown field.
        match credential::of(parts, self.query_token) {
            Err(_) if !self.is_configured() => Ok(None),
            other => other.map_err(|refusal| self.counters.refuse(refusal)),
        }
    }

    /// Whose token or API key it is.
    ///
    /// # Errors
    /// Counted, and noted against the address.
    pub async fn identify(&self, token: &Secret, peer: IpAddr) -> Result<Principal, Refusal> {
        if !self.door.is_open(peer, self.clock.now_ns()) {
            return Err(self.counters.refuse(Refusal::Failures));
        }
        let mut checked = self.check(token).await;
        let now = self.clock.unix_seconds() as u64;
        if checked.as_ref().is_ok_and(|principal| self.roster.is_revoked(principal, now)) {
            checked = Err(Refusal::Revoked);
        }
        match checked {
            Ok(principal) if self.policy == Policy::Off => Ok(Principal { permissions: Permissions::ALL, ..principal }),
            Ok(principal) => Ok(principal),
            Err(refusal) => {
                self.door.failed(peer, refusal, self.clock.now_ns());
                Err(self.counters.refuse(refusal))
            }
        }
    }

    async fn check(&self, token: &Secret) -> Result<Principal, Refusal> {
        if api_key::is_key(token.reveal()) {
            return self.api_keys.check(token.reveal(), &self.default);
        }
        if ticket::is_ticket(token.reveal()) {
            let now_ns = self.clock.now_ns();
            let who = self.tickets.redeem(token.reveal(), now_ns)?;
            let over = who.deadline_ns(&self.clock).is_some_and(|deadline_ns| deadline_ns <= now_ns);
            return if over { Err(Refusal::Expired) } else { Ok(who) };
        }
        // All that costs little comes before the key, and the key before the arithmetic.
        let header = claims::header(token.reveal())?;
        let named = claims::claimed_issuer(token.reveal()).ok_or(Refusal::Claims)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.name() == named).ok_or(Refusal::Issuer)?;
        let key = issuer.key(&header).await?;
        let claims = self.verify(Arc::clone(issuer), key, token.clone()).await?;
        claims::principal(claims, &self.default, self.clock.unix_seconds() as u64, issuer.lifetime_s())
    }

    /// The arithmetic, elsewhere and not too often.
    async fn verify(
        &self,
        issuer: Arc<Issuer>,
        key: Arc<super::key::Key>,
        token: Secret,
    ) -> Result<claims::Claims, Refusal> {
        let _waiting = Waiting::new(&self.waiting).ok_or(Refusal::Busy)?;
        let _permit = self.checks.acquire().await.map_err(|_| Refusal::Busy)?;
        tokio::task::spawn_blocking(move || issuer.verify(token.reveal(), &key)).await.map_err(|_| Refusal::Busy)?
    }

    /// Enters a principal's connection.
    ///
    /// # Errors
    /// When it is revoked or has as many connections as allowed; counted.
    pub fn enter(&self, principal: Principal) -> Result<Watch, Refusal> {
        let proof = principal.proof;
        let watch = Watch::enter(principal, Arc::clone(&self.roster), self.clock.clone(), Arc::clone(&self.counters))
            .map_err(|refusal| self.counters.refuse(refusal))?;
        Counters::count(&self.counters.accepted[proof.index()]);
        Ok(watch)
    }

    /// A place for a connection that has yet to tell who it is and may do nothing else.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when there are [`UNPROVED`] of them, counted.
    pub fn enter_unproved(&self) -> Result<(Watch, OwnedSemaphorePermit), Refusal> {
        let permit = Arc::clone(&self.unproved).try_acquire_owned().map_err(|_| self.counters.refuse(Refusal::Busy))?;
        let nobody = Principal::anonymous(Permissions::NONE);
        let watch = Watch::enter(nobody, Arc::clone(&self.roster), self.clock.clone(), Arc::clone(&self.counters))?;
        Ok((watch, permit))
    }

    /// Lets an anonymous connection tell who it is.
    ///
    /// # Errors
    /// As [`Gate::identify`] and [`Gate::enter`]; the watch is as it was.
    pub async fn authenticate(&self, watch: &mut Watch, token: &Secret, peer: IpAddr) -> Result<(), Refusal> {
        let principal = self.identify(token, peer).await?;
        let proof = principal.proof;
        watch.replace(principal).map_err(|refusal| self.counters.refuse(refusal))?;
        Counters::count(&self.counters.accepted[proof.index()]);
        Ok(())
    }

    /// Replaces a connection's token by a newer one of the same subject. What it may do can only become less: for more,
    /// a new connection is needed.
    ///
    /// # Errors
    /// As [`Gate::authenticate`], and [`Refusal::OtherSubject`]; the watch is as it was.
    pub async fn refresh(&self, watch: &mut Watch, token: &Secret, peer: IpAddr) -> Result<(), Refusal> {
        let mut principal = self.identify(token, peer).await?;
        let held = watch.principal();
        if (&held.sub, &held.user, held.proof) != (&principal.sub, &principal.user, principal.proof) {
            return Err(self.counters.refuse(Refusal::OtherSubject));
        }
        principal.permissions = principal.permissions.narrowed(&held.permissions);
        watch.replace(principal).map_err(|refusal| self.counters.refuse(refusal))?;
        Counters::count(&self.counters.refreshed);
        Ok(())
    }

    /// A ticket for a principal who has shown something else.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when too many wait to be used, counted.
    pub fn issue_ticket(&self, principal: Principal) -> Result<Secret, Refusal> {
        self.tickets.issue(principal, self.clock.now_ns()).map_err(|refusal| self.counters.refuse(refusal))
    }

    /// Whether it makes tokens for development.
    pub fn issues_tokens(&self) -> bool {
        self.signing.is_some() && !self.issuers.is_empty()
    }

    /// Makes a token for development; `None` where it makes none.
    pub fn issue(&self, request: TokenRequest) -> Option<String> {
        let (signing, issuer) = (self.signing.as_ref()?, self.issuers.first()?);
        signing.issue(request, issuer.name(), issuer.audience(), self.clock.unix_seconds() as u64).ok()
    }

    /// Revokes tokens or users, for as long as a token of theirs could still be used, which an API key has no end to; open
    /// connections are told at once. Returns how many that ends.
    ///
    /// # Errors
    /// [`Full`] when as many are in force as are kept.
    pub fn revoke(&self, revocations: &[Revocation]) -> Result<usize, Full> {
        let now = self.clock.unix_seconds() as u64;
        self.roster.revoke(revocations, self.revoked_until(now), now)
    }

    fn revoked_until(&self, now: u64) -> u64 {
        let lifetime = self.issuers.iter().map(|issuer| issuer.lifetime_s()).max().unwrap_or(0);
        if self.api_keys.is_empty() { now + lifetime + 2 * claims::LEEWAY_S } else { u64::MAX }
    }

    /// Has what an archive holds in force again, and keeps there what will be revoked. Once, before the first connection.
    ///
    /// # Errors
    /// [`Full`] when it holds more than is kept.
    pub fn keep_in(&self, mut archive: Archive) -> Result<(), Full> {
        let now = self.clock.unix_seconds() as u64;
        for Kept { revocation, until } in archive.take_found().into_iter().filter(|kept| kept.until > now) {
            self.roster.revoke(&[revocation], until, now)?;
        }
        let _ = self.archive.set(archive);
        Ok(())
    }

    /// Writes down what was revoked, where that is kept, for the next start. Blocks.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write_down(&self, revocations: &[Revocation]) -> io::Result<()> {
        let until = self.revoked_until(self.clock.unix_seconds() as u64);
        self.archive.get().map_or(Ok(()), |archive| archive.append(revocations, until))
    }

    /// Connections by name, and revocations in force.
    pub fn sizes(&self) -> (usize, usize) {
        self.roster.sizes()
    }
}

/// One of those that wait for a check.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        (before < WAITING + CHECKS).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
