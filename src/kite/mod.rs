//! Kite's side of the program: the bytes of its ticker protocol and its list of instruments. Pure: no sockets here
//! (those are in [`crate::feed::kite`]), no threads, no clocks.

pub mod instruments;
pub mod packet;
