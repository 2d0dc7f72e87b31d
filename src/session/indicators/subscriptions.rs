//! One set of subscriptions, and the connections it is delivered to: of a tab (v2) to that tab alone, of an API key's
//! client (legacy) to all its connections.
//!
//! What is subscribed is plain data ([`Entry`] by instrument and timeframe); the engine's subscriptions are made from it
//! for each connection. A request is granted whole or not at all.

use super::instrument::{instrument, may_have, resolve};
use super::ledger::{Computation, Share};
use super::problem::Problem;
use crate::engine::command::{Granted, Known, Since, Topic, Wish};
use crate::engine::view::{Subscriber, Wording};
use crate::fanout::series::Subscription;
use crate::fanout::slot::Inbox;
use crate::identity::permissions::Permissions;
use crate::market::indicator::IndicatorId;
use crate::market::{InstrumentToken, Timeframe};
use crate::resume::IndicatorState;
use crate::session::admission::Holding;
use crate::session::context::Context;
use crate::wire::Format;
use crate::wire::indicator_request::{Unwanted, Wanted};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};

/// A timeframe of an instrument.
pub type SeriesKey = (InstrumentToken, Timeframe);

/// What is subscribed of one timeframe of an instrument. Plain data.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// In the client's words.
    pub wording: Wording,
    /// Which indicators, in the client's order, each once.
    pub indicators: Vec<IndicatorId>,
}

/// What was taken away.
#[derive(Clone, PartialEq, Debug)]
pub struct Removed {
    /// In the client's words.
    pub wording: Wording,
    /// Which indicator.
    pub id: IndicatorId,
}

/// What there is, as it outlives the set.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Inventory {
    /// A group for each timeframe of an instrument.
    pub groups: Vec<IndicatorState>,
    /// When they were changed last, Unix seconds; 0 for never.
    pub changed_at: f64,
}

/// A connection's number in its set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberId(u64);

/// A connection that has joined.
#[derive(Debug)]
pub struct Joined {
    /// Its number.
    pub id: MemberId,
    /// What was known of each entry, by indicator: `null` for what was not.
    pub values: Vec<(Entry, Map<String, Value>)>,
    /// Values of closed bars may be missing from those that were asked for.
    pub gap: bool,
}

#[derive(Debug)]
struct Member {
    id: MemberId,
    /// What it may have of the set: another key's connection may have asked for more.
    permissions: Permissions,
    inbox: Arc<Inbox>,
    bell: Arc<Notify>,
    subscriptions: HashMap<Computation, Arc<Subscription>>,
}

/// See the module. Control side; requests of one set are carried out one after the other.
#[derive(Debug)]
pub struct Subscriptions(Mutex<State>);

#[derive(Debug)]
struct State {
    entries: BTreeMap<SeriesKey, Entry>,
    members: Vec<Member>,
    /// Numbers that were given away.
    numbers: u64,
    changed_at: f64,
    holding: Holding,
    share: Share,
}

impl Subscriptions {
    /// Of a user: nothing yet.
    pub fn new(context: &Context, user: &Arc<str>) -> Self {
        Self(Mutex::new(State {
            entries: BTreeMap::new(),
            members: Vec::new(),
            numbers: 0,
            changed_at: 0.0,
            holding: context.admission.holding(user),
            share: context.indicators.ledger.share(user),
        }))
    }

    /// What there is.
    pub async fn entries(&self) -> BTreeMap<SeriesKey, Entry> {
        self.0.lock().await.entries.clone()
    }

    /// Of what there is, and as it is kept.
    pub async fn inventory(&self) -> (Vec<SeriesKey>, Inventory) {
        let state = self.0.lock().await;
        let group = |entry: &Entry| IndicatorState {
            symbol: entry.wording.symbol.to_string(),
            timeframe: entry.wording.timeframe.to_string(),
            ids: entry.indicators.iter().map(IndicatorId::to_string).collect(),
        };
        let groups = state.entries.values().map(group).collect();
        (state.entries.keys().copied().collect(), Inventory { groups, changed_at: state.changed_at })
    }

    /// Has what was kept, in place of what there is, unless that is newer; returns the groups that may not be had or do
    /// not fit any more.
    pub async fn restore(&self, context: &Context, permissions: &Permissions, kept: Inventory) -> Vec<IndicatorState> {
        let mut state = self.0.lock().await;
        if kept.changed_at <= state.changed_at {
            return Vec::new();
        }
        state.remove(context, |_, _| true).await;
        let mut lost = Vec::new();
        for group in kept.groups {
            let restored = match wanted(&group) {
                Some(wanted) => state.subscribe(context, permissions, &wanted).await.is_ok(),
                None => false,
            };
            if !restored {
                lost.push(group);
            }
        }
        // It is as old as it was; a part of it gives way to the whole, which another key of the client may bring.
        state.changed_at = if lost.is_empty() { kept.changed_at } else { kept.changed_at.next_down() };
        lost
    }

    /// A connection joins: it gets what is known of everything subscribed that it may have, and all that follows; before
    /// it what closed since it had the values that `since` names. Its bell rings when others change the set.
    ///
    /// # Errors
    /// When the engine has no room for what it had given up, or has stopped.
    pub async fn join(
        &self,
        context: &Context,
        permissions: &Permissions,
        (inbox, bell): (&Arc<Inbox>, &Arc<Notify>),
        since: impl Fn(&Wording) -> Option<Since>,
    ) -> Result<Joined, Problem> {
        let mut state = self.0.lock().await;
        state.numbers += 1;
        let (inbox, bell) = (Arc::clone(inbox), Arc::clone(bell));
        let (id, permissions) = (MemberId(state.numbers), *permissions);
        let mut member = Member { id, permissions, inbox, bell, subscriptions: HashMap::new() };
        let mut joined = Joined { id, values: Vec::new(), gap: false };
        for (key, entry) in state.entries.iter().filter(|(key, _)| may_have(&permissions, key.0)) {
            let begun = match begin(context, *key, entry, &[&member], since(&entry.wording)).await {
                Ok(begun) => begun,
                Err(problem) => {
                    context.engine.end(member.subscriptions.into_values().collect()).await;
                    return Err(problem);
                }
            };
            let mut values = Map::new();
            for (_, computation, of, known) in begun {
                member.subscriptions.insert(computation, of);
                values.insert(computation.2.to_string(), known.value);
                joined.gap |= known.gap;
            }
            joined.values.push((entry.clone(), values));
        }
        state.members.push(member);
        Ok(joined)
    }

    /// A connection may have less from now on: it gets no more than that of the set, which stays as it is.
    pub async fn narrow(&self, context: &Context, id: MemberId, permissions: &Permissions) {
        let mut state = self.0.lock().await;
        let Some(member) = state.members.iter_mut().find(|member| member.id == id) else { return };
        member.permissions = *permissions;
        let lost = |(token, ..): &Computation, _: &mut _| !may_have(permissions, *token);
        let over = member.subscriptions.extract_if(lost).map(|(_, of)| of).collect();
        context.engine.end(over).await;
    }

    /// A connection has ended.
    pub async fn leave(&self, context: &Context, id: MemberId) {
        let mut state = self.0.lock().await;
        let over = state.members.extract_if(.., |member| member.id == id).flat_map(|member| member.subscriptions);
        let over = over.map(|(_, of)| of).collect();
        context.engine.end(over).await;
    }

    /// Subscribes, in place of what there was of the same instrument and timeframe. What is known has been posted to all
    /// connections when this returns; the values are those that were known, `null` for the others.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub async fn subscribe(
        &self,
        context: &Context,
        permissions: &Permissions,
        wanted: &Wanted,
    ) -> Result<Map<String, Value>, Problem> {
        self.0.lock().await.subscribe(context, permissions, wanted).await
    }

    /// Takes away what is named and there.
    ///
    /// # Errors
    /// When there is no such instrument.
    pub async fn unsubscribe(
        &self,
        context: &Context,
        permissions: &Permissions,
        unwanted: &Unwanted,
    ) -> Result<Vec<Removed>, Problem> {
        let mut state = self.0.lock().await;
        let token = match &unwanted.symbol {
            None => None,
            Some(symbol) => Some(resolve(context, permissions, symbol)?),
        };
        let meant = |key: &SeriesKey, id: &IndicatorId| {
            token.is_none_or(|token| token == key.0)
                && unwanted.timeframe.is_none_or(|timeframe| timeframe == key.1)
                && (unwanted.indicators.is_empty() || unwanted.indicators.contains(id))
        };
        Ok(state.remove(context, meant).await)
    }

    /// Takes away what may not be had any more.
    pub async fn keep_only(&self, context: &Context, permissions: &Permissions) -> Vec<Removed> {
        let mut state = self.0.lock().await;
        state.remove(context, |key, _| !may_have(permissions, key.0)).await
    }
}

impl State {
    /// Somebody has changed it.
    fn changed(&mut self, context: &Context) {
        // Never twice the same: of two states the newer one counts.
        self.changed_at = context.clock.unix_seconds().max(self.changed_at.next_up());
        self.members.iter().for_each(|member| member.bell.notify_one());
    }

    /// See [`Subscriptions::subscribe`].
    async fn subscribe(
        &mut self,
        context: &Context,
        permissions: &Permissions,
        wanted: &Wanted,
    ) -> Result<Map<String, Value>, Problem> {
        let token = instrument(context, permissions, &wanted.symbol, &wanted.indicators)?;
        let key = (token, wanted.timeframe);
        self.check(context, permissions, key, wanted.indicators.len())?;
        let computations =
            |entry: &Entry| -> Vec<Computation> { entry.indicators.iter().map(|id| (key.0, key.1, *id)).collect() };
        let wording =
            Wording { symbol: wanted.symbol.as_str().into(), timeframe: wanted.timeframe_text.as_str().into() };
        let entry = Entry { wording, indicators: wanted.indicators.clone() };
        let (new, old) = (computations(&entry), self.entries.get(&key).map(computations).unwrap_or_default());
        let over: Vec<_> = old.iter().filter(|one| !new.contains(one)).copied().collect();
        let held = self.entries.keys().any(|(other, _)| *other == token);
        self.holding.add(&[token]).map_err(|refusal| Problem::limit("symbol", refusal.limit(), refusal))?;
        let most = context.indicators.limits.per_user;
        let begun = match self.share.change(&new, &over, most) {
            Ok(()) => begin(context, key, &entry, &self.members.iter().collect::<Vec<_>>(), None).await,
            Err(full) => Err(Problem::limit(
                "indicators",
                full.most,
                format!(
                    "{} different ones would be too many for one user; at most {most} (max_indicators_per_user)",
                    full.wanted
                ),
            )),
        };
        let begun = match begun {
            Ok(begun) => begun,
            Err(problem) => {
                let more: Vec<_> = new.iter().filter(|one| !old.contains(one)).copied().collect();
                // It had them a moment ago.
                let _ = self.share.change(&over, &more, usize::MAX);
                if !held {
                    self.holding.remove(&[token]);
                }
                return Err(problem);
            }
        };
        self.entries.insert(key, entry);
        let ended = self.take(&old);
        let mut values = Map::new();
        for (at, computation, of, known) in begun {
            self.members[at].subscriptions.insert(computation, of);
            values.insert(computation.2.to_string(), known.value);
        }
        context.engine.end(ended).await;
        self.changed(context);
        Ok(values)
    }

    /// Whether there is room for `count` indicators in place of those of `key`.
    fn check(&self, context: &Context, permissions: &Permissions, key: SeriesKey, count: usize) -> Result<(), Problem> {
        let others = self.entries.iter().filter(|(other, _)| **other != key);
        let total = count + others.map(|(_, entry)| entry.indicators.len()).sum::<usize>();
        let most = context.indicators.limits.per_connection;
        if total > most {
            let text = format!("{total} would be too many; at most {most} (max_indicators_per_connection)");
            return Err(Problem::limit("indicators", most, text));
        }
        let mut tokens: Vec<_> = self.entries.keys().map(|(token, _)| *token).chain([key.0]).collect();
        tokens.sort_unstable();
        tokens.dedup();
        let most = context.max_tokens.min(permissions.max_tokens);
        if tokens.len() > most {
            let text = format!("{} instruments would be too many; at most {most} for one connection", tokens.len());
            return Err(Problem::limit("symbol", most, text));
        }
        Ok(())
    }

    /// Takes the engine's subscriptions to these from all connections.
    fn take(&mut self, computations: &[Computation]) -> Vec<Arc<Subscription>> {
        let members = self.members.iter_mut();
        members.flat_map(|member| computations.iter().filter_map(|one| member.subscriptions.remove(one))).collect()
    }

    async fn remove(&mut self, context: &Context, meant: impl Fn(&SeriesKey, &IndicatorId) -> bool) -> Vec<Removed> {
        let (mut removed, mut computations) = (Vec::new(), Vec::new());
        for (key, entry) in &mut self.entries {
            for id in entry.indicators.extract_if(.., |id| meant(key, id)) {
                removed.push(Removed { wording: entry.wording.clone(), id });
                computations.push((key.0, key.1, id));
            }
        }
        let emptied: Vec<_> = self.entries.extract_if(.., |_, entry| entry.indicators.is_empty()).collect();
        let held = |token: InstrumentToken| self.entries.keys().any(|(other, _)| *other == token);
        let over: Vec<_> = emptied.iter().map(|((token, _), _)| *token).filter(|token| !held(*token)).collect();
        self.holding.remove(&over);
        // Giving back is never refused.
        let _ = self.share.change(&[], &computations, usize::MAX);
        let ended = self.take(&computations);
        context.engine.end(ended).await;
        if !removed.is_empty() {
            self.changed(context);
        }
        removed
    }
}

/// Where a member stands, what it gets, its subscription, and what was known.
type Begun = (usize, Computation, Arc<Subscription>, Known);

/// What a group asks for; `None` for one that no client can have written.
fn wanted(group: &IndicatorState) -> Option<Wanted> {
    let indicators = group.ids.iter().map(|id| id.parse().ok()).collect::<Option<Vec<_>>>()?;
    Some(Wanted {
        symbol: group.symbol.clone(),
        timeframe: group.timeframe.parse().ok()?,
        timeframe_text: group.timeframe.clone(),
        indicators,
    })
}

/// Begins the subscriptions of an entry for those of some connections that may have it, all or none.
async fn begin(
    context: &Context,
    key: SeriesKey,
    entry: &Entry,
    members: &[&Member],
    since: Option<Since>,
) -> Result<Vec<Begun>, Problem> {
    let (token, timeframe) = key;
    let mut begun = Vec::new();
    let mut wishes = Vec::new();
    for (at, member) in members.iter().enumerate().filter(|(_, member)| may_have(&member.permissions, token)) {
        for id in &entry.indicators {
            let of: Arc<Subscription> = Arc::default();
            wishes.push(Wish {
                topic: Topic::Indicator { token, timeframe, id: *id },
                wording: entry.wording.clone(),
                subscriber: Subscriber { of: Arc::clone(&of), inbox: Arc::clone(&member.inbox), format: Format::Json },
                since,
            });
            begun.push((at, (token, timeframe, *id), of, Known::default()));
        }
    }
    if wishes.is_empty() {
        return Ok(begun);
    }
    let granted: Vec<Granted> = context.engine.begin(wishes).await.map_err(|_| Problem::stopping())?;
    let mut full = None;
    for (one, granted) in begun.iter_mut().zip(granted) {
        match granted {
            Ok(known) => one.3 = known,
            Err(refused) => full = Some(refused),
        }
    }
    match full {
        None => Ok(begun),
        Some(full) => {
            context.engine.end(begun.into_iter().map(|(_, _, of, _)| of).collect()).await;
            Err(Problem::full(full))
        }
    }
}
