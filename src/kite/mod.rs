//! Kite's side of the program: the bytes of its ticker protocol and its list of instruments. Its socket is in
//! [`crate::feed::kite`]; the only thing here that waits is [`instruments::load`], which fetches the list.

pub mod instruments;
pub mod login;
pub mod packet;
