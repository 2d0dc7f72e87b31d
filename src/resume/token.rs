//! The text by which a client names its session.
//!
//! `rs_` + 16 hex digits of the id + 32 hex digits of the secret. The id finds the session; the secret (128 bits from the
//! operating system) opens it. Only the secret's SHA-256 is kept.

use crate::secret::Secret;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{constant_time, rand};
use serde::{Deserialize, Serialize};
use std::fmt;

const PREFIX: &str = "rs_";

/// Which session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The SHA-256 of something that is compared and never shown.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut print = [0; 32];
        print.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(print)
    }

    /// Whether they are the same; takes as long either way.
    pub fn matches(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[fingerprint]")
    }
}

/// The system has no random numbers to give; nothing safe can be made then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandomness;

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// A new id.
///
/// # Errors
/// When there is no randomness.
pub fn new_id() -> Result<SessionId, NoRandomness> {
    random().map(u64::from_be_bytes).map(SessionId)
}

/// A new secret for a session: the token and what is kept of it.
///
/// # Errors
/// When there is no randomness.
pub fn issue(id: SessionId) -> Result<(Secret, Fingerprint), NoRandomness> {
    let secret: [u8; 16] = random()?;
    let text = format!("{PREFIX}{id}{:032x}", u128::from_be_bytes(secret));
    Ok((Secret::new(text), Fingerprint::of(&secret)))
}

/// The id in a token and the fingerprint of its secret; `None` when it is none.
pub fn read(token: &Secret) -> Option<(SessionId, Fingerprint)> {
    let digits = token.reveal().strip_prefix(PREFIX)?;
    if digits.len() != 48 || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let id = u64::from_str_radix(&digits[..16], 16).ok()?;
    let secret = u128::from_str_radix(&digits[16..], 16).ok()?;
    Some((SessionId(id), Fingerprint::of(&secret.to_be_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_issued_and_nothing_else_is() {
        let (token, print) = issue(SessionId(7)).unwrap();
        let (id, read_print) = read(&token).unwrap();
        assert!(id == SessionId(7) && print.matches(&read_print));
        let (other, _) = issue(SessionId(7)).unwrap();
        assert!(!read(&other).unwrap().1.matches(&print), "no two secrets are the same");
        let text = token.reveal();
        for wrong in ["", "rs_", &text[1..], &text[..50], &format!("{text}0"), &text.to_uppercase(), "rs_ü"] {
            assert!(read(&Secret::new(wrong)).is_none(), "{wrong}");
        }
        assert!(!format!("{token:?} {print:?}").contains(&text[3..]));
    }
}
