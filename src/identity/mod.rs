//! Who a client is and what it may do: tokens, API keys, revocations, limits at the door.
//!
//! [`gate::Gate`] is the one way in: request parts become a [`principal::Principal`] or a [`refusal::Refusal`], and for each
//! connection a [`watch::Watch`] tells its reading task when the principal has expired or was revoked. Everything here
//! runs on the control side; no thread of the data plane knows of it.

pub mod api_key;
pub mod archive;
pub mod claims;
pub mod counters;
pub mod credential;
pub mod door;
pub mod fetch;
pub mod gate;
pub mod issue;
pub mod issuer;
pub mod key;
pub mod permissions;
pub mod principal;
pub mod rate;
pub mod refusal;
pub mod revocation;
pub mod roster;
pub mod site;
pub mod ticket;
pub mod watch;
