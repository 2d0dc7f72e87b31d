//! Who the client is, told or told anew on the connection.

use super::{Stream, as_strings};
use crate::identity::principal::Proof;
use crate::identity::refusal::Refusal;
use crate::secret::Secret;
use crate::wire::Encoding;
use crate::wire::close::Close;
use rustc_hash::FxHashSet;
use serde_json::json;
use std::sync::Arc;

impl Stream {
    /// A bad token ends the connection: it is refused at the handshake, and this is the handshake of clients that cannot
    /// put one there.
    pub(super) async fn authenticate(&mut self, token: &Secret) -> Result<(), Close> {
        if !self.context.gate.is_configured() {
            self.refuse_field("action", "auth: no authentication is configured; everybody is anonymous").await;
        } else if self.connection.watch.principal().proof != Proof::Anonymous {
            self.refuse_field("action", "auth: this connection is known already; refresh takes a newer token").await;
        } else {
            self.connection.authenticate(token).await.map_err(Refusal::close)?;
            self.settle("authenticated").await;
            self.resume_from_query().await;
        }
        Ok(())
    }

    pub(super) async fn refresh(&mut self, token: &Secret) {
        if self.connection.watch.principal().proof == Proof::Anonymous {
            return self.refuse_field("action", "refresh: there is no token to replace; auth takes the first").await;
        }
        match self.connection.refresh(token).await {
            Ok(()) => self.settle("refreshed").await,
            // The token at hand goes on until its own end.
            Err(refusal) => self.refuse_field("token", refusal.close().reason()).await,
        }
    }

    /// Takes over what the principal may do now, and tells what that has taken away.
    pub(super) async fn settle(&mut self, kind: &str) {
        let principal = Arc::clone(self.connection.watch.principal());
        let permissions = principal.permissions;
        let mut kept: Vec<_> = self.slots.keys().copied().filter(|token| permissions.allows(*token)).collect();
        kept.sort_unstable();
        kept.truncate(permissions.max_tokens);
        let dropped: Vec<_> = {
            let kept: FxHashSet<_> = kept.iter().collect();
            self.slots.values().filter(|slot| !kept.contains(&slot.token)).cloned().collect()
        };
        let (mode, all) = (self.mode.min(permissions.mode), self.all && permissions.firehose);
        let every = self.every && permissions.firehose;
        let changed = !dropped.is_empty() || mode != self.mode || all != self.all || every != self.every;
        let alerts = self.charts.unwatch_others(|token| permissions.allows(token)).await;
        alerts.iter().for_each(|(_, token)| self.connection.holding.no_longer(*token));
        let mut gone: Vec<_> = dropped.iter().map(|slot| slot.token).collect();
        gone.sort_unstable();
        let mut message = json!({"type": kind, "user": principal.user, "expires_at": principal.expires_at,
            "unsubscribed": as_strings(&gone), "mode": mode.name(), "all": all});
        if !alerts.is_empty() {
            message["alerts_removed"] = alerts.iter().map(|(id, _)| &**id).collect();
        }
        if !changed {
            return self.say(&message).await;
        }
        let (inbox, encoding) = (self.connection.inbox(), Encoding { format: self.format, mode });
        if self.all && !all {
            self.context.board.unsubscribe_all(&inbox);
        } else if !all {
            self.context.board.unsubscribe(&inbox, &dropped);
        }
        dropped.iter().for_each(|slot| drop(self.slots.remove(&slot.token)));
        let slots = if all {
            self.context.board.subscribe_all(&inbox, encoding)
        } else {
            self.context.board.subscribe(&inbox, &kept, encoding)
        };
        if self.every && !every {
            self.plan.timeframes.clear();
        }
        (self.mode, self.all, self.every) = (mode, all, every);
        // What is left is no more than what it had, so there is room for it.
        if !self.wants_everything() {
            self.connection.holding.end_everything();
        }
        let _ = self.connection.holding.replace(&kept);
        self.plan.tokens = (!all && !every).then_some(kept);
        self.charts.end_others(&self.plan).await;
        self.show_filter();
        self.replace(slots, &inbox, &message).await;
        self.charts.begin(&self.plan, &inbox).await;
        self.remember();
    }
}
