//! What was revoked, for as long as a token could still be used.

use super::principal::Principal;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Most entries of each kind: some 20 MB when full.
pub const CAPACITY: usize = 100_000;

/// What is revoked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Revocation {
    /// One token.
    Token {
        /// Its `jti`.
        jti: String,
    },
    /// All tokens of a user that were issued before a time, and those that do not tell when they were.
    User {
        /// The user id or the `sub`.
        user: String,
        /// Unix seconds, exclusive.
        issued_before: u64,
    },
}

/// As many revocations as are kept. To forget one would let its token in again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{CAPACITY} revocations are in force, which is as many as are kept")]
pub struct Full;

/// See the module.
#[derive(Debug, Default)]
pub struct Revocations {
    /// Until when each is kept, Unix seconds.
    tokens: HashMap<String, u64>,
    /// Issued before, and until when it is kept.
    users: HashMap<String, (u64, u64)>,
}

impl Revocations {
    /// Adds one, kept until a Unix time. What is there already is kept for the longer of both.
    ///
    /// # Errors
    /// [`Full`]; nothing was changed then.
    pub fn add(&mut self, revocation: &Revocation, until: u64, now: u64) -> Result<(), Full> {
        match revocation {
            Revocation::Token { jti } => {
                if self.tokens.len() >= CAPACITY && !self.tokens.contains_key(jti) {
                    self.tokens.retain(|_, until| *until > now);
                }
                if self.tokens.len() >= CAPACITY && !self.tokens.contains_key(jti) {
                    return Err(Full);
                }
                let kept = self.tokens.entry(jti.clone()).or_default();
                *kept = until.max(*kept);
            }
            Revocation::User { user, issued_before } => {
                if self.users.len() >= CAPACITY && !self.users.contains_key(user) {
                    self.users.retain(|_, (_, until)| *until > now);
                }
                if self.users.len() >= CAPACITY && !self.users.contains_key(user) {
                    return Err(Full);
                }
                let kept = self.users.entry(user.clone()).or_default();
                *kept = ((*issued_before).max(kept.0), until.max(kept.1));
            }
        }
        Ok(())
    }

    /// Whether a principal is revoked at a Unix time.
    pub fn hold(&self, principal: &Principal, now: u64) -> bool {
        let token = principal.jti.as_deref().and_then(|jti| self.tokens.get(jti)).is_some_and(|until| *until > now);
        let user = |name: &str| {
            let issued = principal.issued_at.unwrap_or(0);
            self.users.get(name).is_some_and(|(before, until)| *until > now && issued < *before)
        };
        token || user(&principal.user) || user(&principal.sub)
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::permissions::Permissions;
    use super::*;

    fn principal(user: &str, jti: Option<&str>, issued_at: Option<u64>) -> Principal {
        Principal {
            user: user.into(),
            sub: format!("sub-{user}").into(),
            jti: jti.map(Into::into),
            issued_at,
            ..Principal::anonymous(Permissions::ALL)
        }
    }

    #[test]
    fn tokens_and_users_are_held_until_their_time() {
        let mut set = Revocations::default();
        set.add(&Revocation::Token { jti: "j1".into() }, 200, 100).unwrap();
        set.add(&Revocation::User { user: "ann".into(), issued_before: 50 }, 200, 100).unwrap();
        assert!(set.hold(&principal("bob", Some("j1"), Some(60)), 199));
        assert!(!set.hold(&principal("bob", Some("j1"), Some(60)), 200));
        assert!(!set.hold(&principal("bob", Some("j2"), Some(60)), 199));
        assert!(set.hold(&principal("ann", None, Some(49)), 199));
        assert!(set.hold(&principal("ann", None, None), 199), "without iat it counts as old");
        assert!(!set.hold(&principal("ann", None, Some(50)), 199));
        set.add(&Revocation::User { user: "sub-zoe".into(), issued_before: 50 }, 200, 100).unwrap();
        assert!(set.hold(&principal("zoe", None, Some(1)), 199));
        // An older word does not weaken a newer one.
        set.add(&Revocation::User { user: "ann".into(), issued_before: 10 }, 150, 100).unwrap();
        assert!(set.hold(&principal("ann", None, Some(49)), 199));
    }

    #[test]
    fn it_is_bounded_and_forgets_only_what_has_ended() {
        let mut set = Revocations::default();
        for at in 0..CAPACITY {
            set.add(&Revocation::Token { jti: at.to_string() }, 200, 100).unwrap();
        }
        assert_eq!(set.add(&Revocation::Token { jti: "one more".into() }, 300, 100), Err(Full));
        set.add(&Revocation::Token { jti: "7".into() }, 300, 100).unwrap();
        set.add(&Revocation::Token { jti: "one more".into() }, 300, 200).unwrap();
        assert_eq!(set.len(), 2);
    }
}
