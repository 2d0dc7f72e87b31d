//! Never silent: tells each tab when the values of its instruments grow old, and when they are kept up again.
//!
//! A price that does not move looks like one that is not heard of. The feed says which instruments have lost their
//! upstream; those whose market trades are told to their subscribers as `stale`, and as `fresh`, with the length of the
//! gap, once they are served again. All of it happens on the control side and reaches tabs through their mailboxes: no tick
//! waits for it. Candles that form meanwhile are marked, whether anybody is told or not. Kite's own clients are told nothing: their
//! protocol has no such message, and their heartbeats go on.

use crate::clock::Clock;
use crate::engine::Engine;
use crate::fanout::board::Board;
use crate::fanout::series::Message;
use crate::fanout::slot::Inbox;
use crate::feed::Outage;
use crate::kite::instruments::Instruments;
use crate::market::calendar::{Calendar, Listing, State};
use crate::market::{InstrumentToken, SegmentKind};
use crate::session::door::Door;
use crate::session::outage::{self, StaleTokens};
use crate::wire::{Format, push};
use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long changes are collected: the packets after a reconnect come within it, so a tab gets one message and not many.
const GATHER: Duration = Duration::from_millis(100);
/// How often markets are looked at while instruments are lost: one may open meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Tabs or instruments after which others get their turn on the runtime.
const A_TURN: usize = 64;

/// What the task needs.
#[derive(Debug)]
pub struct Freshness {
    /// When markets trade.
    pub calendar: Calendar,
    /// Which market an instrument belongs to.
    pub instruments: Arc<ArcSwap<Instruments>>,
    /// Who has what.
    pub board: Arc<Board>,
    /// The way to tabs.
    pub doors: Vec<Arc<Door>>,
    /// The program's clock.
    pub clock: Clock,
    /// For those who subscribe while an instrument is stale.
    pub stale: Arc<StaleTokens>,
    /// Whose open bars lack something from then on.
    pub engine: Arc<Engine>,
}

/// A tab and its instruments, by the time since when they were lost.
type Told = (Arc<Inbox>, BTreeMap<u64, Vec<InstrumentToken>>);

impl Freshness {
    /// Runs until the feed is gone.
    pub async fn watch(self, mut outages: mpsc::Receiver<Outage>) {
        let mut lost: FxHashMap<InstrumentToken, u64> = FxHashMap::default();
        let mut told: FxHashMap<InstrumentToken, u64> = FxHashMap::default();
        loop {
            let mut over = Vec::new();
            let look_again = async {
                if lost.len() == told.len() {
                    std::future::pending().await
                } else {
                    tokio::time::sleep(LOOK_AGAIN).await
                }
            };
            tokio::select! {
                outage = outages.recv() => {
                    let Some(outage) = outage else { return };
                    self.note(outage, &mut lost, &mut over).await;
                    tokio::time::sleep(GATHER).await;
                    while let Ok(outage) = outages.try_recv() {
                        self.note(outage, &mut lost, &mut over).await;
                    }
                }
                () = look_again => {}
            }
            let fresh: Vec<_> = over.into_iter().filter(|(token, _)| told.remove(token).is_some()).collect();
            let stale = self.newly_stale(&lost, &told);
            if stale.is_empty() && fresh.is_empty() {
                continue;
            }
            told.extend(stale.iter().copied());
            // Before tabs are told, so that who subscribes meanwhile is told by one of the two.
            self.stale.publish(told.clone());
            tracing::info!(stale = stale.len(), fresh = fresh.len(), stale_now = told.len(), "freshness");
            self.tell(&stale, |tokens, since_ns| outage::stale(tokens, self.clock.unix_ns(since_ns) as f64 / 1e9))
                .await;
            let now_ns = self.clock.now_ns();
            self.tell(&fresh, |tokens, since_ns| outage::fresh(tokens, now_ns.saturating_sub(since_ns) as f64 / 1e9))
                .await;
        }
    }

    /// Notes what was lost, or is served again, and tells the engine at once.
    async fn note(
        &self,
        outage: Outage,
        lost: &mut FxHashMap<InstrumentToken, u64>,
        over: &mut Vec<(InstrumentToken, u64)>,
    ) {
        match outage {
            Outage::Begun { tokens, since_ns } => {
                lost.extend(tokens.iter().map(|token| (*token, since_ns)));
                let since_s = self.clock.unix_ns(since_ns) / 1_000_000_000;
                self.engine.interrupted(since_s.cast_signed(), Some(tokens)).await;
            }
            Outage::Over(tokens) => {
                for (token, since_ns) in tokens {
                    lost.remove(&token);
                    over.push((token, since_ns));
                }
            }
        }
    }

    /// What is lost, not told so far, and trades now.
    fn newly_stale(
        &self,
        lost: &FxHashMap<InstrumentToken, u64>,
        told: &FxHashMap<InstrumentToken, u64>,
    ) -> Vec<(InstrumentToken, u64)> {
        let untold: Vec<_> = lost.iter().filter(|(token, _)| !told.contains_key(token)).collect();
        if untold.is_empty() {
            return Vec::new();
        }
        let instruments = self.instruments.load();
        let underlyings = instruments.derivative_underlyings();
        let now_s = self.clock.unix_seconds() as i64;
        let open: Vec<_> = SegmentKind::ALL.into_iter().filter(|kind| trades(&self.calendar, *kind, now_s)).collect();
        let kind = |token: InstrumentToken| match instruments.by_token(token.0) {
            Some(instrument) => instrument.kind(&underlyings),
            None => SegmentKind::of(&Listing { token, exchange: "", name: "", has_derivatives: false }),
        };
        let mut stale: Vec<_> = untold.into_iter().map(|(token, since_ns)| (*token, *since_ns)).collect();
        stale.retain(|(token, _)| open.contains(&kind(*token)));
        stale.sort_unstable();
        stale
    }

    /// Posts every tab that has some of `tokens` one message for each time since when they were lost. In all formats,
    /// since nobody knows which the tab will have when it reads it.
    async fn tell(&self, tokens: &[(InstrumentToken, u64)], message: impl Fn(&[InstrumentToken], u64) -> Value) {
        // By address, which is a tab's own as long as the inbox is held here.
        let mut tabs: FxHashMap<usize, Told> = FxHashMap::default();
        let table = self.board.table().load_full();
        for (at, (token, since_ns)) in tokens.iter().enumerate() {
            if let Some(slot) = table.get(token) {
                let subscribers = slot.subscribers();
                for subscriber in subscribers.list.iter().filter(|one| one.encoding.format != Format::Kite) {
                    let tab = tabs
                        .entry(Arc::as_ptr(&subscriber.inbox).addr())
                        .or_insert_with(|| (Arc::clone(&subscriber.inbox), BTreeMap::new()));
                    tab.1.entry(*since_ns).or_default().push(*token);
                }
            }
            if at % A_TURN == A_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        // Not everything that subscribes is a tab.
        let is_tab = |inbox: &Inbox| self.doors.iter().any(|door| Arc::ptr_eq(&door.port, &inbox.port));
        for (at, (inbox, groups)) in tabs.into_values().filter(|(inbox, _)| is_tab(inbox)).enumerate() {
            for (since_ns, tokens) in groups {
                let value = message(&tokens, since_ns);
                let message = Message::new(0, 0, |_| true, |out, format| push::value_frame(out, format, &value));
                // One without room is closed as too slow by its writer.
                inbox.mail.keep(None, Arc::new(message));
            }
            inbox.announce();
            if at % A_TURN == A_TURN - 1 {
                self.doors.iter().for_each(|door| door.wake());
                tokio::task::yield_now().await;
            }
        }
        self.doors.iter().for_each(|door| door.wake());
    }
}

/// Whether anything is to be expected of a kind of instrument at a Unix time: it trades, or is in an auction.
pub fn trades(calendar: &Calendar, kind: SegmentKind, unix_s: i64) -> bool {
    calendar.status(kind, unix_s).state != State::Closed
}
