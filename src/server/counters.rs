//! What came of connections before they were sessions, for operators.

use crate::stats::Shown;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// See the module. Any thread.
        #[derive(Debug, Default)]
        pub struct EdgeCounters {
            $($(#[doc = $help])+ pub $name: AtomicU64,)+
        }

        impl EdgeCounters {
            /// All of them.
            pub fn list(&self) -> Vec<Shown> {
                let show = |name, help: &'static str, counter: &AtomicU64| {
                    Shown { name, help: help.trim_ascii(), value: counter.load(Ordering::Relaxed), gauge: false }
                };
                vec![$(show(stringify!($name), concat!($($help),+), &self.$name),)+]
            }
        }
    };
}

counters! {
    /// Connections accepted.
    accepted,
    /// Failed accepts, for example for want of descriptors.
    accept_errors,
    /// Connections shed because descriptors run out.
    shed,
    /// Connections refused because too many wait.
    lobby_full,
    /// Connections refused because too many wait from their address.
    address_full,
    /// Connections ended because they were neither upgraded nor answered in time.
    late,
    /// Handshakes refused because there were too many in a second.
    paced,
    /// TLS handshakes that failed or took too long.
    tls_failed,
    /// Certificates taken over while running.
    tls_reloads,
    /// Certificates that were not taken over because they do not hold.
    tls_reload_failures,
    /// Requests for operators' pages without the key.
    admin_refused,
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
