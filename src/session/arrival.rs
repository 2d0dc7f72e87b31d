//! A socket on its way to become a session.

use super::door::Door;
use crate::identity::watch::Watch;
use crate::secret::Secret;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::Bytes;

/// A key at a writer, given back when it is dropped unused.
#[derive(Debug)]
pub struct Place {
    pub(super) door: Arc<Door>,
    pub(super) key: u32,
    /// Its tab is open: the writer gives the key back.
    pub(super) opened: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.opened {
            self.door.free(self.key);
        }
    }
}

/// A socket that has shaken hands, and what it needs to become a session.
#[derive(Debug)]
pub struct Arrival {
    /// The socket.
    pub socket: TcpStream,
    /// What came with the handshake.
    pub early: Bytes,
    /// Its place.
    pub place: Place,
    /// Whose it is.
    pub entrant: Entrant,
    /// The token of a session that it wants to resume.
    pub resume: Option<Secret>,
}

/// Whose connection it is.
#[derive(Debug)]
pub struct Entrant {
    /// Its place among the connections of its user.
    pub watch: Watch,
    /// It has yet to tell who it is, and occupies a place among those that do.
    pub unproved: Option<OwnedSemaphorePermit>,
    /// Where it comes from.
    pub peer: IpAddr,
    /// The same, with the port where it is known, for operators.
    pub name: String,
}
