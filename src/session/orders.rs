//! Order updates of the Kite account, to the connections that may have them.
//!
//! Kite tells an account's orders to every socket of the account. Behind a gateway that would show one person's orders to
//! every tab, so they go to Kite's own clients alone, and of these to the account's owner: to whoever's credentials have the
//! permission `account:owner`. They wait in the mailbox of each: never conflated, and a connection that has no room for one
//! is closed as too slow, so that it comes back and asks for what it missed.

use super::door::Door;
use super::registry::Registry;
use crate::fanout::series::Message;
use crate::identity::permissions::Permissions;
use crate::wire::Format;
use crate::wire::frame::{self, Opcode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who gets order updates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Nobody.
    Nobody,
    /// Who has the permission `account:owner`.
    Owners,
    /// Every client of Kite's protocol.
    Everybody,
}

/// See the module. Control side.
#[derive(Debug)]
pub struct Orders {
    audience: Audience,
    registry: Arc<Registry>,
    doors: Vec<Arc<Door>>,
    /// Order updates that came.
    pub updates: AtomicU64,
    /// Connections they were handed to, summed up.
    pub deliveries: AtomicU64,
    /// Updates that nobody was there to get.
    pub unheard: AtomicU64,
}

impl Orders {
    /// Order updates for that audience among the connections of `registry`, behind those doors.
    pub fn new(audience: Audience, registry: Arc<Registry>, doors: Vec<Arc<Door>>) -> Self {
        let [updates, deliveries, unheard] = Default::default();
        Self { audience, registry, doors, updates, deliveries, unheard }
    }

    /// Whether a Kite client that may do this gets them.
    pub fn are_for(&self, permissions: &Permissions) -> bool {
        match self.audience {
            Audience::Nobody => false,
            Audience::Owners => permissions.owner,
            Audience::Everybody => true,
        }
    }

    /// Passes an update on, byte for byte. In the order of the calls.
    pub fn relay(&self, text: &str) {
        let write =
            |out: &mut Vec<u8>, _| frame::build(out, Opcode::Text, |out| out.extend_from_slice(text.as_bytes()));
        let message = Arc::new(Message::new(0, 0, |format| format == Format::Kite, write));
        let mut delivered = 0;
        for inbox in self.registry.kite_inboxes(|principal| self.are_for(&principal.permissions)) {
            // One without room is closed as too slow by its writer.
            delivered += u64::from(inbox.mail.keep(None, Arc::clone(&message)));
            inbox.announce();
        }
        self.doors.iter().for_each(|door| door.wake());
        self.updates.fetch_add(1, Ordering::Relaxed);
        self.deliveries.fetch_add(delivered, Ordering::Relaxed);
        self.unheard.fetch_add(u64::from(delivered == 0), Ordering::Relaxed);
    }
}
