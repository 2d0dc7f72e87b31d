//! A store that is left out when the flag seems to have the value already: "it is set anyway".

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
            if self.0.load(Ordering::Relaxed) != value {
                self.0.store(value, order);
            }
        }

        pub fn swap(&self, value: bool, order: Ordering) -> bool {
            self.0.swap(value, order)
        }
    }
}

#[path = "../parts.rs"]
pub mod parts;
