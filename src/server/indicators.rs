//! `/indicators/*`: upgrades are elsewhere; here is what is asked by HTTP.
//!
//! Who asks shows an API key or a token. `POST subscribe` and `unsubscribe` act on the set of the key's client, which
//! all its connections to `/indicators/stream` deliver. With a token they act on a set of that user, which no connection
//! delivers, since on `/indicators/v2/stream` tabs share nothing: it is what `GET current` tells when it names no
//! indicators.

use super::app::App;
use super::http::{Shared, answer};
use super::peer::Peer;
use super::upgrade::refused;
use crate::identity::principal::{Principal, Proof};
use crate::identity::refusal::Refusal;
use crate::market::Timeframe;
use crate::market::indicator::IndicatorId;
use crate::session::context::Context;
use crate::session::indicators::problem::{Asked, Problem};
use crate::session::indicators::question::Question;
use crate::session::indicators::reply::{self, now};
use crate::wire::indicator_request::{self as wire, Batch, Fault, Unwanted, Wanted};
use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Longest body.
pub(super) const MAX_BODY: usize = 64 * 1_024;
/// Most bars back.
const MAX_LOOKBACK: usize = 500;

/// What goes wrong.
pub(super) enum Failure {
    Refused(Refusal),
    Problem(Asked, Problem),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Asked::Other, problem)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Problem::from(fault).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(refusal) => refused(refusal),
            Self::Problem(asked, problem) => {
                let status = StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::BAD_REQUEST);
                let mut body = problem.message(asked);
                // What other pages of this server call it.
                body["error"] = body["message"].clone();
                answer(status, body)
            }
        }
    }
}

pub(super) type Answer = Result<Json<Value>, Failure>;

/// Does the work for whoever may ask; where nobody need show anything, nobody does. In a task of its own: it is done to the
/// end also where the client has gone, and nothing is left behind.
async fn answered<Work>(
    app: Arc<App>,
    peer: Peer,
    request: Request,
    work: impl FnOnce(Arc<Context>, Principal, Request) -> Work + Send + 'static,
) -> Answer
where
    Work: Future<Output = Answer> + Send,
{
    let task = tokio::spawn(async move {
        let context = Arc::clone(&app.context);
        let (parts, body) = request.into_parts();
        let who = context.gate.admit(&parts, peer.ip).await?;
        let who = who.ok_or_else(|| context.gate.counters.refuse(Refusal::Missing))?;
        work(context, who, Request::from_parts(parts, body)).await
    });
    task.await.unwrap_or_else(|_| Err(Problem::stopping().into()))
}

/// What a body asks for in the name of somebody, who must have one.
async fn body_of(who: &Principal, context: &Context, request: Request) -> Result<Value, Failure> {
    if who.proof == Proof::Anonymous {
        return Err(context.gate.counters.refuse(Refusal::Missing).into());
    }
    body(request).await
}

async fn body(request: Request) -> Result<Value, Failure> {
    let allowed = format!("a JSON object of at most {MAX_BODY} bytes");
    let bytes = Bytes::from_request(request, &()).await.map_err(|_| Fault::field_of("body", None, allowed))?;
    Ok(wire::object(&bytes)?)
}

/// `POST /indicators/subscribe`.
pub(super) async fn subscribe(State(app): Shared, Extension(peer): Extension<Peer>, request: Request) -> Answer {
    answered(app, peer, request, async move |context, who, request| {
        let wanted: Wanted = wire::wanted(&body_of(&who, &context, request).await?)?;
        let set = context.indicators.clients.of(&context, &who);
        let refused = |problem| Failure::Problem(Asked::Subscribe, problem);
        set.subscribe(&context, &who.permissions, &wanted).await.map_err(refused)?;
        let question = Question::new(&context, &who, wanted.symbol, &wanted.indicators).map_err(refused)?;
        let values = question.current(wanted.timeframe, &wanted.indicators).await.map_err(refused)?;
        let values = values.into_iter().map(|(id, mut known)| (id, known["value"].take())).collect();
        Ok(Json(reply::subscribed("subscriptions", &wanted.indicators, values)))
    })
    .await
}

/// `POST /indicators/unsubscribe`.
pub(super) async fn unsubscribe(State(app): Shared, Extension(peer): Extension<Peer>, request: Request) -> Answer {
    answered(app, peer, request, async move |context, who, request| {
        let unwanted: Unwanted = wire::unwanted(&body_of(&who, &context, request).await?)?;
        let set = context.indicators.clients.of(&context, &who);
        let removed = set.unsubscribe(&context, &who.permissions, &unwanted).await;
        let removed = removed.map_err(|problem| Failure::Problem(Asked::Unsubscribe, problem))?;
        Ok(Json(reply::client_unsubscribed(&removed)))
    })
    .await
}

/// Fields of the queries, as they were written.
#[derive(Deserialize, Default)]
pub(super) struct Fields {
    symbol: Option<String>,
    timeframe: Option<String>,
    indicator: Option<String>,
    indicators: Option<String>,
    lookback: Option<String>,
    offset: Option<String>,
}

impl Fields {
    fn series(&self) -> Result<(String, Timeframe, String), Failure> {
        let symbol = wire::symbol(&self.symbol.as_deref().into())?;
        let text = self.timeframe.as_deref();
        let text = text.ok_or_else(|| Fault::field_of("timeframe", None, "a timeframe such as 5min is needed"))?;
        Ok((symbol, wire::timeframe_of(text)?, text.to_owned()))
    }

    fn indicators(&self) -> Result<Vec<IndicatorId>, Fault> {
        wire::indicator_list(self.indicators.as_deref().unwrap_or_default())
    }
}

fn number(field: &'static str, given: Option<&str>, least: usize) -> Result<usize, Fault> {
    let number = given.and_then(|text| text.parse().ok()).filter(|number| (least..=MAX_LOOKBACK).contains(number));
    number.ok_or_else(|| Fault::field_of(field, given, format!("a number of bars from {least} to {MAX_LOOKBACK}")))
}

/// `GET /indicators/current`.
pub(super) async fn current(
    State(app): Shared,
    Extension(peer): Extension<Peer>,
    Query(fields): Query<Fields>,
    request: Request,
) -> Answer {
    answered(app, peer, request, async move |context, who, _| {
        let (symbol, timeframe, text) = fields.series()?;
        let ids = match fields.indicators {
            None if who.proof != Proof::Anonymous => subscribed(&context, &who, &symbol, timeframe).await?,
            _ => fields.indicators()?,
        };
        let question = Question::new(&context, &who, symbol.clone(), &ids)?;
        let values = question.current(timeframe, &ids).await?;
        Ok(Json(json!({"symbol": symbol, "timeframe": text, "timestamp": now(&context.clock), "values": values})))
    })
    .await
}

/// What somebody has subscribed to of a timeframe of an instrument.
async fn subscribed(
    context: &Context,
    who: &Principal,
    symbol: &str,
    timeframe: Timeframe,
) -> Result<Vec<IndicatorId>, Failure> {
    let entries = context.indicators.clients.of(context, who).entries().await;
    let token = context.instruments.load().resolve(symbol).map(|found| found.token);
    let entry = token.and_then(|token| entries.get(&(token, timeframe)));
    let none = "ids with commas between, such as RSI_14,SMA_20, since nothing is subscribed";
    Ok(entry.map(|entry| entry.indicators.clone()).ok_or_else(|| Fault::field_of("indicators", None, none))?)
}

/// `GET /indicators/history`.
pub(super) async fn history(
    State(app): Shared,
    Extension(peer): Extension<Peer>,
    Query(fields): Query<Fields>,
    request: Request,
) -> Answer {
    answered(app, peer, request, async move |context, who, _| {
        let (symbol, timeframe, text) = fields.series()?;
        let given = fields.indicator.as_deref();
        let given = given.ok_or_else(|| Fault::field_of("indicator", None, "an id such as RSI_14 is needed"))?;
        let id: IndicatorId = given.parse().map_err(Fault::Indicator)?;
        let lookback = number("lookback", fields.lookback.as_deref(), 1)?;
        let question = Question::new(&context, &who, symbol.clone(), &[id])?;
        let series = question.history(timeframe, &id, lookback).await?;
        Ok(Json(json!({"symbol": symbol, "timeframe": text, "indicator_id": id.to_string(), "lookback": lookback,
            "series": series})))
    })
    .await
}

/// `GET /indicators/at-offset`.
pub(super) async fn at_offset(
    State(app): Shared,
    Extension(peer): Extension<Peer>,
    Query(fields): Query<Fields>,
    request: Request,
) -> Answer {
    answered(app, peer, request, async move |context, who, _| {
        let (symbol, timeframe, text) = fields.series()?;
        let ids = fields.indicators()?;
        let offset = number("offset", fields.offset.as_deref(), 0)?;
        let question = Question::new(&context, &who, symbol.clone(), &ids)?;
        let values = question.at_offset(timeframe, &ids, offset).await?;
        Ok(Json(json!({"symbol": symbol, "timeframe": text, "offset": offset, "values": values})))
    })
    .await
}

/// `POST /indicators/batch`: what indicators of one symbol say now in several timeframes.
pub(super) async fn batch(State(app): Shared, Extension(peer): Extension<Peer>, request: Request) -> Answer {
    answered(app, peer, request, async move |context, who, request| {
        let Batch { symbol, timeframes, indicators: ids } = wire::batch(&body(request).await?)?;
        let question = Question::new(&context, &who, symbol.clone(), &ids)?;
        let mut all = Map::new();
        for (timeframe, text) in timeframes {
            all.insert(text, json!({"values": question.current(timeframe, &ids).await?}));
        }
        Ok(Json(json!({"symbol": symbol, "timestamp": now(&context.clock), "timeframes": all})))
    })
    .await
}

/// Different indicators by instrument, as one would write its symbol.
fn by_symbol(context: &Context) -> (Map<String, Value>, crate::session::indicators::ledger::Totals) {
    let totals = context.indicators.ledger.totals();
    let instruments = context.instruments.load();
    let name = |token: u32| match instruments.by_token(token) {
        Some(found) if &*found.exchange == "NSE" => found.symbol.to_string(),
        Some(found) => format!("{}:{}", found.exchange, found.symbol),
        None => token.to_string(),
    };
    let counts = totals.by_instrument.iter().map(|(token, count)| (name(token.0), Value::from(*count))).collect();
    (counts, totals)
}

/// `GET /indicators/v2/health`.
pub(super) async fn health(State(app): Shared) -> Json<Value> {
    let (counts, totals) = by_symbol(&app.context);
    Json(json!({"status": "healthy", "active_sessions": totals.connections, "unique_indicators": totals.indicators,
        "unique_users": totals.users, "indicators_by_symbol": counts, "timestamp": now(&app.context.clock)}))
}

/// `GET /indicators/v2/stats`.
pub(super) async fn stats(State(app): Shared) -> Json<Value> {
    let (counts, totals) = by_symbol(&app.context);
    Json(json!({"total_connections": totals.connections, "total_unique_indicators": totals.indicators,
        "total_unique_users": totals.users, "indicators_by_symbol": counts, "timestamp": now(&app.context.clock)}))
}
