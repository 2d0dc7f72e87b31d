//! What a token says: first its header, before any key is looked up, then, once its signature holds, its claims.

use super::key::{Key, is_kid};
use super::permissions::Permissions;
use super::principal::{Principal, Proof};
use super::refusal::Refusal;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};

/// How far two clocks may be apart, seconds.
pub const LEEWAY_S: u64 = 5;
/// Longest token, bytes.
const MAX_TOKEN: usize = 8_192;

/// The claims that count; others are passed over. A claim that stands twice, or has another type, refuses the token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The subject.
    pub sub: String,
    /// The issuer.
    pub iss: String,
    /// The audience, one or several.
    pub aud: Audience,
    /// End, Unix seconds.
    pub exp: f64,
    /// Beginning, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<f64>,
    /// Time of issue, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<f64>,
    /// The token's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The user's address, which is the user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The user service's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// Permissions: see [`super::permissions`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
}

/// One audience or several.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// The header of a token that may be looked at further.
///
/// # Errors
/// [`Refusal::Malformed`], or [`Refusal::Header`] for a header that names keys or asks to understand extensions.
pub fn header(token: &str) -> Result<Header, Refusal> {
    if token.len() > MAX_TOKEN || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Err(Refusal::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Malformed)?;
    let extras = header.extras.inner();
    let foreign = header.crit.is_some()
        || header.jku.is_some()
        || header.x5u.is_some()
        || header.jwk.is_some()
        || header.x5c.is_some()
        || header.enc.is_some()
        || header.zip.is_some()
        || ["crit", "b64", "jku", "x5u", "jwk", "x5c"].iter().any(|name| extras.contains_key(*name));
    if foreign || header.kid.as_ref().is_some_and(|kid| !is_kid(kid)) {
        return Err(Refusal::Header);
    }
    Ok(header)
}

/// The issuer a token claims to be of. Nothing proves it yet: it only selects whose keys are asked.
pub fn claimed_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode::<Claimed>(token).ok().map(|claimed| claimed.claims.iss)
}

/// Checks signature, issuer and audience, and that the claims are there. Times are for [`principal`] to check, by the
/// program's own clock. Some 30 to 100 us of work.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(token: &str, key: &Key, issuer: &str, audience: &str) -> Result<Claims, Refusal> {
    let mut validation = Validation::new(key.algorithm);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let data =
        jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => Refusal::Signature,
            ErrorKind::InvalidAlgorithm => Refusal::Algorithm,
            ErrorKind::InvalidIssuer => Refusal::Issuer,
            ErrorKind::InvalidAudience => Refusal::Audience,
            ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => {
                Refusal::Claims
            }
            _ => Refusal::Malformed,
        })?;
    Ok(data.claims)
}

/// Whom verified claims speak of, at a Unix time in seconds.
///
/// # Errors
/// When they do not hold now, or for longer than a token lives.
pub fn principal(claims: Claims, default: &Permissions, now: u64, lifetime_s: u64) -> Result<Principal, Refusal> {
    let exp = seconds(claims.exp)?;
    let issued_at = claims.iat.map(seconds).transpose()?;
    if exp.saturating_add(LEEWAY_S) <= now {
        return Err(Refusal::Expired);
    }
    if claims.nbf.map(seconds).transpose()?.is_some_and(|nbf| nbf > now + LEEWAY_S) {
        return Err(Refusal::NotYet);
    }
    if exp > now + lifetime_s + LEEWAY_S {
        return Err(Refusal::Lifetime);
    }
    let short = |text: &str| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
    let user = claims.email.filter(|email| !email.is_empty()).unwrap_or_else(|| claims.sub.clone());
    if !short(&claims.sub) || !short(&user) || claims.jti.as_deref().is_some_and(|jti| !short(jti)) {
        return Err(Refusal::Claims);
    }
    let words = claims.permissions.unwrap_or_default();
    Ok(Principal {
        user: user.into(),
        sub: claims.sub.into(),
        session_id: claims.session_id.filter(|id| short(id)).unwrap_or_else(|| "unknown".into()),
        name: claims.name.unwrap_or_default(),
        roles: claims.roles.unwrap_or_default(),
        permissions: Permissions::claimed(words.iter().map(String::as_str)).unwrap_or(*default),
        jti: claims.jti.map(Into::into),
        issued_at,
        expires_at: Some(exp),
        proof: Proof::Jwt,
    })
}

/// A time in whole seconds, as far as it is one: RFC 7519 allows fractions.
fn seconds(time: f64) -> Result<u64, Refusal> {
    // 2^53: beyond it a double counts no single seconds.
    if (0.0..9_007_199_254_740_992.0).contains(&time) { Ok(time as u64) } else { Err(Refusal::Claims) }
}

/// Whether an algorithm is that of a shared secret.
pub fn is_shared(algorithm: Algorithm) -> bool {
    algorithm == Algorithm::HS256
}
