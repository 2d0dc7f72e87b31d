//! Every order of events, for the lock-free parts: `latest.rs`, `pending.rs`, `ring.rs` and `port.rs` themselves, compiled against
//! loom's atomics instead of the machine's.
//!
//! The files take their atomics from `super::sync`, and here that is another module. The same trick shows that the models
//! can fail: under `weak` the very same files are compiled against primitives that do a little less than they should, and
//! each time some model must notice.
//!
//! A thread is interrupted against its will at most [`INTERRUPTIONS`] times in one run (it may wait or end as often as it
//! likes). All known mistakes of this kind show with two; without a bound the larger models would take hours.

#![allow(clippy::duplicate_mod, reason = "the same files against different primitives are the point")]

#[path = "loom/queue.rs"]
#[expect(clippy::disallowed_types, reason = "never contended and not part of the model: see there")]
mod queue;
#[path = "loom/sync.rs"]
mod sync;

#[path = "loom/parts.rs"]
#[expect(dead_code, reason = "the models need not call everything")]
mod sound;

/// Primitives that do less than they should. **Not the program's.**
#[path = "loom/weak.rs"]
#[expect(dead_code, reason = "each is shown to fail in the models that concern it")]
mod weak;

use sound::models;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use weak::{fence, store, swap};

/// See the crate.
const INTERRUPTIONS: usize = 3;

/// Fewer runs than this mean that loom has tried nothing: see `sync`.
const RUNS: usize = 100;

/// Runs a model in every order of events.
fn in_every_order(model: impl Fn() + Send + Sync + 'static) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let mut check = loom::model::Builder::new();
    check.preemption_bound = Some(INTERRUPTIONS);
    check.max_branches = 10_000;
    check.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    assert!(runs.load(Ordering::Relaxed) >= RUNS, "not an order of events but the first was tried");
}

#[test]
fn the_newest_value_is_never_torn_and_never_goes_back() {
    in_every_order(models::no_torn_read);
}

#[test]
fn no_wake_up_is_lost() {
    in_every_order(models::no_lost_wake_up);
}

#[test]
fn no_last_value_is_lost() {
    in_every_order(|| models::no_lost_last_value(2));
    in_every_order(|| models::no_lost_last_value(3));
}

#[test]
fn no_last_value_is_lost_while_the_socket_is_full() {
    in_every_order(models::no_lost_value_while_blocked);
}

#[test]
fn no_update_follows_the_reply_to_an_unsubscription() {
    in_every_order(|| models::no_update_after_unsubscribe(true));
}

#[test]
fn no_news_is_lost() {
    in_every_order(models::no_news_is_lost);
}

#[test]
#[should_panic = "the last value was never read"]
fn without_an_atomic_swap_news_is_lost() {
    in_every_order(swap::parts::models::no_news_is_lost);
}

#[test]
#[should_panic = "an update behind the reply"]
fn without_a_look_at_the_lane_an_update_follows_the_reply() {
    in_every_order(|| models::no_update_after_unsubscribe(false));
}

#[test]
#[should_panic = "torn"]
fn without_fences_values_are_torn() {
    in_every_order(fence::parts::models::no_torn_read);
}

#[test]
#[should_panic = "nobody rings"]
fn without_fences_a_wake_up_is_lost() {
    in_every_order(fence::parts::models::no_lost_wake_up);
}

#[test]
#[should_panic = "assertion `left == right` failed"]
fn without_an_atomic_swap_a_last_value_is_lost() {
    in_every_order(|| swap::parts::models::no_lost_last_value(3));
}

#[test]
#[should_panic = "the wake-up found nothing"]
fn without_an_atomic_swap_a_wake_up_is_lost() {
    in_every_order(swap::parts::models::no_lost_wake_up);
}

#[test]
#[should_panic = "assertion `left == right` failed"]
fn without_setting_the_bit_anew_a_last_value_is_lost() {
    in_every_order(|| store::parts::models::no_lost_last_value(3));
}
