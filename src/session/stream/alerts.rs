//! Alerts begin and end.

use super::{Stream, UNKNOWN_TOKEN};
use crate::session::door::Change;
use crate::wire::request::RegisterAlert;
use serde_json::json;
use std::sync::Arc;

impl Stream {
    pub(super) async fn register_alert(&mut self, request: RegisterAlert) {
        if !self.is_known(request.token) {
            return self.refuse_field("alert.token", UNKNOWN_TOKEN).await;
        }
        let token = request.token;
        if let Err(refusal) = self.connection.holding.also(token) {
            return self.refuse_room("alert.token", refusal).await;
        }
        let inbox = self.connection.inbox();
        // The tab must know its inbox before anything is posted to it.
        self.connection.change(Change { inbox: Some(Arc::clone(&inbox)), ..Change::default() }).await;
        match self.charts.watch(request, &inbox).await {
            Ok(reply) => self.say(&reply).await,
            Err((field, allowed)) => {
                self.connection.holding.no_longer(token);
                self.refuse_field(&field, &allowed).await;
            }
        }
    }

    pub(super) async fn remove_alert(&mut self, id: &str) {
        match self.charts.unwatch(id).await {
            Some(token) => {
                self.connection.holding.no_longer(token);
                self.say(&json!({"type": "alert_removed", "alert_id": id})).await;
            }
            None => self.refuse_field("alert_id", "no alert of this connection has this id").await,
        }
    }
}
