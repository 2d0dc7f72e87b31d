//! The atomics and the queue of the lock-free parts. `tests/loom.rs` has a module of the same name with loom's.

pub use crossbeam::queue::ArrayQueue;
pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
