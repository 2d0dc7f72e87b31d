//! The subscriptions of clients with several connections: those of an API key belong to its client, whichever connection
//! asked for them. A client's set outlives its last connection for a while, so that a page that reloads, or a program
//! that subscribes by HTTP before it connects, finds it.

use super::subscriptions::Subscriptions;
use crate::identity::principal::Principal;
use crate::session::context::Context;
use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

#[expect(clippy::disallowed_types, reason = "control side, when a client connects or asks by HTTP")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// How long a set without a connection is kept after it was last used.
const KEPT_NS: u64 = 300_000_000_000;

/// Whose a set is: how it was proved and the user, so that no user of a token can be taken for the client of a key.
type Owner = (usize, Arc<str>);

#[derive(Debug)]
struct Known {
    subscriptions: Arc<Subscriptions>,
    connections: usize,
    used_ns: u64,
}

/// See the module. Control side.
#[derive(Debug, Default)]
pub struct Clients(ColdMutex<HashMap<Owner, Known>>);

impl Clients {
    fn known(&self) -> MutexGuard<'_, HashMap<Owner, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client's set, begun if there is none.
    pub fn of(&self, context: &Context, who: &Principal) -> Arc<Subscriptions> {
        self.with(context, who, 0)
    }

    /// The same for a connection, until [`Clients::disconnect`].
    pub fn connect(&self, context: &Context, who: &Principal) -> Arc<Subscriptions> {
        self.with(context, who, 1)
    }

    fn with(&self, context: &Context, who: &Principal, connections: usize) -> Arc<Subscriptions> {
        let now_ns = context.clock.now_ns();
        let mut all = self.known();
        all.retain(|_, known| known.connections > 0 || now_ns.saturating_sub(known.used_ns) < KEPT_NS);
        let known = all.entry(owner(who)).or_insert_with(|| Known {
            subscriptions: Arc::new(Subscriptions::new(context, &who.user)),
            connections: 0,
            used_ns: now_ns,
        });
        known.connections += connections;
        known.used_ns = now_ns;
        Arc::clone(&known.subscriptions)
    }

    /// One of a client's connections has ended.
    pub fn disconnect(&self, context: &Context, who: &Principal) {
        if let Some(known) = self.known().get_mut(&owner(who)) {
            known.connections = known.connections.saturating_sub(1);
            known.used_ns = context.clock.now_ns();
        }
    }
}

fn owner(who: &Principal) -> Owner {
    (who.proof.index(), who.user.clone())
}
