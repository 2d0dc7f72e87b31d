//! Counters and gauges with one writing thread, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count with one writing thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. **Thread**: the owner; two writers would lose counts.
    #[inline]
    pub fn add(&self, by: u64) {
        self.set(self.get().wrapping_add(by));
    }

    /// Takes from a gauge, which stops at 0. **Thread**: the owner.
    #[inline]
    pub fn sub(&self, by: u64) {
        self.set(self.get().saturating_sub(by));
    }

    /// Sets a gauge. **Thread**: the owner.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The count. Any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A cell that counts.
pub trait Count {
    /// The count. Any thread.
    fn count(&self) -> u64;
}

impl Count for Counter {
    fn count(&self) -> u64 {
        self.get()
    }
}

/// For what several threads count.
impl Count for AtomicU64 {
    fn count(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }
}

/// A counter as operators see it.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Its value.
    pub value: u64,
    /// It may fall.
    pub gauge: bool,
}

/// Declares a struct of counters in cells of some type, and of gauges behind them, and how operators see them.
macro_rules! counters {
    (
        $(#[$doc:meta])* $name:ident of $cell:ident { $($(#[doc = $help:literal])* $count:ident,)* }
        $(gauges { $($(#[doc = $gauge_help:literal])* $gauge:ident,)* })?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[doc = $help])* pub $count: $cell,)*
            $($($(#[doc = $gauge_help])* pub $gauge: $cell,)*)?
        }

        impl $name {
            /// All of them.
            pub fn list(&self) -> Vec<$crate::stats::Shown> {
                let show = |name, help: &'static str, counter: &$cell, gauge| {
                    $crate::stats::Shown { name, help: help.trim_ascii(), value: $crate::stats::Count::count(counter), gauge }
                };
                vec![
                    $(show(stringify!($count), concat!($($help),*), &self.$count, false),)*
                    $($(show(stringify!($gauge), concat!($($gauge_help),*), &self.$gauge, true),)*)?
                ]
            }
        }
    };
}
pub(crate) use counters;
