//! What is said to clients. Pure: values to bytes and back; no sockets, no clocks, no threads.

pub mod close;
pub mod derived;
pub mod encoding;
mod excerpt;
pub mod frame;
pub mod indicator_request;
pub mod json;
pub mod kite_request;
pub mod msgpack;
pub mod notation;
pub mod push;
pub mod request;
pub mod resume;

pub use encoding::{Encoding, Format};
