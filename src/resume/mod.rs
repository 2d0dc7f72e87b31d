//! What sessions have, kept so that a client that comes back gets it without asking.
//!
//! A session that may be resumed has an id and a secret, which together are its [token]. Its [`SessionState`] is what the
//! client asked for, in the client's words. [`Sessions`] holds those of this program in memory and alone decides who
//! resumes what; a store keeps them over a restart:
//!
//! * the [journal]: a file beside the program, appended to by a thread of its own;
//! * the [vault]: Redis, where several gateways find each other's sessions and operators find who wants which indicator.
//!
//! Sessions only mark what has changed. The store comes for it a few times a second, and what it could not write stays
//! marked, once for each session: so nothing waits for a store, and what waits is bounded by the number of sessions.
//!
//! A token is worth nothing alone where clients show who they are: it resumes for the same subject only. It holds once:
//! whoever resumes gets a new one, a higher fencing number, and takes the session from a connection that still has it.

pub mod counters;
pub mod journal;
pub mod record;
pub mod sessions;
pub mod ticket;
pub mod token;
pub mod vault;

pub use record::{IndicatorState, SessionState, StreamState};
pub use sessions::{Restored, Sessions, SessionsSettings};
pub use ticket::Ticket;
