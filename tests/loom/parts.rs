//! The program's own files, compiled against the `sync` of whoever includes this, and the models of them.

use super::sync;

#[path = "../../src/fanout/latest.rs"]
mod latest;
#[path = "../../src/fanout/pending.rs"]
mod pending;
#[path = "../../src/fanout/port.rs"]
mod port;
#[path = "../../src/fanout/ring.rs"]
mod ring;

pub mod models;
