//! The keys of an issuer: which of those it publishes are taken, and how long.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// A key and the one algorithm it is for.
#[derive(Debug)]
pub struct Key {
    /// The algorithm; a token's header only has to agree.
    pub algorithm: Algorithm,
    /// The key.
    pub decoding: DecodingKey,
}

impl Key {
    /// A shared secret, for HS256.
    pub fn shared(secret: &[u8]) -> Self {
        Self { algorithm: Algorithm::HS256, decoding: DecodingKey::from_secret(secret) }
    }

    /// A published key; `None` for one that may not verify tokens: symmetric, private, weak, for another use or of
    /// another algorithm than RS256, ES256 and EdDSA.
    fn published(value: &Value) -> Option<(String, Self)> {
        // A published private key is nobody's secret.
        if value.get("d").is_some() {
            return None;
        }
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let kid = jwk.common.key_id.clone().filter(|kid| is_kid(kid))?;
        let to_sign = jwk.common.public_key_use.as_ref().is_none_or(|use_| *use_ == PublicKeyUse::Signature);
        let operations = jwk.common.key_operations.as_ref();
        let to_verify = operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !to_sign || !to_verify {
            return None;
        }
        let (algorithm, known) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            _ => return None,
        };
        if jwk.common.key_algorithm.is_some_and(|named| named != known) {
            return None;
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        is_strong(&decoding, algorithm).then_some((kid, Self { algorithm, decoding }))
    }
}

/// Bits of an RSA modulus that are taken: fewer can be broken, more cost an attacker nothing and us time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

fn is_strong(key: &DecodingKey, algorithm: Algorithm) -> bool {
    match (key.kind(), algorithm) {
        (DecodingKeyKind::RsaModulusExponent { n, e }, Algorithm::RS256) => {
            let zeros = n.iter().take_while(|byte| **byte == 0).count();
            let bits = n.get(zeros).map_or(0, |first| (n.len() - zeros) * 8 - first.leading_zeros() as usize);
            RSA_BITS.contains(&bits) && !e.is_empty() && e.len() <= 4
        }
        // The point's lead byte and two coordinates; whether it lies on the curve is checked with each signature.
        (DecodingKeyKind::SecretOrDer(bytes), Algorithm::ES256) => bytes.len() == 65,
        (DecodingKeyKind::SecretOrDer(bytes), Algorithm::EdDSA) => bytes.len() == 32,
        _ => false,
    }
}

/// Whether a text may name a key: it is only ever looked up in a map, and even so it is short and printable.
pub fn is_kid(kid: &str) -> bool {
    (1..=128).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Most keys taken from one answer.
const MOST_KEYS: usize = 64;

/// The keys an issuer has published, by `kid`. A value that is replaced whole.
#[derive(Clone, Default, Debug)]
pub struct KeySet {
    keys: HashMap<String, Entry>,
    /// When they were read, monotonic; `None` before the first time.
    pub read_ns: Option<u64>,
    /// How many of the last answer were not taken.
    pub refused: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Arc<Key>,
    /// When it was no longer published, monotonic.
    withdrawn_ns: Option<u64>,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

/// The answer is no key set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the answer is not a JSON Web Key Set")]
pub struct NoKeySet;

impl KeySet {
    /// The set after an answer: its keys, and for `lifetime_ns` those that it no longer has, since tokens signed with
    /// them are still about.
    ///
    /// # Errors
    /// When the answer is no key set. One without a usable key is one, and withdraws all.
    pub fn replaced_by(&self, body: &[u8], now_ns: u64, lifetime_ns: u64) -> Result<Self, NoKeySet> {
        let published: Published = serde_json::from_slice(body).map_err(|_| NoKeySet)?;
        let count = published.keys.len();
        let mut keys = HashMap::new();
        for (kid, key) in published.keys.iter().take(MOST_KEYS).filter_map(Key::published) {
            keys.entry(kid).or_insert_with(|| Entry { key: Arc::new(key), withdrawn_ns: None });
        }
        let refused = count - keys.len();
        for (kid, entry) in &self.keys {
            let withdrawn_ns = entry.withdrawn_ns.unwrap_or(now_ns);
            if keys.len() < 2 * MOST_KEYS && !keys.contains_key(kid) && now_ns - withdrawn_ns < lifetime_ns {
                keys.insert(kid.clone(), Entry { key: Arc::clone(&entry.key), withdrawn_ns: Some(withdrawn_ns) });
            }
        }
        Ok(Self { keys, read_ns: Some(now_ns), refused })
    }

    /// The key of that name, unless it was withdrawn too long ago.
    pub fn find(&self, kid: &str, now_ns: u64, lifetime_ns: u64) -> Option<Arc<Key>> {
        let entry = self.keys.get(kid)?;
        let alive = entry.withdrawn_ns.is_none_or(|since| now_ns.saturating_sub(since) < lifetime_ns);
        alive.then(|| Arc::clone(&entry.key))
    }

    /// How many there are, withdrawn ones too.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use jsonwebtoken::EncodingKey;
    use serde_json::json;

    fn ec_key(kid: &str) -> Value {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ec_der(document.as_ref());
        let mut value = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap()).unwrap();
        value["kid"] = kid.into();
        value
    }

    fn with(mut key: Value, field: &str, value: impl Into<Value>) -> Value {
        key[field] = value.into();
        key
    }

    fn read(keys: &[Value]) -> KeySet {
        KeySet::default().replaced_by(json!({"keys": keys}).to_string().as_bytes(), 0, 10).unwrap()
    }

    #[test]
    fn only_strong_public_keys_for_signatures_are_taken() {
        let good = ec_key("good");
        let rsa = |bytes| json!({"kty": "RSA", "kid": "rsa", "n": BASE64.encode(vec![0xff; bytes]), "e": "AQAB"});
        let refused = [
            json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256"}),
            rsa(128),
            rsa(255),
            rsa(1_025),
            with(rsa(256), "alg", "PS256"),
            with(rsa(256), "alg", "RS512"),
            with(rsa(256), "alg", "HS256"),
            with(rsa(256), "alg", "none"),
            with(rsa(256), "e", "AQABAQABAQAB"),
            with(rsa(256), "d", "AAAA"),
            with(good.clone(), "use", "enc"),
            with(good.clone(), "key_ops", json!(["sign"])),
            with(good.clone(), "alg", "RS256"),
            with(good.clone(), "crv", "P-384"),
            with(good.clone(), "x", "AAAA"),
            with(good.clone(), "kid", "a b"),
            with(good.clone(), "kid", "k".repeat(129)),
            with(good.clone(), "kid", Value::Null),
            json!("text"),
        ];
        for key in &refused {
            let set = read(std::slice::from_ref(key));
            assert_eq!((set.len(), set.refused), (0, 1), "{key}");
        }
        let good = [good, with(rsa(256), "use", "sig"), with(ec_key("verify"), "key_ops", json!(["verify"]))];
        assert_eq!((read(&good).len(), read(&good).refused), (3, 0));
        assert_eq!(read(&[ec_key("same"), ec_key("same")]).refused, 1);
        assert_eq!(KeySet::default().replaced_by(b"<html>", 0, 10).unwrap_err(), NoKeySet);
    }

    #[test]
    fn a_withdrawn_key_lives_as_long_as_its_tokens() {
        let (one, two) = (ec_key("one"), ec_key("two"));
        let body = |keys: &[&Value]| json!({"keys": keys}).to_string().into_bytes();
        let set = KeySet::default().replaced_by(&body(&[&one]), 0, 10).unwrap();
        let set = set.replaced_by(&body(&[&two]), 5, 10).unwrap();
        assert!(set.find("one", 14, 10).is_some() && set.find("two", 14, 10).is_some());
        assert!(set.find("one", 15, 10).is_none(), "also without a further answer");
        let set = set.replaced_by(&body(&[&two]), 12, 10).unwrap();
        assert!(set.find("one", 14, 10).is_some(), "withdrawn at 5, not at 12");
        let set = set.replaced_by(&body(&[&two]), 15, 10).unwrap();
        assert_eq!(set.len(), 1);
        // Published again, it is alive again.
        assert!(set.replaced_by(&body(&[&one]), 20, 10).unwrap().find("one", 1_000, 10).is_some());
    }
}
