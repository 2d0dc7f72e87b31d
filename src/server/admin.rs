//! Who may see what operators see, and do what they do.

use super::app::App;
use super::counters::count;
use super::http::{Shared, answer, error};
use super::peer::Peer;
use crate::account::audit::{Event, Outcome};
use crate::secret::Secret;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;
use std::net::IpAddr;
use subtle::ConstantTimeEq;

/// Where operators' pages are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// On the public listener.
    Public,
    /// On the public listener, but refused: it can be reached from other machines, and nobody said that they may see them.
    Refused,
    /// On a listener of their own.
    Own,
}

/// What guards operators' pages.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Where they are.
    pub place: Place,
    /// What must be shown on a listener of their own, if set, and everywhere for what changes something.
    pub key: Option<Secret>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { place: Place::Public, key: None }
    }
}

/// Lets those pass who may. Answers with an error otherwise.
pub(super) async fn guard(
    State(app): Shared,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match check(&app, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err((status, text)) => {
            count(&app.edge.counters.admin_refused);
            let event = Event::Admin {
                action: request.method().as_str(),
                target: request.uri().path(),
                peer: &peer.to_string(),
            };
            app.context.account.audit.record("", "", &event, Outcome::Refused);
            let mut answer = error(status, text);
            if status == StatusCode::UNAUTHORIZED {
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            }
            answer
        }
    }
}

fn check(app: &App, method: &Method, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let AdminSettings { place, key } = &app.admin;
    if *place == Place::Refused {
        return Err((
            StatusCode::FORBIDDEN,
            "operators' pages are not served on an address that others can reach; set admin_listen, or public_stats to open them",
        ));
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    match key {
        Some(key) if (changes || *place == Place::Own) && !holds(key, headers) => {
            return Err((StatusCode::UNAUTHORIZED, "the admin key is needed: Authorization: Bearer KEY"));
        }
        Some(_) => {}
        None if changes => return Err((StatusCode::FORBIDDEN, "nothing can be changed: admin_key is not set")),
        // A page elsewhere may have a name of its own lead here, and its visitors' browsers ask. Numbers cannot.
        None if *place == Place::Own && !is_local_name(headers) => {
            return Err((StatusCode::FORBIDDEN, "without admin_key, call this address by its number or localhost"));
        }
        None => {}
    }
    Ok(())
}

/// Whether the key is shown. Takes as long whatever is shown, except for its length.
fn holds(key: &Secret, headers: &HeaderMap) -> bool {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let shown =
        shown.and_then(|value| value.split_at_checked(7)).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    shown.is_some_and(|(_, shown)| shown.ct_eq(key.reveal().as_bytes()).into())
}

fn is_local_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// `DELETE /ws/connections/{id}`: ends a connection.
pub(super) async fn dismiss(State(app): Shared, Extension(peer): Extension<Peer>, Path(id): Path<String>) -> Response {
    let found = app.context.registry.dismiss(&id);
    let event = Event::Admin { action: "dismiss", target: &id, peer: &peer.to_string() };
    app.context.account.audit.record("", "", &event, if found { Outcome::Done } else { Outcome::Refused });
    if found {
        answer(StatusCode::OK, json!({"dismissed": id}))
    } else {
        error(StatusCode::NOT_FOUND, "no connection has this id")
    }
}

/// Longest body of a request.
pub(super) const MAX_BODY: usize = 4_096;

/// The token of the day.
#[derive(Deserialize)]
pub(super) struct NewToken {
    api_key: Option<String>,
    access_token: String,
}

/// `POST /upstream/token`: Kite's access token of the day takes the place of the one before, and no client notices.
pub(super) async fn swap_token(
    State(app): Shared,
    Extension(peer): Extension<Peer>,
    Json(new): Json<NewToken>,
) -> Response {
    let Some(keys) = &app.keys else {
        return error(StatusCode::NOT_FOUND, "this feed has no upstream with a token");
    };
    let swapped = keys.set_access_token(new.api_key.as_deref(), &new.access_token);
    let event = Event::Admin { action: "swap_token", target: "upstream", peer: &peer.to_string() };
    let outcome = if swapped.is_ok() { Outcome::Done } else { Outcome::Refused };
    app.context.account.audit.record("", "", &event, outcome);
    match swapped {
        Ok(()) => answer(StatusCode::OK, json!({"swapped": true})),
        Err(problem) => error(StatusCode::BAD_REQUEST, problem.to_string()),
    }
}

/// `GET /stats/subscriptions`: what is wanted most, by whom, and how long sessions last.
pub(super) async fn subscriptions(State(app): Shared) -> Response {
    let mut report = app.context.account.analytics.report();
    report["timestamp"] = app.context.clock.unix_seconds().into();
    answer(StatusCode::OK, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_key_must_be_shown_whole() {
        let key = Secret::new("correct-horse");
        for good in ["Bearer correct-horse", "bearer correct-horse"] {
            assert!(holds(&key, &headers("authorization", good)), "{good}");
        }
        for bad in
            ["Bearer correct-hors", "Bearer correct-horse2", "Bearer ", "Basic correct-horse", "correct-horse", "Bea"]
        {
            assert!(!holds(&key, &headers("authorization", bad)), "{bad}");
        }
        assert!(!holds(&key, &HeaderMap::new()));
    }

    #[test]
    fn names_of_other_hosts_are_told_from_this_one() {
        for good in ["127.0.0.1", "127.0.0.1:9100", "[::1]:9100", "localhost", "LOCALHOST:1"] {
            assert!(is_local_name(&headers("host", good)), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:9100", "127.0.0.1.evil.example", "localhost.evil.example:80", "", ":80"]
        {
            assert!(!is_local_name(&headers("host", bad)), "{bad}");
        }
        assert!(!is_local_name(&HeaderMap::new()));
    }
}
