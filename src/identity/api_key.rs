//! API keys: `sb_XXXXXXXX_YYYY…`, kept as salted hashes.
//!
//! The hash is one round of SHA-256. A slow hash protects what people choose, because there is a dictionary of it; the
//! secret part of a key is at least 128 random bits, for which there is none, and a slow hash at the door would be a
//! lever for whoever wants the door blocked.

use super::permissions::Permissions;
use super::principal::{Principal, Proof};
use super::refusal::Refusal;
use aws_lc_rs::{constant_time, digest};
use rand::distr::{Alphanumeric, SampleString};
use std::collections::HashMap;
use std::sync::Arc;

/// Letters of the public part.
const ID: usize = 8;
/// Letters of the secret part of a new key: 190 bits.
const SECRET: usize = 32;
/// Fewest letters of a secret part: 22 of 62 are 130 bits.
const LEAST_SECRET: usize = 22;
/// Letters of a salt: 95 bits.
const SALT: usize = 16;
/// Longest key.
const LONGEST: usize = 256;

/// The public part of a key (`sb_XXXXXXXX`), if the text has the form of one.
pub fn id_of(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix("sb_")?.split_once('_')?;
    let good = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let fits = id.len() == ID && secret.len() >= LEAST_SECRET && key.len() <= LONGEST;
    (fits && good(id) && good(secret)).then(|| &key[..3 + ID])
}

/// Whether a text means to be an API key and not a token.
pub fn is_key(text: &str) -> bool {
    text.starts_with("sb_")
}

/// A new key and its hash.
pub fn generate() -> (String, String) {
    let mut random = rand::rng();
    let mut letters = |count| Alphanumeric.sample_string(&mut random, count);
    let key = format!("sb_{}_{}", letters(ID), letters(SECRET));
    let salt = letters(SALT);
    let hash = hash(&key, &salt);
    (key, hash)
}

/// `sha256:SALT:HEX` of a key.
pub fn hash(key: &str, salt: &str) -> String {
    let hex: String = digest_of(key, salt).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{salt}:{hex}")
}

fn digest_of(key: &str, salt: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(salt.as_bytes());
    context.update(b":");
    context.update(key.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// One key as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKeyEntry {
    /// `sb_XXXXXXXX`.
    pub id: String,
    /// Whose it is: the user of its connections.
    pub client: String,
    /// See [`hash`].
    pub hash: String,
    /// What it may do; `None` for the default set.
    pub permissions: Option<Permissions>,
}

/// What is wrong with an entry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The id.
    #[error("id {0:?}: allowed is sb_ and {ID} letters or digits")]
    Id(String),
    /// The hash.
    #[error("hash of {0}: allowed is what `tickfan hash-key` prints, sha256:SALT:HEX")]
    Hash(String),
    /// The client.
    #[error("client of {0}: allowed is a name of 1 to 256 printable letters")]
    Client(String),
    /// The id stands twice.
    #[error("id {0} stands twice")]
    Twice(String),
}

/// The keys there are, by id.
#[derive(Clone, Default, Debug)]
pub struct ApiKeys(HashMap<String, Stored>);

#[derive(Clone, Debug)]
struct Stored {
    client: Arc<str>,
    salt: String,
    digest: [u8; 32],
    permissions: Option<Permissions>,
}

impl ApiKeys {
    /// Takes over the configured entries.
    ///
    /// # Errors
    /// Names the entry that is wrong.
    pub fn new(entries: impl IntoIterator<Item = ApiKeyEntry>) -> Result<Self, ApiKeyError> {
        let mut keys = HashMap::new();
        for entry in entries {
            let alphanumeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !entry.id.strip_prefix("sb_").is_some_and(|id| id.len() == ID && alphanumeric(id)) {
                return Err(ApiKeyError::Id(entry.id));
            }
            if entry.client.is_empty() || entry.client.len() > 256 || entry.client.chars().any(char::is_control) {
                return Err(ApiKeyError::Client(entry.id));
            }
            let Some((salt, digest)) = stored_hash(&entry.hash) else { return Err(ApiKeyError::Hash(entry.id)) };
            let stored = Stored { client: entry.client.into(), salt, digest, permissions: entry.permissions };
            if keys.insert(entry.id.clone(), stored).is_some() {
                return Err(ApiKeyError::Twice(entry.id));
            }
        }
        Ok(Self(keys))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key it is. An unknown id costs the same as a wrong secret.
    ///
    /// # Errors
    /// [`Refusal::ApiKey`], whatever is wrong.
    pub fn check(&self, key: &str, default: &Permissions) -> Result<Principal, Refusal> {
        let stored = id_of(key).and_then(|id| self.0.get(id));
        let (salt, expected) = stored.map_or(("", [0; 32]), |stored| (stored.salt.as_str(), stored.digest));
        let digest = digest_of(key.get(..LONGEST).unwrap_or(key), salt);
        let same = constant_time::verify_slices_are_equal(&digest, &expected).is_ok();
        let stored = stored.filter(|_| same).ok_or(Refusal::ApiKey)?;
        Ok(Principal {
            user: Arc::clone(&stored.client),
            sub: Arc::clone(&stored.client),
            proof: Proof::ApiKey,
            ..Principal::anonymous(stored.permissions.unwrap_or(*default))
        })
    }
}

fn stored_hash(hash: &str) -> Option<(String, [u8; 32])> {
    let (salt, hex) = hash.strip_prefix("sha256:")?.split_once(':')?;
    let salted = salt.len() >= 8 && salt.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !salted || hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some((salt.to_owned(), digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, hash: &str) -> ApiKeyEntry {
        ApiKeyEntry { id: id.into(), client: "desk".into(), hash: hash.into(), permissions: None }
    }

    #[test]
    fn a_key_opens_and_one_letter_off_does_not() {
        let (key, hash) = generate();
        let id = id_of(&key).unwrap();
        let keys = ApiKeys::new([entry(id, &hash)]).unwrap();
        let principal = keys.check(&key, &Permissions::NONE).unwrap();
        assert_eq!((&*principal.user, principal.proof), ("desk", Proof::ApiKey));
        assert!(!hash.contains(&key[12..]), "the hash does not show the key");
        let last = if key.ends_with('a') { "b" } else { "a" };
        let wrong = format!("{}{last}", &key[..key.len() - 1]);
        for bad in
            [wrong.as_str(), "", "sb_", "sb_AAAAAAAA_", id, &format!("{key}x"), &key.replace("sb_", "SB_"), "sb_é"]
        {
            assert_eq!(keys.check(bad, &Permissions::NONE), Err(Refusal::ApiKey), "{bad}");
        }
        let (other, _) = generate();
        assert_eq!(keys.check(&other, &Permissions::NONE), Err(Refusal::ApiKey));
        assert_eq!(ApiKeys::default().check(&key, &Permissions::NONE), Err(Refusal::ApiKey));
    }

    #[test]
    fn a_wrong_entry_is_named() {
        let (key, hash) = generate();
        let id = id_of(&key).unwrap();
        let wrong = |entries: Vec<ApiKeyEntry>| ApiKeys::new(entries).unwrap_err();
        assert!(matches!(wrong(vec![entry("desk", &hash)]), ApiKeyError::Id(_)));
        assert!(matches!(wrong(vec![entry(id, &hash), entry(id, &hash)]), ApiKeyError::Twice(_)));
        let hex = "0".repeat(64);
        for bad in ["", "sha256:salt", &key, &format!("sha256::{hex}"), &format!("sha256:saltsalt:+{}", &hex[1..])] {
            assert!(matches!(wrong(vec![entry(id, bad)]), ApiKeyError::Hash(_)), "{bad}");
        }
    }
}
