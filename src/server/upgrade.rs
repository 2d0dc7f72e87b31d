//! Upgrades: who it is, and the socket handed over to a session.

use super::app::App;
use super::http::{Shared, answer, error};
use super::kite_login;
use super::peer::Peer;
use super::shuttle;
use crate::account::audit::{Event, Outcome};
use crate::identity::credential::{self, SUBPROTOCOL};
use crate::identity::gate::Gate;
use crate::identity::principal::Principal;
use crate::identity::refusal::Refusal;
use crate::secret::Secret;
use crate::session::arrival::{Arrival, Entrant};
use crate::session::context::Context;
use crate::session::indicators::stream as indicator_stream;
use crate::session::{kite, stream};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Bytes as WsBytes;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

/// How long a refused client may take to close its side, so that the reason reaches it before a reset does.
const FAREWELL: Duration = Duration::from_secs(1);

/// `GET /ws/stream`: turns a connection into a WebSocket and hands its socket over to a session.
pub(super) async fn stream(State(app): Shared, Extension(peer): Extension<Peer>, request: Request) -> Response {
    let admit = async |gate: &Gate, parts: &Parts| gate.admit(parts, peer.ip).await;
    upgrade(app, peer, request, admit, stream::serve).await
}

/// The upgrade of Kite's clients, which show a pair in the query. They are answered by HTTP, and a refusal ends the
/// connection, as Kite's does.
pub(super) async fn kite(State(app): Shared, Extension(peer): Extension<Peer>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let mut response = kite_response(app, peer, &mut parts).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn kite_response(app: Arc<App>, peer: Peer, parts: &mut Parts) -> Response {
    let token = match kite_login::access_token(parts.uri.query().unwrap_or_default()) {
        Ok(token) => token,
        Err(refusal) => return error(StatusCode::FORBIDDEN, refusal.to_string()),
    };
    let handshake = match Handshake::of(parts) {
        Ok(handshake) => handshake,
        Err(answer) => return *answer,
    };
    let gate = &app.context.gate;
    match gate.admit_kite(&parts.headers, &token, peer.ip).await.and_then(|who| entrant(gate, Some(who), peer)) {
        // What Kite answers to too many connections.
        Ok(entrant) => hand_over(app, handshake, (entrant, None), StatusCode::TOO_MANY_REQUESTS, kite::serve),
        Err(refusal) => {
            note_refusal(&app, refusal, peer);
            let status = if matches!(refusal.status(), 429 | 503) { 429 } else { 403 };
            error(StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN), refusal.to_string())
        }
    }
}

/// `GET /indicators/v2/stream`. Who sends no token with the handshake and will with the first message says so in the
/// query: `auth=message`.
pub(super) async fn indicators(State(app): Shared, Extension(peer): Extension<Peer>, request: Request) -> Response {
    let admit = async |gate: &Gate, parts: &Parts| {
        let tells = parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "auth=message"));
        gate.admit_jwt(parts, peer.ip, tells).await
    };
    upgrade(app, peer, request, admit, indicator_stream::serve).await
}

/// `GET /indicators/stream`, for API keys.
pub(super) async fn client_indicators(
    State(app): Shared,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let admit = async |gate: &Gate, parts: &Parts| gate.admit_key(parts, peer.ip).await.map(Some);
    upgrade(app, peer, request, admit, indicator_stream::serve_client).await
}

/// Shakes hands with whom `admit` lets in, and serves it; another is told by a close frame why not.
async fn upgrade<Served>(
    app: Arc<App>,
    peer: Peer,
    request: Request,
    admit: impl AsyncFnOnce(&Gate, &Parts) -> Result<Option<Principal>, Refusal>,
    serve: impl FnOnce(Box<Arrival>, Arc<Context>) -> Served + Send + 'static,
) -> Response
where
    Served: Future<Output = ()> + Send + 'static,
{
    let (mut parts, _) = request.into_parts();
    let handshake = match Handshake::of(&mut parts) {
        Ok(handshake) => handshake,
        Err(answer) => return *answer,
    };
    let resume = credential::resume(&parts);
    let gate = &app.context.gate;
    match admit(gate, &parts).await.and_then(|principal| entrant(gate, principal, peer)) {
        Ok(entrant) => hand_over(app, handshake, (entrant, resume), StatusCode::SERVICE_UNAVAILABLE, serve),
        Err(refusal) => {
            note_refusal(&app, refusal, peer);
            handshake.refuse(refusal)
        }
    }
}

/// Answers a handshake and serves what comes after it; `full` is the answer when there is no place.
fn hand_over<Served>(
    app: Arc<App>,
    handshake: Handshake,
    (entrant, resume): (Entrant, Option<Secret>),
    full: StatusCode,
    serve: impl FnOnce(Box<Arrival>, Arc<Context>) -> Served + Send + 'static,
) -> Response
where
    Served: Future<Output = ()> + Send + 'static,
{
    let place = if app.context.vigil.is_draining() { None } else { app.context.place() };
    let Some(place) = place else {
        let mut full = error(full, "as many connections as allowed (max_connections), or the gateway stops");
        full.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        return full;
    };
    handshake.accept(move |socket, early| {
        let socket = socket.into_std();
        let socket = socket.inspect_err(|problem| tracing::debug!(%problem, "an upgraded socket was gone")).ok()?;
        let arrival = Box::new(Arrival { socket, early, place, entrant, resume });
        Some(serve(arrival, Arc::clone(&app.context)))
    })
}

/// A request for a WebSocket that is one.
pub(super) struct Handshake {
    response: Response,
    on_upgrade: OnUpgrade,
}

impl Handshake {
    /// Looks at a request's head; its answer where it is no handshake.
    pub fn of(parts: &mut Parts) -> Result<Self, Box<Response>> {
        // The library wants the request without a body; it looks at the head only.
        let mut bare = axum::http::Request::new(());
        *bare.method_mut() = parts.method.clone();
        *bare.uri_mut() = parts.uri.clone();
        *bare.version_mut() = parts.version;
        *bare.headers_mut() = parts.headers.clone();
        let mut response = create_response_with_body(&bare, Body::empty)
            .map_err(|problem| error(StatusCode::BAD_REQUEST, format!("not a WebSocket handshake: {problem}")))?;
        if credential::offers_subprotocol(&parts.headers) {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        let on_upgrade = parts.extensions.remove::<OnUpgrade>();
        let on_upgrade =
            on_upgrade.ok_or_else(|| error(StatusCode::BAD_REQUEST, "this connection cannot be upgraded"))?;
        Ok(Self { response, on_upgrade })
    }

    /// Answers, and gives the socket and what came early on it to a task of its own.
    pub fn accept<Served>(self, serve: impl FnOnce(TcpStream, WsBytes) -> Option<Served> + Send + 'static) -> Response
    where
        Served: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(async move {
            let upgraded = upgraded(self.on_upgrade).await;
            if let Some(served) = upgraded.and_then(|(socket, early)| serve(socket, early)) {
                // A task of its own, as large as the session and no larger.
                tokio::spawn(served);
            }
        });
        self.response
    }

    /// Tells a refusal: by HTTP, or by a close frame, since a browser shows its page nothing else. That takes no place at a
    /// writer.
    pub fn refuse(self, refusal: Refusal) -> Response {
        if refusal.is_before_upgrade() {
            return refused(refusal);
        }
        self.accept(move |mut socket, _| {
            Some(async move {
                let farewell = async {
                    socket.write_all(&refusal.close().frame()).await?;
                    socket.shutdown().await?;
                    let mut sink = [0; 1_024];
                    while socket.read(&mut sink).await? > 0 {}
                    std::io::Result::Ok(())
                };
                // Whatever the client makes of it, that was the end.
                let _ = tokio::time::timeout(FAREWELL, farewell).await;
            })
        })
    }
}

/// A refusal as an HTTP answer.
pub(super) fn refused(refusal: Refusal) -> Response {
    refused_with(refusal, json!({"error": refusal.to_string()}))
}

/// A refusal as an HTTP answer with a body of its own.
pub(super) fn refused_with(refusal: Refusal, body: Value) -> Response {
    let mut answer = answer(StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN), body);
    if matches!(refusal.status(), 429 | 503) {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if refusal == Refusal::Failures {
        // A flood pays for each try with a connection: answered on one that stays, it takes the processor from the ticks.
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Writes down who was not let in, and why. What is turned away unlooked at is counted only: a flood would push everything
/// else out of the log.
pub(super) fn note_refusal(app: &App, refusal: Refusal, peer: Peer) {
    if matches!(refusal, Refusal::Failures | Refusal::Busy) {
        return;
    }
    tracing::debug!(reason = refusal.label(), %peer, "a connection was refused");
    let event = Event::AuthRefused { peer: &peer.to_string(), reason: refusal.label() };
    app.context.account.audit.record("", "", &event, Outcome::Refused);
}

fn entrant(gate: &Gate, principal: Option<Principal>, peer: Peer) -> Result<Entrant, Refusal> {
    match principal {
        Some(principal) => {
            Ok(Entrant { watch: gate.enter(principal)?, unproved: None, peer: peer.ip, name: peer.to_string() })
        }
        None => {
            let (watch, permit) = gate.enter_unproved()?;
            Ok(Entrant { watch, unproved: Some(permit), peer: peer.ip, name: peer.to_string() })
        }
    }
}

async fn upgraded(on_upgrade: OnUpgrade) -> Option<(TcpStream, WsBytes)> {
    let upgraded = match on_upgrade.await {
        Ok(upgraded) => upgraded,
        Err(problem) => {
            tracing::debug!(%problem, "an upgrade did not happen");
            return None;
        }
    };
    plain(upgraded).inspect_err(|problem| tracing::warn!(%problem, "an upgraded connection cannot be used")).ok()
}

/// The socket a session gets: the connection's own, or one to its TLS session.
fn plain(upgraded: Upgraded) -> io::Result<(TcpStream, WsBytes)> {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return Ok((parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => upgraded,
    };
    let parts =
        upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().map_err(|_| io::Error::other("of no known kind"))?;
    let (socket, local) = shuttle::pair()?;
    tokio::spawn(shuttle::carry(parts.io.into_inner(), local));
    Ok((TcpStream::from_std(socket)?, parts.read_buf))
}
