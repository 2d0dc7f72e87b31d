//! `POST /auth/revocations`: operators end tokens and users before their time, as many at once as they like to list.

use super::http::{Shared, answer, error};
use super::peer::Peer;
use crate::account::audit::{Event, Outcome};
use crate::identity::revocation::Revocation;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use std::io;
use std::sync::Arc;

/// Longest body: some 10,000 revocations.
pub(super) const MAX_BODY: usize = 2 * 1_024 * 1_024;
/// Longest name of a token or a user, bytes.
const LONGEST: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    revocations: Vec<Entry>,
}

/// One of the list, as it was written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    jti: Option<String>,
    user: Option<String>,
    issued_before: Option<u64>,
}

impl Entry {
    /// What it revokes; of a user, without a time, all that was issued up to now.
    fn revocation(self, now: u64) -> Result<Revocation, &'static str> {
        let named = |name: &String| (1..=LONGEST).contains(&name.len());
        match self {
            Self { jti: Some(jti), user: None, issued_before: None } if named(&jti) => Ok(Revocation::Token { jti }),
            Self { jti: None, user: Some(user), issued_before } if named(&user) => {
                Ok(Revocation::User { user, issued_before: issued_before.unwrap_or(now + 1) })
            }
            _ => {
                Err("jti, or user and where wanted issued_before (Unix seconds), is needed; names have 1 to 256 bytes")
            }
        }
    }
}

fn parsed(body: &[u8], now: u64) -> Result<Vec<Revocation>, String> {
    let wanted: Wanted =
        serde_json::from_slice(body).map_err(|problem| format!("{{\"revocations\": […]}} is needed: {problem}"))?;
    if wanted.revocations.is_empty() {
        return Err("revocations: the list is empty".to_owned());
    }
    let each = wanted.revocations.into_iter().enumerate();
    each.map(|(at, entry)| entry.revocation(now).map_err(|text| format!("revocations[{at}]: {text}"))).collect()
}

/// Revokes what the body lists. Nothing is revoked when a part of it cannot be read.
pub(super) async fn revoke(State(app): Shared, Extension(peer): Extension<Peer>, body: Bytes) -> Response {
    let context = &app.context;
    let revocations = match parsed(&body, context.clock.unix_seconds() as u64) {
        Ok(revocations) => revocations,
        Err(text) => return error(StatusCode::BAD_REQUEST, text),
    };
    let ended = context.gate.revoke(&revocations);
    let target = match &revocations[..] {
        [Revocation::Token { jti: name } | Revocation::User { user: name, .. }] => name.clone(),
        many => format!("{} tokens and users", many.len()),
    };
    let event = Event::Admin { action: "revoke", target: &target, peer: &peer.to_string() };
    context.account.audit.record("", "", &event, if ended.is_ok() { Outcome::Done } else { Outcome::Refused });
    let gate = Arc::clone(&context.gate);
    let count = revocations.len();
    let kept = tokio::task::spawn_blocking(move || gate.write_down(&revocations)).await.map_err(io::Error::other);
    if let Err(problem) = kept.flatten() {
        let text = format!("what was listed is in force, but cannot be kept for the next start: {problem}");
        return error(StatusCode::INTERNAL_SERVER_ERROR, text);
    }
    match ended {
        Ok(ended) => answer(StatusCode::OK, json!({"revoked": count, "ended": ended})),
        Err(full) => {
            error(StatusCode::INSUFFICIENT_STORAGE, format!("{full}; those before it in the list are in force"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_or_the_entry_at_fault_is_named() {
        let list = |entries: &str| parsed(format!("{{\"revocations\": [{entries}]}}").as_bytes(), 100);
        let user = |issued_before| Revocation::User { user: "ann".into(), issued_before };
        assert_eq!(
            list(r#"{"jti": "a"}, {"user": "ann"}, {"user": "ann", "issued_before": 7}"#),
            Ok(vec![Revocation::Token { jti: "a".into() }, user(101), user(7)])
        );
        for wrong in [r#"{"jti": "a", "user": "b"}"#, r#"{"jti": "a", "issued_before": 1}"#, r#"{"jti": ""}"#, "{}"] {
            let told = list(&format!("{{\"jti\": \"good\"}}, {wrong}")).unwrap_err();
            assert!(told.starts_with("revocations[1]: jti, or user"), "{told}");
        }
        assert!(list(r#"{"sub": "a"}"#).unwrap_err().contains("unknown field `sub`"));
        assert!(list("").unwrap_err().contains("empty") && parsed(b"[]", 100).is_err());
        assert!(list(&format!("{{\"user\": \"{}\"}}", "x".repeat(257))).is_err());
    }
}
