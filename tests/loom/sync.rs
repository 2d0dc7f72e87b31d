//! What `src/fanout/sync.rs` is to the program: the same names, over loom's atomics, with two gaps of loom's closed.
//!
//! *Which orders are tried.* Loom remembers only the last access to an atomic. When a thread first loads and then stores,
//! its own load hides the load of another thread before, and the order with the store first is never tried (loom 0.7.3:
//! a model with that pattern runs once and passes whatever it says). So each access here first stores to a second
//! atomic that nobody ever loads. That orders nothing, but makes any two accesses to one atomic a race for loom.
//!
//! *Which order the changes of a flag have.* Loom does not know that nothing comes between what a swap reads and what it
//! writes: when another thread stores to the flag too, it also tries an order that no machine may choose. So a store to a
//! flag is a swap here, and has the one order it really has.

pub use super::queue::ArrayQueue;
pub use loom::hint::spin_loop;
pub use loom::sync::atomic::{Ordering, fence};

use loom::sync::atomic as loom_atomic;

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug)]
        pub struct $name {
            atomic: loom_atomic::$name,
            race: loom_atomic::AtomicBool,
        }

        impl $name {
            pub fn new(value: $value) -> Self {
                Self { atomic: loom_atomic::$name::new(value), race: loom_atomic::AtomicBool::new(false) }
            }

            fn race(&self) -> &loom_atomic::$name {
                self.race.store(false, Ordering::Relaxed);
                &self.atomic
            }

            pub fn load(&self, order: Ordering) -> $value {
                self.race().load(order)
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);

impl AtomicBool {
    pub fn store(&self, value: bool, order: Ordering) {
        self.race().swap(value, order);
    }

    pub fn swap(&self, value: bool, order: Ordering) -> bool {
        self.race().swap(value, order)
    }
}

impl AtomicU64 {
    pub fn store(&self, value: u64, order: Ordering) {
        self.race().store(value, order);
    }
}

impl AtomicUsize {
    pub fn store(&self, value: usize, order: Ordering) {
        self.race().store(value, order);
    }

    pub fn compare_exchange(&self, old: usize, new: usize, done: Ordering, failed: Ordering) -> Result<usize, usize> {
        self.race().compare_exchange(old, new, done, failed)
    }
}
