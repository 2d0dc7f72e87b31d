//! What came of connections before they were sessions, for operators.

use crate::stats::counters;
use std::sync::atomic::{AtomicU64, Ordering};

counters! {
    /// See the module. Any thread.
    EdgeCounters of AtomicU64 {
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
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
