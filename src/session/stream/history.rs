//! Closed candles that a client asks for.

use super::{Stream, UNKNOWN_TOKEN};
use crate::market::Timeframe;
use crate::wire::derived::candle_value;
use crate::wire::request::HistoryRequest;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a request waits for a history that is being loaded.
const HISTORY_WAIT: Duration = Duration::from_secs(15);

impl Stream {
    pub(super) async fn history(&mut self, request: HistoryRequest) {
        let HistoryRequest { token, timeframe: text, count } = request;
        let timeframe = match text.parse::<Timeframe>() {
            Ok(timeframe) => timeframe,
            Err(error) => return self.refuse_field("timeframe", &error.to_string()).await,
        };
        if !self.is_known(token) {
            return self.refuse_field("token", UNKNOWN_TOKEN).await;
        }
        // While it is asked for, the engine has the instrument for it.
        if let Err(refusal) = self.connection.holding.also(token) {
            return self.refuse_room("token", refusal).await;
        }
        let bars = tokio::time::timeout(HISTORY_WAIT, self.context.engine.bars(token, timeframe, count));
        let bars = tokio::select! {
            bars = bars => bars,
            // The reading loop tells it.
            _ = self.connection.watch.over() => return,
        };
        self.connection.holding.no_longer(token);
        let closed = match bars {
            Ok(Ok(bars)) => bars.closed,
            Ok(Err(error)) => return self.refuse_field("action", &error.to_string()).await,
            Err(_) => return self.refuse_field("action", "the history takes too long; ask again").await,
        };
        let candles: Vec<Value> = closed.iter().map(|candle| candle_value(token, candle)).collect();
        self.say(&json!({"type": "history", "token": token.to_string(), "timeframe": text, "count": candles.len(),
            "candles": candles}))
            .await;
    }
}
