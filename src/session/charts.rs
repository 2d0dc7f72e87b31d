//! What a connection has of the engine: candles and alerts.

use crate::engine::Engine;
use crate::engine::alert::{Alert, Condition};
use crate::engine::command::{Since, Topic, Wish};
use crate::engine::view::{Subscriber, Wording};
use crate::fanout::series::Subscription;
use crate::fanout::slot::Inbox;
use crate::market::{InstrumentToken, Timeframe};
use crate::wire::Format;
use crate::wire::request::RegisterAlert;
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Value, json};
use std::sync::Arc;

/// Most alerts of one connection.
const MAX_ALERTS: usize = 200;

/// Candles that are wanted together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Of which instruments; `None` for all there are and will be.
    pub tokens: Option<Vec<InstrumentToken>>,
    /// Timeframes, and how the client wrote them.
    pub timeframes: Vec<(Timeframe, String)>,
    /// Also while they form.
    pub live: bool,
    /// How they are written.
    pub format: Format,
}

impl Plan {
    /// No candles.
    pub const fn none() -> Self {
        Self { tokens: Some(Vec::new()), timeframes: Vec::new(), live: false, format: Format::Json }
    }
}

/// What tells one subscription from another: a change of any part is another subscription.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Part {
    token: Option<InstrumentToken>,
    timeframe: Timeframe,
    text: String,
    live: bool,
    format: Format,
}

/// See the module. Control side.
#[derive(Debug)]
pub struct Charts {
    engine: Arc<Engine>,
    parts: FxHashMap<Part, Arc<Subscription>>,
    alerts: FxHashMap<Arc<str>, InstrumentToken>,
}

impl Charts {
    /// Of a connection that has nothing yet.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, parts: FxHashMap::default(), alerts: FxHashMap::default() }
    }

    /// Ends what the plan does not have any more. Before the reply that says so.
    pub async fn end_others(&mut self, plan: &Plan) {
        let tokens: Option<FxHashSet<_>> = plan.tokens.as_ref().map(|tokens| tokens.iter().collect());
        let wanted = |part: &Part| {
            let token = match (&tokens, &part.token) {
                (None, None) => true,
                (Some(tokens), Some(token)) => tokens.contains(token),
                _ => false,
            };
            let timeframe = plan.timeframes.iter().any(|(own, text)| *own == part.timeframe && *text == part.text);
            token && timeframe && part.live == plan.live && part.format == plan.format
        };
        let over: Vec<_> = self.parts.extract_if(|part, _| !wanted(part)).map(|(_, of)| of).collect();
        self.engine.end(over).await;
    }

    /// Begins what the plan has and the connection has not. Behind the reply.
    pub async fn begin(&mut self, plan: &Plan, inbox: &Arc<Inbox>) {
        self.begin_since(plan, inbox, |_, _| None).await;
    }

    /// The same for a client that comes back and has bars up to what `since` says of an instrument (`None` for all) and
    /// a timeframe; returns whether closed bars may be missing. Before the reply, to a tab that has no inbox yet: so they
    /// come behind it.
    pub async fn begin_since(
        &mut self,
        plan: &Plan,
        inbox: &Arc<Inbox>,
        since: impl Fn(Option<InstrumentToken>, &str) -> Option<Since>,
    ) -> bool {
        let tokens: Vec<Option<InstrumentToken>> = match &plan.tokens {
            None => vec![None],
            Some(tokens) => tokens.iter().copied().map(Some).collect(),
        };
        let mut wishes = Vec::new();
        for (timeframe, text) in &plan.timeframes {
            for token in &tokens {
                let (token, timeframe, live, format) = (*token, *timeframe, plan.live, plan.format);
                let part = Part { token, timeframe, text: text.clone(), live, format };
                if self.parts.contains_key(&part) {
                    continue;
                }
                let of: Arc<Subscription> = Arc::default();
                self.parts.insert(part, Arc::clone(&of));
                wishes.push(Wish {
                    topic: match token {
                        Some(token) => Topic::Candles { token, timeframe, live },
                        None => Topic::AllCandles { timeframe, live },
                    },
                    wording: Wording { symbol: "".into(), timeframe: text.as_str().into() },
                    subscriber: Subscriber { of, inbox: Arc::clone(inbox), format },
                    since: since(token, text),
                });
            }
        }
        if wishes.is_empty() {
            return false;
        }
        // An engine that has stopped has nothing to say, and the connection is about to end as well.
        let granted = self.engine.begin(wishes).await.unwrap_or_default();
        granted.iter().flatten().any(|known| known.gap)
    }

    /// Registers an alert; returns the reply, or what is wrong: a field and what may stand there.
    pub async fn watch(&mut self, request: RegisterAlert, inbox: &Arc<Inbox>) -> Result<Value, (String, String)> {
        if self.alerts.len() >= MAX_ALERTS {
            return Err(("alert".into(), format!("at most {MAX_ALERTS} alerts for one connection")));
        }
        let condition = Condition::parse(&request.kind, &request.params)
            .map_err(|error| (format!("alert.{}", error.field), error.allowed))?;
        let timeframe = match (&condition, request.timeframe) {
            (Condition::Price(_), None) => None,
            // The bars of a minute, unless others are named.
            (_, None) => Some((Timeframe::Min1, Timeframe::Min1.name().to_owned())),
            (condition, Some(text)) => {
                let timeframe =
                    text.parse::<Timeframe>().map_err(|error| ("alert.timeframe".to_owned(), error.to_string()))?;
                (!matches!(condition, Condition::Price(_))).then_some((timeframe, text))
            }
        };
        let id: Arc<str> = uuid::Uuid::new_v4().to_string().into();
        let alert = Alert {
            id: Arc::clone(&id),
            inbox: Arc::clone(inbox),
            token: request.token,
            timeframe,
            condition,
            params: request.params,
        };
        self.engine.watch(alert).await.map_err(|full| ("alert".to_owned(), full.to_string()))?;
        self.alerts.insert(Arc::clone(&id), request.token);
        Ok(json!({"type": "alert_registered", "alert_id": &*id}))
    }

    /// Removes an alert; returns its instrument, or `None` when the connection has none of that id. One that has fired is
    /// removed all the same.
    pub async fn unwatch(&mut self, id: &str) -> Option<InstrumentToken> {
        let (id, token) = self.alerts.remove_entry(id)?;
        self.engine.unwatch(token, id).await;
        Some(token)
    }

    /// Removes the alerts on instruments that may not be had any more; returns their ids, in order, and instruments.
    pub async fn unwatch_others(
        &mut self,
        allowed: impl Fn(InstrumentToken) -> bool,
    ) -> Vec<(Arc<str>, InstrumentToken)> {
        let mut over: Vec<_> = self.alerts.extract_if(|_, token| !allowed(*token)).collect();
        over.sort_unstable();
        for (id, token) in &over {
            self.engine.unwatch(*token, Arc::clone(id)).await;
        }
        over
    }

    /// Ends everything: the connection has ended.
    pub async fn end(mut self) {
        self.engine.end(self.parts.drain().map(|(_, of)| of).collect()).await;
        for (id, token) in self.alerts.drain() {
            self.engine.unwatch(token, id).await;
        }
    }
}
