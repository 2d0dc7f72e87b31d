//! Indicators by HTTP: what they say now, and what they said of bars before, by the same code as live.

use super::instrument::instrument;
use super::problem::{Kind, Problem};
use super::reply::now;
use crate::engine::command::{Topic, Wish};
use crate::engine::core::value;
use crate::engine::track::{Bars, bar};
use crate::engine::view::{Subscriber, Wording};
use crate::fanout::mail::Mail;
use crate::fanout::port::Port;
use crate::fanout::ring::Ring;
use crate::fanout::series::Subscription;
use crate::fanout::slot::Inbox;
use crate::identity::principal::Principal;
use crate::market::indicator::{Indicator, IndicatorId, Outputs};
use crate::market::{InstrumentToken, Timeframe};
use crate::session::admission::Holding;
use crate::session::context::Context;
use crate::wire::Format;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;

/// How long a question waits for a history that is being loaded.
const PATIENCE: Duration = Duration::from_secs(15);

/// A timeframe of an instrument that somebody asks about.
#[derive(Debug)]
pub struct Question<'a> {
    context: &'a Context,
    token: InstrumentToken,
    symbol: String,
    _turn: SemaphorePermit<'a>,
    /// Its place upstream counts as the user's while it is asked about.
    _holding: Holding,
}

impl<'a> Question<'a> {
    /// A question about these indicators of an instrument.
    ///
    /// # Errors
    /// When they may not be had, are not there, or too many questions are asked at a time.
    pub fn new(
        context: &'a Context,
        who: &Principal,
        symbol: String,
        indicators: &[IndicatorId],
    ) -> Result<Self, Problem> {
        let token = instrument(context, &who.permissions, &symbol, indicators)?;
        let turn = context.indicators.questions.try_acquire();
        let turn = turn.map_err(|_| {
            Problem::of(Kind::Busy, "symbol", format!("{} questions are asked at a time; try again", super::QUESTIONS))
        })?;
        let mut holding = context.admission.holding(&who.user);
        holding.add(&[token]).map_err(|refusal| Problem::limit("symbol", refusal.limit(), refusal))?;
        Ok(Self { context, token, symbol, _turn: turn, _holding: holding })
    }

    /// What they say now: the value of the stream, which is computed until nobody has asked for a while.
    ///
    /// # Errors
    /// When the engine has no room, or its history does not come.
    pub async fn current(&self, timeframe: Timeframe, ids: &[IndicatorId]) -> Result<Map<String, Value>, Problem> {
        let (mut known, first) = self.ask(timeframe, ids).await?;
        // Kept until the end: what was begun goes on meanwhile.
        let mut asked = vec![first];
        let at_once = known.clone();
        if ids.iter().any(|id| !known.contains_key(&id.to_string())) {
            self.bars(timeframe, 1).await?;
            let (again, second) = self.ask(timeframe, ids).await?;
            asked.push(second);
            known = again;
        }
        self.context.engine.end(asked).await;
        let values = ids.iter().map(|id| {
            let id = id.to_string();
            let cached = at_once.contains_key(&id);
            let value = match known.remove(&id) {
                Some(update) => json!({"value": update["value"], "timestamp": update["timestamp"],
                    "candle_time": update["candle_time"], "closed": update["closed"], "warm": update["warm"],
                    "cached": cached}),
                // No bar has been seen yet.
                None => json!({"value": null, "timestamp": now(&self.context.clock), "cached": false}),
            };
            (id, value)
        });
        Ok(values.collect())
    }

    /// Subscribes, and reads what that is answered with.
    async fn ask(
        &self,
        timeframe: Timeframe,
        ids: &[IndicatorId],
    ) -> Result<(HashMap<String, Value>, Arc<Subscription>), Problem> {
        let inbox = Arc::new(Inbox::new(Ring::new(1), 0, Arc::new(Port::new(1))));
        let of: Arc<Subscription> = Arc::default();
        let wishes = ids.iter().map(|id| Wish {
            topic: Topic::Indicator { token: self.token, timeframe, id: *id },
            wording: Wording { symbol: self.symbol.as_str().into(), timeframe: timeframe.name().into() },
            subscriber: Subscriber { of: Arc::clone(&of), inbox: Arc::clone(&inbox), format: Format::Json },
            since: None,
        });
        let granted = self.context.engine.begin(wishes.collect()).await.map_err(|_| Problem::stopping())?;
        if let Some(full) = granted.into_iter().find_map(Result::err) {
            self.context.engine.end(vec![of]).await;
            return Err(Problem::full(full));
        }
        let updates = std::iter::from_fn(|| inbox.mail.take()).filter_map(Mail::open);
        let updates =
            updates.filter_map(|message| serde_json::from_slice::<Value>(message.frame(Format::Json)?.1).ok());
        let known = updates.filter_map(|update| Some((update["indicator_id"].as_str()?.to_owned(), update.clone())));
        Ok((known.collect(), of))
    }

    async fn bars(&self, timeframe: Timeframe, count: usize) -> Result<Bars, Problem> {
        match tokio::time::timeout(PATIENCE, self.context.engine.bars(self.token, timeframe, count)).await {
            Ok(bars) => bars.map_err(|_| Problem::stopping()),
            Err(_) => Err(Problem::of(Kind::Busy, "timeframe", "its history takes too long; ask again")),
        }
    }

    /// What one said of the newest `lookback` closed bars, the oldest first. The newest closed bar is 1 back; 0 is the one
    /// that forms, which is for [`Self::current`].
    ///
    /// # Errors
    /// When the history does not come.
    pub async fn history(
        &self,
        timeframe: Timeframe,
        id: &IndicatorId,
        lookback: usize,
    ) -> Result<Vec<Value>, Problem> {
        let bars = self.bars(timeframe, lookback + id.bars_wanted()).await?;
        let mut indicator = Indicator::new(id);
        let all = bars.closed.len();
        let mut series = Vec::with_capacity(lookback.min(all));
        for (at, candle) in bars.closed.iter().enumerate() {
            let outputs = indicator.update(&bar(self.token, candle));
            let back = all - at;
            if back <= lookback {
                series.push(json!({"time": candle.start, "value": value(&outputs), "candles_back": back,
                    "warm": indicator.is_warm()}));
            }
        }
        Ok(series)
    }

    /// What they said `offset` bars ago: 0 is the bar that forms (the last closed one where none does), 1 the last closed.
    ///
    /// # Errors
    /// When the history does not come.
    pub async fn at_offset(
        &self,
        timeframe: Timeframe,
        ids: &[IndicatorId],
        offset: usize,
    ) -> Result<Map<String, Value>, Problem> {
        let wanted = ids.iter().map(IndicatorId::bars_wanted).max().unwrap_or(0);
        let bars = self.bars(timeframe, offset + wanted).await?;
        let closed = bars.closed.len().saturating_sub(offset.saturating_sub(1));
        let forming = bars.forming.filter(|_| offset == 0);
        let said = |id: &IndicatorId| -> (Option<Outputs>, Option<i64>) {
            let mut indicator = Indicator::new(id);
            let mut last = (None, None);
            for candle in bars.closed.iter().take(closed) {
                last = (Some(indicator.update(&bar(self.token, candle))), Some(candle.start));
            }
            match forming {
                Some(candle) => (Some(indicator.peek(&bar(self.token, &candle))), Some(candle.start)),
                None => last,
            }
        };
        let values = ids.iter().map(|id| {
            let (outputs, time) = said(id);
            let value = outputs.as_ref().map_or(Value::Null, value);
            (id.to_string(), json!({"value": value, "time": time}))
        });
        Ok(values.collect())
    }
}
