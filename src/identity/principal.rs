//! Who a client is.

use super::permissions::Permissions;
use crate::clock::Clock;
use std::sync::Arc;

/// How a client proved who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// Not at all.
    Anonymous,
    /// By a signed token.
    Jwt,
    /// By an API key.
    ApiKey,
}

impl Proof {
    /// All of them, in the order of [`Proof::index`].
    pub const ALL: [Self; 3] = [Self::Anonymous, Self::Jwt, Self::ApiKey];

    /// The name for operators.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Jwt => "jwt",
            Self::ApiKey => "api_key",
        }
    }

    /// Its place in a list of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// See the module. Holds no secret; may be shown to operators.
#[derive(Clone, PartialEq, Debug)]
pub struct Principal {
    /// The user: `email` of the token, else its `sub`; the client id of an API key; a fresh UUID for nobody.
    pub user: Arc<str>,
    /// The subject a refreshed token must share.
    pub sub: Arc<str>,
    /// The user service's session; `unknown` where it names none.
    pub session_id: String,
    /// Display name; may be empty.
    pub name: String,
    /// Roles, for others to interpret.
    pub roles: Vec<String>,
    /// What it may do.
    pub permissions: Permissions,
    /// The token's id, by which it can be revoked and counted.
    pub jti: Option<Arc<str>>,
    /// When the token was issued, Unix seconds.
    pub issued_at: Option<u64>,
    /// When it ends, Unix seconds; `None` for what does not.
    pub expires_at: Option<u64>,
    /// How it was proved.
    pub proof: Proof,
}

impl Principal {
    /// Somebody new and unknown.
    pub fn anonymous(permissions: Permissions) -> Self {
        let user: Arc<str> = uuid::Uuid::new_v4().to_string().into();
        Self {
            sub: Arc::clone(&user),
            user,
            session_id: "unknown".into(),
            name: String::new(),
            roles: Vec::new(),
            permissions,
            jti: None,
            issued_at: None,
            expires_at: None,
            proof: Proof::Anonymous,
        }
    }

    /// The monotonic time at which it ends, from the wall clock now: a wall clock that is set later moves nothing.
    pub fn deadline_ns(&self, clock: &Clock) -> Option<u64> {
        let now_ns = clock.now_ns();
        let ends_ns = self.expires_at?.saturating_add(super::claims::LEEWAY_S).saturating_mul(1_000_000_000);
        Some(now_ns.saturating_add(ends_ns.saturating_sub(clock.unix_ns(now_ns))))
    }
}
