//! A client that comes back: see [`crate::resume`].

use super::Stream;
use crate::account::analytics::Topics;
use crate::engine::view::Wording;
use crate::market::indicator::IndicatorId;
use crate::session::indicators::problem::{Asked, Kind, Problem};
use crate::session::indicators::reply;
use crate::session::indicators::subscriptions::Inventory;
use crate::wire::close::Close;
use crate::wire::resume::ResumeRequest;

impl Stream {
    /// Gives a client that comes back what it had, as far as it may have it still, and what it missed. An error ends the
    /// connection, which would be without what its set has.
    pub(super) async fn resume(&mut self, request: ResumeRequest) -> Result<(), Close> {
        let Some(desk) = &mut self.desk else { return Ok(()) };
        if self.connection.ticket.token().is_some() {
            let problem = Problem::of(Kind::Bad, "action", "resume: only on a new connection, before it subscribes");
            self.say(&problem.message(Asked::Other)).await;
            return Ok(());
        }
        let (state, comeback) = match self.connection.restore(request).await {
            Ok(restored) => restored,
            Err(refused) => {
                self.say(&Problem::resume(refused).message(Asked::Other)).await;
                return Ok(());
            }
        };
        let (context, permissions) = (&self.context, self.connection.watch.principal().permissions);
        let kept = Inventory { groups: state.indicators, changed_at: state.changed_at };
        desk.subscriptions.leave(context, desk.member).await;
        let lost = desk.subscriptions.restore(context, &permissions, kept).await;
        let since = |wording: &Wording| Some(comeback.since(&wording.symbol, &wording.timeframe));
        let (inbox, bell) = (self.connection.inbox(), &self.connection.bell);
        let joined = match desk.subscriptions.join(context, &permissions, (&inbox, bell), since).await {
            Ok(joined) => joined,
            Err(problem) => {
                tracing::warn!(%problem, "a session could not be resumed");
                return Err(Close::Unavailable);
            }
        };
        desk.member = joined.id;
        let indicators: Vec<IndicatorId> =
            joined.values.iter().flat_map(|(entry, _)| entry.indicators.iter().copied()).collect();
        let mut reply = reply::resumed(&self.id, joined, &lost, comeback.had_until());
        if let Some(token) = self.connection.ticket.token() {
            reply["data"]["resume_token"] = token.reveal().into();
        }
        self.connection.heard();
        self.note().await;
        self.connection.count_topics(Topics::Indicators, &indicators);
        self.say(&reply).await;
        Ok(())
    }
}
