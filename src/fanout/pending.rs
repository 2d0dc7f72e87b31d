//! One bit: something new is there and has been announced. Whoever announces does it once until the reader has looked.

use super::sync::{AtomicBool, Ordering};

/// See the module.
#[derive(Debug)]
pub struct Pending(AtomicBool);

impl Pending {
    /// Nothing is announced.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// There is something new, and it can be seen already. True when the caller must announce it. Any thread.
    ///
    /// A read-modify-write on both sides: whichever of this and [`look`](Self::look) comes second sees the first, so what
    /// is new is either found by the look that begins or announced anew.
    #[inline]
    pub fn post(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Begins a look: what is new from now on is announced again. **Thread**: the reader.
    #[inline]
    pub fn look(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}

impl Default for Pending {
    fn default() -> Self {
        Self::new()
    }
}
