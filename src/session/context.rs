//! What all connections share.

use super::admission::Admission;
use super::arrival::Place;
use super::door::Door;
use super::indicators::Indicators;
use super::orders::Orders;
use super::outage::StaleTokens;
use super::registry::Registry;
use super::vigil::Vigil;
use crate::account::Account;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::fanout::board::Board;
use crate::identity::gate::Gate;
use crate::identity::rate::Rate;
use crate::kite::instruments::Instruments;
use crate::resume::Sessions;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// See the module. Any thread of the control side.
#[derive(Debug)]
pub struct Context {
    /// Who has what.
    pub board: Arc<Board>,
    /// The writers; a new tab goes to the one with the fewest.
    pub doors: Vec<Arc<Door>>,
    /// Symbols and their tokens.
    pub instruments: Arc<ArcSwap<Instruments>>,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// Candles and alerts.
    pub engine: Arc<Engine>,
    /// Who may have how many instruments.
    pub admission: Arc<Admission>,
    /// Who has which indicators.
    pub indicators: Indicators,
    /// Whose values grow old.
    pub stale: Arc<StaleTokens>,
    /// Who gets the account's order updates.
    pub orders: Arc<Orders>,
    /// The program's clock.
    pub clock: Clock,
    /// Updates a tab's ring holds.
    pub ring_capacity: usize,
    /// Most tokens a connection may have.
    pub max_tokens: usize,
    /// The same, of Kite's protocol.
    pub max_kite_tokens: usize,
    /// Largest message a client may send, bytes.
    pub max_message: usize,
    /// How many messages a client may send, pings too, and pongs that nobody asked for.
    pub message_rate: Rate,
    /// Who may what.
    pub gate: Arc<Gate>,
    /// Ends connections that have no reason to stay.
    pub vigil: Arc<Vigil>,
    /// What is written down.
    pub account: Arc<Account>,
    /// What survives a connection.
    pub sessions: Arc<Sessions>,
}

impl Context {
    /// A place for one more connection; `None` when all are taken.
    pub fn place(&self) -> Option<Place> {
        let mut doors: Vec<_> = self.doors.iter().collect();
        doors.sort_by_key(|door| door.tabs());
        doors.into_iter().find_map(|door| door.key().map(|key| Place { door: Arc::clone(door), key, opened: false }))
    }
}
