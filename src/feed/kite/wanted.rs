//! Which instruments are wanted upstream, and what Kite has yet to be told about it.
//!
//! Changes gather here while the socket cannot take more, so a storm of them costs one request per instrument, and a
//! token is never sent twice: Kite counts repeated subscriptions against its limit.

use std::collections::BTreeMap;
use std::fmt::Write;

use rustc_hash::FxHashMap;

use crate::feed::Demand;
use crate::market::{InstrumentToken, Mode};

/// Most tokens in one request. Kite documents no limit; all clients stay near this.
const BATCH: usize = 1_000;

/// The book of wanted instruments.
pub(super) struct Wanted {
    most: usize,
    entries: FxHashMap<InstrumentToken, Entry>,
    admitted: usize,
    held: usize,
    /// Refused for lack of room, first come first served.
    waiting: BTreeMap<u64, InstrumentToken>,
    arrivals: u64,
    /// Entries whose `changed` is set.
    changed: Vec<InstrumentToken>,
}

struct Entry {
    place: Place,
    /// What Kite has been told on this connection.
    held: Option<Mode>,
    changed: bool,
}

#[derive(Clone, Copy)]
enum Place {
    /// Nobody wants it any more; stays until Kite has been told.
    Gone,
    /// Wanted, but there is no room.
    Waiting(u64, Mode),
    Admitted(Mode),
}

impl Wanted {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            entries: FxHashMap::default(),
            admitted: 0,
            held: 0,
            waiting: BTreeMap::new(),
            arrivals: 0,
            changed: Vec::new(),
        }
    }

    /// Notes the changes and returns the instruments among them that find no room now.
    pub(super) fn apply(&mut self, changes: &[Demand]) -> Vec<InstrumentToken> {
        let before = self.arrivals;
        for change in changes {
            self.apply_one(*change);
        }
        self.waiting.range(before..).map(|(_, token)| *token).collect()
    }

    fn apply_one(&mut self, Demand { token, mode }: Demand) {
        let entry = self.entries.entry(token).or_insert(Entry { place: Place::Gone, held: None, changed: false });
        entry.place = match (entry.place, mode) {
            (Place::Gone, None) => Place::Gone,
            (Place::Gone, Some(mode)) if self.admitted < self.most => {
                self.admitted += 1;
                Place::Admitted(mode)
            }
            (Place::Gone, Some(mode)) => {
                let arrival = self.arrivals;
                self.arrivals += 1;
                self.waiting.insert(arrival, token);
                Place::Waiting(arrival, mode)
            }
            (Place::Waiting(arrival, _), Some(mode)) => Place::Waiting(arrival, mode),
            (Place::Waiting(arrival, _), None) => {
                self.waiting.remove(&arrival);
                Place::Gone
            }
            (Place::Admitted(_), Some(mode)) => Place::Admitted(mode),
            (Place::Admitted(_), None) => {
                self.admitted -= 1;
                Place::Gone
            }
        };
        self.mark(token);
        self.admit();
    }

    fn mark(&mut self, token: InstrumentToken) {
        if let Some(entry) = self.entries.get_mut(&token)
            && !entry.changed
        {
            entry.changed = true;
            self.changed.push(token);
        }
    }

    /// Takes up who waits, as far as there is room.
    fn admit(&mut self) {
        while self.admitted < self.most
            && let Some((_, token)) = self.waiting.pop_first()
        {
            if let Some(entry) = self.entries.get_mut(&token)
                && let Place::Waiting(_, mode) = entry.place
            {
                entry.place = Place::Admitted(mode);
                self.admitted += 1;
                self.mark(token);
            }
        }
    }

    /// A new connection: Kite knows nothing, everything admitted is to be said again.
    pub(super) fn start_over(&mut self) {
        self.entries.retain(|_, entry| !matches!(entry.place, Place::Gone));
        self.held = 0;
        self.changed.clear();
        for (token, entry) in &mut self.entries {
            entry.held = None;
            entry.changed = matches!(entry.place, Place::Admitted(_));
            if entry.changed {
                self.changed.push(*token);
            }
        }
    }

    /// Whether Kite has been told everything.
    pub(super) fn is_settled(&self) -> bool {
        self.changed.is_empty()
    }

    /// What Kite has yet to be told, as requests in the order to send them; afterwards it counts as told.
    ///
    /// Cancellations first, so that Kite's count never exceeds the limit, and modes after the subscriptions they are of.
    pub(super) fn requests(&mut self) -> Vec<String> {
        let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
        let mut modes = Mode::ALL.map(|mode| (mode, Vec::new()));
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        for token in changed {
            let Some(entry) = self.entries.get_mut(&token) else { continue };
            entry.changed = false;
            let target = match entry.place {
                Place::Admitted(mode) => Some(mode),
                Place::Gone | Place::Waiting(..) => None,
            };
            // A subscription starts in quote.
            let starts = entry.held.unwrap_or(Mode::Quote);
            match (entry.held, target) {
                (None, Some(_)) => subscribe.push(token),
                (Some(_), None) => unsubscribe.push(token),
                _ => {}
            }
            if let Some(mode) = target.filter(|mode| *mode != starts) {
                modes.iter_mut().filter(|(name, _)| *name == mode).for_each(|(_, tokens)| tokens.push(token));
            }
            entry.held = target;
            if matches!(entry.place, Place::Gone) {
                self.entries.remove(&token);
            }
        }
        self.held = self.held + subscribe.len() - unsubscribe.len();
        let unsubscribe = unsubscribe.chunks(BATCH).map(|tokens| request("unsubscribe", tokens));
        let subscribe = subscribe.chunks(BATCH).map(|tokens| request("subscribe", tokens));
        let modes = modes.iter().flat_map(|(mode, tokens)| tokens.chunks(BATCH).map(|part| mode_request(*mode, part)));
        unsubscribe.chain(subscribe).chain(modes).collect()
    }

    /// Instruments subscribed on this connection.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Instruments refused for lack of room.
    pub(super) fn refused(&self) -> usize {
        self.waiting.len()
    }
}

fn request(action: &str, tokens: &[InstrumentToken]) -> String {
    format!(r#"{{"a":"{action}","v":{}}}"#, list(tokens))
}

fn mode_request(mode: Mode, tokens: &[InstrumentToken]) -> String {
    format!(r#"{{"a":"mode","v":["{}",{}]}}"#, mode.name(), list(tokens))
}

/// Numbers: Kite does not understand tokens in quotes.
fn list(tokens: &[InstrumentToken]) -> String {
    let mut out = String::with_capacity(2 + tokens.len() * 10);
    for token in tokens {
        out.push(if out.is_empty() { '[' } else { ',' });
        // Writing to a String cannot fail.
        let _ = write!(out, "{token}");
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(token: u32, mode: Mode) -> Demand {
        Demand { token: InstrumentToken(token), mode: Some(mode) }
    }

    fn leave(token: u32) -> Demand {
        Demand { token: InstrumentToken(token), mode: None }
    }

    #[test]
    fn requests_read_as_documented() {
        let mut wanted = Wanted::new(10);
        wanted.apply(&[want(3, Mode::Full), want(1, Mode::Quote), want(2, Mode::Ltp), want(3, Mode::Full)]);
        let first =
            [r#"{"a":"subscribe","v":[1,2,3]}"#, r#"{"a":"mode","v":["ltp",[2]]}"#, r#"{"a":"mode","v":["full",[3]]}"#];
        assert_eq!(wanted.requests(), first);
        assert!(wanted.is_settled() && wanted.requests().is_empty());
        wanted.apply(&[leave(1), want(2, Mode::Full), want(3, Mode::Quote)]);
        let second =
            [r#"{"a":"unsubscribe","v":[1]}"#, r#"{"a":"mode","v":["quote",[3]]}"#, r#"{"a":"mode","v":["full",[2]]}"#];
        assert_eq!(wanted.requests(), second);
        assert_eq!(wanted.held(), 2);
        wanted.start_over();
        assert_eq!(wanted.held(), 0);
        assert_eq!(wanted.requests(), [r#"{"a":"subscribe","v":[2,3]}"#, r#"{"a":"mode","v":["full",[2]]}"#]);
    }

    #[test]
    fn what_comes_and_goes_between_requests_is_not_sent() {
        let mut wanted = Wanted::new(10);
        wanted.apply(&[want(1, Mode::Full), leave(1)]);
        assert!(wanted.requests().is_empty() && wanted.entries.is_empty());
        wanted.apply(&[want(1, Mode::Quote)]);
        wanted.requests();
        wanted.apply(&[leave(1), want(1, Mode::Quote)]);
        assert!(wanted.requests().is_empty());
    }

    #[test]
    fn over_the_limit_is_refused_and_taken_up_later() {
        let mut wanted = Wanted::new(2);
        let refused = wanted.apply(&[1, 2, 3, 4].map(|token| want(token, Mode::Quote)));
        assert_eq!(refused, [3, 4].map(InstrumentToken));
        assert_eq!(wanted.requests(), [r#"{"a":"subscribe","v":[1,2]}"#]);
        assert_eq!((wanted.held(), wanted.refused()), (2, 2));
        assert!(wanted.apply(&[want(3, Mode::Full), leave(1)]).is_empty());
        let turn =
            [r#"{"a":"unsubscribe","v":[1]}"#, r#"{"a":"subscribe","v":[3]}"#, r#"{"a":"mode","v":["full",[3]]}"#];
        assert_eq!(wanted.requests(), turn);
        // One that leaves and returns before Kite was told has lost its place.
        assert_eq!(wanted.apply(&[leave(2), want(2, Mode::Quote)]), [InstrumentToken(2)]);
        assert_eq!(wanted.requests(), [r#"{"a":"unsubscribe","v":[2]}"#, r#"{"a":"subscribe","v":[4]}"#]);
        wanted.apply(&[leave(2)]);
        assert_eq!((wanted.held(), wanted.refused()), (2, 0));
    }

    #[test]
    fn long_lists_are_split() {
        let mut wanted = Wanted::new(3_000);
        let all: Vec<Demand> = (0..2_500).map(|token| want(token, Mode::Full)).collect();
        wanted.apply(&all);
        let requests = wanted.requests();
        assert_eq!(requests.len(), 6);
        assert!(requests[..3].iter().all(|request| request.starts_with(r#"{"a":"subscribe","v":["#)));
        assert_eq!(requests[2].matches(',').count(), 500);
    }
}
