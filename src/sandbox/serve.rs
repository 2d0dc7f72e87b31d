//! HTTP: the handshake, the list of instruments, the session endpoint.

use super::SandboxSettings;
use super::connection;
use super::exchange::{Command, Refused};
use crate::feed::market;
use crate::secret::Secret;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use reqwest::Url;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

/// A head must be complete within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// What HTTP answers are made from.
#[derive(Debug)]
pub(super) struct Door {
    commands: mpsc::Sender<Command>,
    api_key: Option<Secret>,
    access_token: Option<Secret>,
    instruments: usize,
}

impl Door {
    pub(super) fn new(settings: &SandboxSettings, commands: mpsc::Sender<Command>) -> Self {
        let SandboxSettings { api_key, access_token, market, .. } = settings;
        let (api_key, access_token) = (api_key.clone(), access_token.clone());
        Self { commands, api_key, access_token, instruments: market.instruments }
    }

    /// The key of good credentials.
    fn check(&self, query: &HashMap<String, String>) -> Result<String, Refused> {
        let given = |name: &str| query.get(name).filter(|text| !text.is_empty());
        let (Some(key), Some(token)) = (given("api_key"), given("access_token")) else {
            return Err(Refused { status: 400, reason: "Missing `api_key` or `access_token`." });
        };
        let fits = |allowed: &Option<Secret>, text: &String| allowed.as_ref().is_none_or(|one| one.reveal() == text);
        if fits(&self.api_key, key) && fits(&self.access_token, token) {
            Ok(key.clone())
        } else {
            Err(Refused { status: 403, reason: "Incorrect `api_key` or `access_token`." })
        }
    }
}

/// Accepts until the task is ended.
pub(super) async fn serve(listener: TcpListener, door: Arc<Door>) {
    let router = Router::new()
        .route("/instruments", get(instruments))
        .route("/instruments/{exchange}", get(instruments))
        .route("/session/token", post(session))
        .fallback(ticker)
        .with_state(door);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}

/// The ticker's handshake, at any path.
async fn ticker(State(door): State<Arc<Door>>, mut request: Request) -> Response {
    let mut bare = axum::http::Request::new(());
    *bare.method_mut() = request.method().clone();
    *bare.uri_mut() = request.uri().clone();
    *bare.version_mut() = request.version();
    *bare.headers_mut() = request.headers().clone();
    let Ok(response) = create_response_with_body(&bare, Body::empty) else {
        let reason =
            "The ticker is a WebSocket: ws://HOST:PORT/?api_key=…&access_token=…; GET /instruments has the list.";
        return refusal(&Refused { status: 400, reason });
    };
    let admitted = match door.check(&fields(request.uri().query().unwrap_or_default())) {
        Ok(key) => {
            let (reply, answer) = oneshot::channel();
            let _ = door.commands.send(Command::Admit { key, reply }).await;
            answer.await.unwrap_or(Err(Refused { status: 503, reason: "The sandbox ends." }))
        }
        Err(refused) => {
            let _ = door.commands.send(Command::Turn { status: refused.status }).await;
            Err(refused)
        }
    };
    match (admitted, request.extensions_mut().remove::<OnUpgrade>()) {
        (Ok(admitted), Some(on_upgrade)) => {
            tokio::spawn(connection::serve(on_upgrade, admitted, door.commands.clone()));
            response
        }
        (Ok(admitted), None) => {
            let _ = door.commands.send(Command::Gone { line: admitted.line }).await;
            refusal(&Refused { status: 400, reason: "This connection cannot be upgraded." })
        }
        (Err(refused), _) => refusal(&refused),
    }
}

/// Kite's envelope of an error.
fn refusal(refused: &Refused) -> Response {
    let kind = match refused.status {
        403 => "TokenException",
        429 => "NetworkException",
        503 => "GeneralException",
        _ => "InputException",
    };
    let body = json!({"status": "error", "message": refused.reason, "data": null, "error_type": kind});
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The fields of a query or a form. A plus is a plus: Kite's clients do not encode what they send.
fn fields(text: &str) -> HashMap<String, String> {
    let url = Url::parse(&format!("http://sandbox/?{}", text.replace('+', "%2B")));
    url.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default()
}

/// The list of instruments as Kite's csv, of one exchange or of all.
async fn instruments(State(door): State<Arc<Door>>, exchange: Option<Path<String>>) -> Response {
    let wanted = exchange.map(|Path(exchange)| exchange);
    match list(door.instruments, wanted.as_deref()) {
        Ok(csv) => ([(header::CONTENT_TYPE, "text/csv")], csv).into_response(),
        Err(_) => refusal(&Refused { status: 503, reason: "The list could not be written." }),
    }
}

fn list(count: usize, exchange: Option<&str>) -> Result<Vec<u8>, csv::Error> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record([
        "instrument_token",
        "exchange_token",
        "tradingsymbol",
        "name",
        "last_price",
        "expiry",
        "strike",
        "tick_size",
        "lot_size",
        "instrument_type",
        "segment",
        "exchange",
    ])?;
    let rupees = |paise: i32| (f64::from(paise) / 100.0).to_string();
    for row in market::listings(count) {
        if exchange.is_some_and(|exchange| !exchange.eq_ignore_ascii_case(row.exchange)) {
            continue;
        }
        out.write_record([
            &row.token.0.to_string(),
            &(row.token.0 >> 8).to_string(),
            row.symbol.as_ref(),
            row.name,
            "0",
            row.expiry.unwrap_or_default(),
            &rupees(row.strike),
            &rupees(row.tick_size),
            &row.lot_size.to_string(),
            row.instrument_type,
            row.segment,
            row.exchange,
        ])?;
    }
    out.into_inner().map_err(|error| error.into_error().into())
}

/// A session for any request token: the access token that is configured, or a new one.
async fn session(State(door): State<Arc<Door>>, body: Bytes) -> Response {
    let form = fields(&String::from_utf8_lossy(&body));
    let given = |name: &str| form.get(name).filter(|text| !text.is_empty());
    let (Some(key), Some(_), Some(_)) = (given("api_key"), given("request_token"), given("checksum")) else {
        return refusal(&Refused { status: 400, reason: "Missing `api_key`, `request_token` or `checksum`." });
    };
    if door.api_key.as_ref().is_some_and(|one| one.reveal() != key) {
        return refusal(&Refused { status: 403, reason: "Invalid `api_key`." });
    }
    let token = match &door.access_token {
        Some(token) => token.reveal().to_owned(),
        None => uuid::Uuid::new_v4().simple().to_string(),
    };
    let data: Value = json!({
        "user_id": "SANDBOX",
        "user_name": "Sandbox",
        "user_type": "individual",
        "broker": "ZERODHA",
        "exchanges": ["NSE", "BSE", "NFO"],
        "api_key": key,
        "access_token": token,
        "public_token": token,
        "refresh_token": "",
    });
    axum::Json(json!({"status": "success", "data": data})).into_response()
}
