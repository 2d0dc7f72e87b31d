//! A swap that is a load and a store: between the two, others change the flag.

mod sync {
    pub use crate::sync::{ArrayQueue, AtomicU64, Ordering, fence, spin_loop};

    #[derive(Debug)]
    pub struct AtomicBool(crate::sync::AtomicBool);

    impl AtomicBool {
        pub fn new(value: bool) -> Self {
            Self(crate::sync::AtomicBool::new(value))
        }

        pub fn load(&self, order: Ordering) -> bool {
            self.0.load(order)
        }

        pub fn store(&self, value: bool, order: Ordering) {
            self.0.store(value, order);
        }

        pub fn swap(&self, value: bool, _: Ordering) -> bool {
            let old = self.0.load(Ordering::Acquire);
            self.0.store(value, Ordering::Release);
            old
        }
    }
}

#[path = "../parts.rs"]
pub mod parts;
