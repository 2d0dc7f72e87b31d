//! `/auth/*`: what a token says, tickets for it, and, for development, new ones; and the check of the name the server is
//! called by.

use super::app::App;
use super::http::{Shared, answer, error};
use super::peer::Peer;
use super::upgrade::{note_refusal, refused, refused_with};
use crate::account::audit::{Event, Outcome};
use crate::identity::issue::TokenRequest;
use crate::identity::principal::Principal;
use crate::identity::refusal::Refusal;
use crate::identity::ticket::{self, LIFE};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use serde_json::json;

/// Longest body.
pub(super) const MAX_BODY: usize = 16 * 1_024;

/// `POST /auth/token`: a new token for development.
pub(super) async fn token(State(app): Shared, Extension(peer): Extension<Peer>, body: Bytes) -> Response {
    const WANTED: &str =
        "a JSON object is needed: sub, and where wanted email, name, session_id, roles, permissions, jti, expires_in";
    let gate = &app.context.gate;
    if !gate.issues_tokens() {
        return error(
            StatusCode::NOT_FOUND,
            "this gateway issues no tokens: authentication is the user service's (dev_tokens)",
        );
    }
    let Ok(request) = serde_json::from_slice::<TokenRequest>(&body) else {
        return error(StatusCode::BAD_REQUEST, WANTED);
    };
    let expires_in = request.expires_in();
    let subject = request.sub.clone();
    let issued = gate.issue(request);
    let outcome = if issued.is_some() { Outcome::Done } else { Outcome::Refused };
    app.context.account.audit.record(&subject, "", &Event::Issue { peer: &peer.to_string() }, outcome);
    match issued {
        Some(token) => {
            answer(StatusCode::OK, json!({"access_token": token, "token_type": "bearer", "expires_in": expires_in}))
        }
        None => error(StatusCode::INTERNAL_SERVER_ERROR, "the token could not be signed"),
    }
}

/// `POST /auth/ticket`: a ticket for whoever shows a token or an API key.
pub(super) async fn ticket(State(app): Shared, Extension(peer): Extension<Peer>, request: Request) -> Response {
    let who = match identified(&app, peer, request).await {
        Ok(who) => who,
        Err(answer) => return *answer,
    };
    let user = who.user.clone();
    let ticket = app.context.gate.issue_ticket(who);
    let outcome = if ticket.is_ok() { Outcome::Done } else { Outcome::Refused };
    app.context.account.audit.record(&user, "", &Event::Issue { peer: &peer.to_string() }, outcome);
    match ticket {
        Ok(ticket) => answer(StatusCode::OK, json!({"ticket": ticket.reveal(), "expires_in": LIFE.as_secs()})),
        Err(refusal) => refused(refusal),
    }
}

/// Who asks, or the answer to one who cannot tell.
async fn identified(app: &App, peer: Peer, request: Request) -> Result<Principal, Box<Response>> {
    let gate = &app.context.gate;
    if !gate.is_configured() {
        const NOBODY: &str = "authentication is not configured: every connection is an anonymous user";
        return Err(error(StatusCode::NOT_FOUND, NOBODY).into());
    }
    let (parts, _) = request.into_parts();
    let principal = match gate.credential(&parts) {
        // A ticket is for one connection: it makes no other, and a question does not use it up.
        Ok(Some(token)) if ticket::is_ticket(token.reveal()) => Err(gate.counters.refuse(Refusal::Malformed)),
        Ok(Some(token)) => gate.identify(&token, peer.ip).await,
        Ok(None) => Err(Refusal::Missing),
        Err(refusal) => Err(refusal),
    };
    principal.map_err(|refusal| {
        note_refusal(app, refusal, peer);
        refused_with(refusal, json!({"valid": false, "error": refusal.to_string()})).into()
    })
}

/// `GET /auth/verify`: whose a token is.
pub(super) async fn verify(State(app): Shared, Extension(peer): Extension<Peer>, request: Request) -> Response {
    match identified(&app, peer, request).await {
        Ok(who) => answer(
            StatusCode::OK,
            json!({"valid": true, "user_id": who.user, "sub": who.sub, "session_id": who.session_id, "name": who.name,
                "roles": who.roles, "jti": who.jti, "iat": who.issued_at, "exp": who.expires_at, "proof": who.proof.name()}),
        ),
        Err(answer) => *answer,
    }
}

/// Answers only to the names it may be called by.
pub(super) async fn check_host(State(app): Shared, request: Request, next: Next) -> Response {
    match app.context.gate.check_host(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    }
}
