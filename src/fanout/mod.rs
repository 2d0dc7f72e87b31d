//! The data plane: stops 3, 4 and 6 of a tick. Everything lock-free is here, and nothing else is.
//!
//! [`slot::Slot`] holds the newest tick of one instrument and its published subscriber list, [`board::Board`] finds and
//! changes them, [`ring::Ring`] is one session's bounded inbox, [`port::Port`] is the door of a writer thread.
//! [`series::Series`] and [`mail::Mailbox`] are the same for candles and indicators.
//!
//! `latest`, `pending`, `ring` and `port` take their atomics from [`sync`], so that `tests/loom.rs` can compile the very same files
//! against loom's and explore every order of events.

pub mod board;
pub mod latest;
pub mod mail;
mod newest;
pub mod pending;
pub mod pong;
pub mod port;
pub mod publisher;
pub mod ring;
pub mod series;
pub mod slot;
pub mod sync;
pub mod update;
