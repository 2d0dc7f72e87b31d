//! Making tokens, for development and tests.

use super::claims::{Audience, Claims};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;

/// A key that signs.
#[derive(Clone, Debug)]
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
    kid: Option<String>,
}

/// What a new token shall say.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The subject.
    pub sub: String,
    /// The user id, where it is not the subject.
    #[serde(default)]
    pub email: Option<String>,
    /// Display name.
    #[serde(default)]
    pub name: Option<String>,
    /// The session.
    #[serde(default)]
    pub session_id: Option<String>,
    /// Roles.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// Permissions: see [`super::permissions`].
    #[serde(default)]
    pub permissions: Option<Vec<String>>,
    /// The token's id; a fresh UUID when left out.
    #[serde(default)]
    pub jti: Option<String>,
    /// Seconds it lives: 1 to 86,400, an hour when left out.
    #[serde(default)]
    pub expires_in: Option<u64>,
}

impl TokenRequest {
    /// Seconds it lives.
    pub fn expires_in(&self) -> u64 {
        self.expires_in.unwrap_or(3_600).clamp(1, 86_400)
    }
}

/// Why no token was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IssueError {
    /// The file holds no key that can be used.
    #[error("no private key: a PEM file is needed, RSA for RS256, or in PKCS#8 P-256 for ES256 or Ed25519 for EdDSA")]
    Key,
    /// The key does not sign.
    #[error("the key cannot sign")]
    Signing,
}

impl SigningKey {
    /// A shared secret, for HS256.
    pub fn shared(secret: &[u8]) -> Self {
        Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret), kid: None }
    }

    /// A private key from a PEM file; the algorithm is that of the key.
    ///
    /// # Errors
    /// [`IssueError::Key`].
    pub fn from_pem(pem: &[u8], kid: Option<String>) -> Result<Self, IssueError> {
        let rsa = EncodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS256, key));
        let ec = || EncodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key));
        let ed = || EncodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key));
        let (algorithm, key) = rsa.or_else(|_| ec()).or_else(|_| ed()).map_err(|_| IssueError::Key)?;
        Ok(Self { algorithm, key, kid })
    }

    /// Signs what is asked for, as `issuer` for `audience`, at a Unix time.
    ///
    /// # Errors
    /// [`IssueError::Signing`].
    pub fn issue(&self, request: TokenRequest, issuer: &str, audience: &str, now: u64) -> Result<String, IssueError> {
        self.sign(&Claims {
            exp: (now + request.expires_in()) as f64,
            sub: request.sub,
            iss: issuer.to_owned(),
            aud: Audience::One(audience.to_owned()),
            nbf: None,
            iat: Some(now as f64),
            jti: Some(request.jti.unwrap_or_else(|| uuid::Uuid::new_v4().to_string())),
            email: request.email,
            name: request.name,
            session_id: request.session_id,
            roles: request.roles,
            permissions: request.permissions,
        })
    }

    /// Signs claims.
    ///
    /// # Errors
    /// [`IssueError::Signing`].
    pub fn sign(&self, claims: &Claims) -> Result<String, IssueError> {
        let mut header = Header::new(self.algorithm);
        header.kid.clone_from(&self.kid);
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|_| IssueError::Signing)
    }
}
