//! HTTP: every path, and the pages beside the sockets.

use super::admin::{self, Place as AdminPlace};
use super::app::App;
use super::peer::Peer;
use super::{auth, indicators, latency, market_hours, metrics, revocations, upgrade};
use crate::kite::instruments::Instrument;
use crate::stats::Stop;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What every handler gets.
pub(super) type Shared = State<Arc<App>>;

/// Every path of the public listener.
pub fn router(app: Arc<App>) -> Router {
    let operators = if app.admin.place == AdminPlace::Own { Router::new() } else { operators(&app) };
    Router::new()
        .merge(operators)
        .route("/", get(page_or_kite))
        .route("/kite", get(upgrade::kite))
        .route("/ws/stream", get(upgrade::stream))
        .route("/indicators/v2/stream", get(upgrade::indicators))
        .route("/indicators/stream", get(upgrade::client_indicators))
        .route("/indicators/v2/health", get(indicators::health))
        .route("/indicators/v2/stats", get(indicators::stats))
        .route("/indicators/subscribe", post(indicators::subscribe).layer(DefaultBodyLimit::max(indicators::MAX_BODY)))
        .route(
            "/indicators/unsubscribe",
            post(indicators::unsubscribe).layer(DefaultBodyLimit::max(indicators::MAX_BODY)),
        )
        .route("/indicators/batch", post(indicators::batch).layer(DefaultBodyLimit::max(indicators::MAX_BODY)))
        .route("/indicators/current", get(indicators::current))
        .route("/indicators/history", get(indicators::history))
        .route("/indicators/at-offset", get(indicators::at_offset))
        .route("/health", get(health))
        .route("/ws/health", get(ws_health))
        .route("/ws/test", get(upstream))
        .route("/mapping/symbol-to-token", get(symbol_to_token))
        .route("/mapping/token-to-symbol", get(token_to_symbol))
        .route("/instruments/search", get(search))
        .route("/market/status", get(market_status))
        .route("/auth/token", post(auth::token).layer(DefaultBodyLimit::max(auth::MAX_BODY)))
        .route("/auth/ticket", post(auth::ticket))
        .route("/auth/verify", get(auth::verify))
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), auth::check_host))
        .layer(middleware::map_response(no_sniffing))
        .with_state(app)
}

/// Every path of the operators' own listener.
pub fn admin_router(app: Arc<App>) -> Router {
    let guard = middleware::from_fn_with_state(Arc::clone(&app), admin::guard);
    operators(&app)
        .route("/health", get(health))
        .fallback(nothing_here)
        .layer(guard)
        .layer(middleware::map_response(no_sniffing))
        .with_state(app)
}

/// What shows users, or tells more of the machine than clients need.
fn operators(app: &Arc<App>) -> Router<Arc<App>> {
    let pages = Router::new()
        .route("/ws/connections", get(connections))
        .route("/ws/connections/{id}", delete(admin::dismiss))
        .route("/upstream/token", post(admin::swap_token).layer(DefaultBodyLimit::max(admin::MAX_BODY)))
        .route("/auth/revocations", post(revocations::revoke).layer(DefaultBodyLimit::max(revocations::MAX_BODY)))
        .route("/metrics", get(prometheus))
        .route("/stats/latency", get(latencies))
        .route("/stats/latency/{file}", get(latency_file))
        .route("/stats/subscriptions", get(admin::subscriptions));
    if app.admin.place == AdminPlace::Own {
        return pages;
    }
    pages.route_layer(middleware::from_fn_with_state(Arc::clone(app), admin::guard))
}

/// No answer is anything but what it says it is: what users wrote stays text in a browser.
async fn no_sniffing(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A JSON answer with a status.
pub(super) fn answer(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}

/// An error with a text for people.
pub(super) fn error(status: StatusCode, text: impl Into<String>) -> Response {
    answer(status, json!({"error": text.into()}))
}

async fn nothing_here() -> Response {
    error(
        StatusCode::NOT_FOUND,
        "nothing here; GET / shows live ticks, GET /ws/stream is the WebSocket, GET /kite that of Kite's clients",
    )
}

/// Most roots of Kite's clients have no path, so that they come here; browsers do too.
async fn page_or_kite(state: Shared, peer: Extension<Peer>, request: Request) -> Response {
    if request.headers().contains_key(header::UPGRADE) { upgrade::kite(state, peer, request).await } else { page() }
}

/// The page, with a policy that lets it load nothing but itself: its script and its style carry a nonce of this answer.
fn page() -> Response {
    const PAGE: &str = include_str!("page.html");
    let nonce = uuid::Uuid::new_v4().simple();
    let page = PAGE.replacen("<script>", &format!("<script nonce=\"{nonce}\">"), 1).replacen(
        "<style>",
        &format!("<style nonce=\"{nonce}\">"),
        1,
    );
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, page).into_response()
}

async fn health(State(app): Shared) -> Json<Value> {
    let clock = &app.context.clock;
    Json(json!({
        "status": "healthy",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": clock.unix_seconds() - app.started_at,
        "connections": app.context.registry.len(),
        "feed": (app.feed.0)(),
        "sessions": kept_sessions(&app),
        "timestamp": clock.unix_seconds(),
    }))
}

/// What keeps sessions, whether it can, how many there are and how many it does not have as they are.
fn kept_sessions(app: &App) -> Value {
    let sessions = &app.context.sessions;
    let (kept, unwritten) = sessions.sizes();
    let unwritten = if matches!(sessions.store(), "file" | "redis") { unwritten } else { 0 };
    json!({"store": sessions.store(), "state": if sessions.is_up() { "ok" } else { "down" }, "kept": kept,
        "unwritten": unwritten})
}

async fn ws_health(State(app): Shared) -> Json<Value> {
    let mut counts = app.context.board.subscriber_counts();
    counts.sort_unstable();
    let tokens: Vec<String> = counts.iter().map(|(token, _)| token.to_string()).collect();
    let subscribers: Map<String, Value> =
        counts.iter().map(|(token, count)| (token.to_string(), Value::from(*count))).collect();
    let connected = app.context.registry.len();
    Json(json!({
        "status": "healthy",
        "websocket_stats": {
            "total_clients": connected,
            "connected_clients": connected,
            "total_tokens": tokens.len(),
            "subscribed_tokens": tokens,
            "token_subscribers": subscribers,
        },
        "timestamp": app.context.clock.unix_seconds(),
    }))
}

async fn connections(State(app): Shared) -> Json<Value> {
    let connections = app.context.registry.describe(&app.context.clock);
    let total = connections.len();
    Json(json!({"connections": connections, "total": total, "timestamp": app.context.clock.unix_seconds()}))
}

async fn upstream(State(app): Shared) -> Json<Value> {
    let counters: Map<String, Value> =
        app.feed_counters.list().iter().map(|shown| (shown.name.to_owned(), Value::from(shown.value))).collect();
    let upstream = (app.feed.0)();
    Json(json!({"feed": upstream, "counters": counters, "timestamp": app.context.clock.unix_seconds()}))
}

#[derive(Deserialize)]
struct SymbolQuery {
    symbol: Option<String>,
    exchange: Option<String>,
}

async fn symbol_to_token(State(app): Shared, Query(query): Query<SymbolQuery>) -> Response {
    let Some(symbol) = query.symbol.filter(|symbol| !symbol.is_empty()) else {
        return error(StatusCode::BAD_REQUEST, "symbol: missing; for example ?symbol=RELIANCE&exchange=NSE");
    };
    let instruments = app.context.instruments.load();
    let found = match &query.exchange {
        Some(exchange) => instruments.resolve(&format!("{exchange}:{symbol}")),
        None => instruments.resolve(&symbol),
    };
    match found {
        Some(found) => answer(StatusCode::OK, describe(found)),
        None => error(StatusCode::NOT_FOUND, format!("symbol: {symbol} is not in the instrument list")),
    }
}

#[derive(Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

async fn token_to_symbol(State(app): Shared, Query(query): Query<TokenQuery>) -> Response {
    let Some(Ok(token)) = query.token.as_deref().map(str::parse) else {
        return error(StatusCode::BAD_REQUEST, "token: a number is needed; for example ?token=738561");
    };
    match app.context.instruments.load().by_token(token) {
        Some(found) => answer(StatusCode::OK, describe(found)),
        None => error(StatusCode::NOT_FOUND, format!("token: {token} is not in the instrument list")),
    }
}

#[derive(Deserialize)]
struct SearchQuery {
    q: Option<String>,
    exchange: Option<String>,
    limit: Option<usize>,
}

/// Most instruments one search returns.
const SEARCH_LIMIT: usize = 1_000;

async fn search(State(app): Shared, Query(query): Query<SearchQuery>) -> Json<Value> {
    let instruments = app.context.instruments.load();
    let limit = query.limit.unwrap_or(20).min(SEARCH_LIMIT);
    let found: Vec<Value> = match query.q.as_deref().map(str::trim).unwrap_or_default() {
        // Nothing to search for: the first ones.
        "" => instruments.iter().take(limit).map(describe).collect(),
        text => instruments.search(text, query.exchange.as_deref(), limit).into_iter().map(describe).collect(),
    };
    Json(json!({"instruments": found, "total": instruments.len()}))
}

async fn market_status(State(app): Shared) -> Json<Value> {
    Json(market_hours::status(&app.hours, app.context.clock.unix_seconds() as i64))
}

async fn prometheus(State(app): Shared) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::text(&app)).into_response()
}

async fn latencies(State(app): Shared) -> Json<Value> {
    Json(app.with_histograms(latency::report))
}

async fn latency_file(State(app): Shared, Path(file): Path<String>) -> Response {
    let stop = Stop::ALL.into_iter().find(|stop| file.strip_suffix(".hgrm") == Some(stop.name()));
    let Some(stop) = stop else {
        let names: Vec<String> = Stop::ALL.iter().map(|stop| format!("{}.hgrm", stop.name())).collect();
        return error(StatusCode::NOT_FOUND, format!("no such file; there are {}", names.join(", ")));
    };
    let text = app.with_histograms(|collector| latency::hgrm(collector.since_start().of(stop)));
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// An instrument in the field names of Kite's dump.
fn describe(found: &Instrument) -> Value {
    json!({
        "instrument_token": found.token.0,
        "exchange_token": found.exchange_token,
        "tradingsymbol": &*found.symbol,
        "name": &*found.name,
        "exchange": &*found.exchange,
        "segment": &*found.segment,
        "instrument_type": &*found.instrument_type,
        "expiry": &*found.expiry,
        "strike": found.strike,
        "tick_size": found.tick_size,
        "lot_size": found.lot_size,
        // The replies of the service replaced had these two names.
        "token": found.token.0,
        "symbol": &*found.symbol,
    })
}
