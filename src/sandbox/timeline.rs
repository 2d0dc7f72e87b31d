//! Faults in time.

use super::fault::Injection;
use std::time::Duration;

/// When a time-line begins to run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Begin {
    /// With the sandbox.
    #[default]
    AtOnce,
    /// With the first handshake, which meets the faults due at 0 already.
    FirstConnection,
}

/// A fault with its times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When it happens first, from the begin.
    pub at: Duration,
    /// From one time to the next; it happens once if `None`.
    pub every: Option<Duration>,
    /// How often it happens in all; without end if `None`. Of no meaning without `every`.
    pub repeat: Option<u32>,
    /// What happens.
    pub injection: Injection,
}

/// The events that are still to come.
#[derive(Debug)]
pub(super) struct Timeline {
    begin_ns: Option<u64>,
    coming: Vec<Coming>,
}

#[derive(Debug)]
struct Coming {
    /// From the begin.
    at_ns: u64,
    left: Option<u32>,
    event: Event,
}

impl Timeline {
    pub(super) fn new(begin: Begin, events: &[Event]) -> Self {
        let coming = events.iter().map(|event| Coming {
            at_ns: event.at.as_nanos() as u64,
            left: if event.every.is_none() { Some(1) } else { event.repeat },
            event: event.clone(),
        });
        Self { begin_ns: (begin == Begin::AtOnce).then_some(0), coming: coming.collect() }
    }

    /// The first handshake is here.
    pub(super) fn handshake(&mut self, now_ns: u64) {
        self.begin_ns.get_or_insert(now_ns);
    }

    /// When the next event happens.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let begin_ns = self.begin_ns?;
        self.coming.iter().map(|coming| coming.at_ns).min().map(|at_ns| begin_ns + at_ns)
    }

    /// The next event that is due, the earliest first and then in the order of the file.
    pub(super) fn next(&mut self, now_ns: u64) -> Option<Injection> {
        let begin_ns = self.begin_ns?;
        let (place, coming) = self.coming.iter_mut().enumerate().min_by_key(|(_, coming)| coming.at_ns)?;
        if begin_ns + coming.at_ns > now_ns {
            return None;
        }
        let injection = coming.event.injection.clone();
        coming.left = coming.left.map(|left| left - 1);
        match coming.event.every {
            Some(every) if coming.left != Some(0) => coming.at_ns += every.as_nanos() as u64,
            _ => drop(self.coming.remove(place)),
        }
        Some(injection)
    }
}
