//! The program's files with primitives that do a little less than they should. Each is a mistake that is easily made.

#[path = "weak/fence.rs"]
pub mod fence;
#[path = "weak/store.rs"]
pub mod store;
#[path = "weak/swap.rs"]
pub mod swap;
