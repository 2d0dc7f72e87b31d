//! Which instrument has its place on which socket, and what Kite has yet to be told about it.
//!
//! An instrument stays on the socket it was put on until that socket has been down for long. Sockets are filled one after
//! the other, so that a gateway with few instruments leaves the other sockets of the key to other programs. Changes gather
//! here while a socket cannot take more, so a storm of them costs one request per instrument, and a token is never
//! subscribed twice, on one socket or on two: Kite counts repeated subscriptions against its limit.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::mark::Mark;
use super::request;
use crate::feed::Demand;
use crate::market::{InstrumentToken, Mode};

/// An instrument with a place.
pub(super) struct Owner {
    /// The number of its socket.
    pub(super) line: usize,
    /// The highest mode anybody wants.
    pub(super) mode: Mode,
    /// How new its newest packet was.
    pub(super) mark: Mark,
    /// Until when, monotonic, a packet may be older than the newest: for a while after each subscription.
    pub(super) guard_ns: u64,
    /// Since when, monotonic, nothing was heard of its socket; 0 while it is served.
    pub(super) lost_ns: u64,
}

/// One socket's part.
#[derive(Default)]
struct Share {
    /// Instruments that have their place here.
    tokens: usize,
    /// The socket has been down for long: others are preferred.
    down: bool,
    /// What Kite has been told on this connection.
    held: FxHashMap<InstrumentToken, Mode>,
    /// What may differ from what Kite has been told.
    changed: FxHashSet<InstrumentToken>,
}

/// See the module. **Thread**: the feed's.
pub(super) struct Packing {
    /// Most instruments on a socket.
    most: usize,
    owners: FxHashMap<InstrumentToken, Owner>,
    shares: Vec<Share>,
    /// Wanted, but without a place: first come, first served.
    queue: BTreeMap<u64, InstrumentToken>,
    /// Their places in the queue, and what they want.
    waiting: FxHashMap<InstrumentToken, (u64, Mode)>,
    arrivals: u64,
    /// Instruments that nobody wants any more although they were lost, and since when they were.
    forgotten: Vec<(InstrumentToken, u64)>,
}

/// How long after a subscription a packet is compared with what is known. Kite's first answer is the last packet that the
/// server at hand has seen.
const GUARD_NS: u64 = 10_000_000_000;

impl Packing {
    /// An empty book for so many sockets of at most `most` instruments each.
    pub(super) fn new(lines: usize, most: usize) -> Self {
        Self {
            most,
            owners: FxHashMap::default(),
            shares: (0..lines).map(|_| Share::default()).collect(),
            queue: BTreeMap::new(),
            waiting: FxHashMap::default(),
            arrivals: 0,
            forgotten: Vec::new(),
        }
    }

    /// Notes the changes and returns the instruments among them that find no room now.
    pub(super) fn apply(&mut self, changes: &[Demand]) -> Vec<InstrumentToken> {
        let before = self.arrivals;
        for change in changes {
            self.apply_one(*change);
            self.admit();
        }
        self.queue.range(before..).map(|(_, token)| *token).collect()
    }

    fn apply_one(&mut self, Demand { token, mode }: Demand) {
        match (self.owners.get_mut(&token), mode) {
            (Some(owner), Some(mode)) => {
                owner.mode = mode;
                self.shares[owner.line].changed.insert(token);
            }
            (Some(owner), None) => {
                let share = &mut self.shares[owner.line];
                share.tokens -= 1;
                share.changed.insert(token);
                if owner.lost_ns != 0 {
                    self.forgotten.push((token, owner.lost_ns));
                }
                self.owners.remove(&token);
            }
            (None, Some(mode)) => match self.waiting.get_mut(&token) {
                Some(waiting) => waiting.1 = mode,
                None => self.enter(token, mode),
            },
            (None, None) => {
                if let Some((arrival, _)) = self.waiting.remove(&token) {
                    self.queue.remove(&arrival);
                }
            }
        }
    }

    /// Gives a new instrument a place, or lets it wait for one.
    fn enter(&mut self, token: InstrumentToken, mode: Mode) {
        match self.room_for(token) {
            Some(line) => {
                self.owners.insert(token, Owner { line, mode, mark: Mark::default(), guard_ns: 0, lost_ns: 0 });
                self.shares[line].tokens += 1;
                self.shares[line].changed.insert(token);
            }
            None => {
                self.queue.insert(self.arrivals, token);
                self.waiting.insert(token, (self.arrivals, mode));
                self.arrivals += 1;
            }
        }
    }

    /// A socket with room: the one that still has the token, else the first that is not down for long.
    fn room_for(&self, token: InstrumentToken) -> Option<usize> {
        let free = self.shares.iter().enumerate().filter(|(_, share)| share.tokens < self.most);
        free.min_by_key(|(_, share)| (!share.held.contains_key(&token), share.down)).map(|(line, _)| line)
    }

    /// Gives places to those who wait, as far as there are any.
    fn admit(&mut self) {
        while !self.queue.is_empty() && self.shares.iter().any(|share| share.tokens < self.most) {
            let Some((_, token)) = self.queue.pop_first() else { return };
            if let Some((_, mode)) = self.waiting.remove(&token) {
                self.enter(token, mode);
            }
        }
    }

    /// Says whether a socket has been down for long; new instruments then go elsewhere.
    pub(super) fn set_down(&mut self, line: usize, down: bool) {
        self.shares[line].down = down;
    }

    /// Moves instruments from a socket that is down for long to those that are `open`, as far as these have room.
    /// Returns how many have moved.
    pub(super) fn spill(&mut self, from: usize, open: impl Fn(usize) -> bool) -> usize {
        let mut moved = 0;
        let takes = |line| line != from && open(line);
        if !(0..self.shares.len()).any(|line| takes(line) && self.shares[line].tokens < self.most) {
            return 0;
        }
        let mut tokens: Vec<_> = self.owners.iter_mut().filter(|(_, owner)| owner.line == from).collect();
        tokens.sort_unstable_by_key(|(token, _)| **token);
        for (token, owner) in tokens {
            let to = (0..self.shares.len()).find(|line| takes(*line) && self.shares[*line].tokens < self.most);
            let Some(to) = to else { break };
            owner.line = to;
            self.shares[from].tokens -= 1;
            self.shares[from].changed.insert(*token);
            self.shares[to].tokens += 1;
            self.shares[to].changed.insert(*token);
            moved += 1;
        }
        self.admit();
        moved
    }

    /// The connection of a socket has ended or begun: Kite knows nothing, everything is to be said again.
    pub(super) fn start_over(&mut self, line: usize) {
        let share = &mut self.shares[line];
        share.held.clear();
        share.changed.clear();
        share.changed.extend(self.owners.iter().filter(|(_, owner)| owner.line == line).map(|(token, _)| *token));
    }

    /// Whether Kite has been told everything on that socket.
    pub(super) fn is_settled(&self, line: usize) -> bool {
        self.shares[line].changed.is_empty()
    }

    /// What Kite has yet to be told on a socket, as requests in the order to send them; afterwards it counts as told.
    ///
    /// Cancellations first, so that Kite's count never exceeds the limit, and modes after the subscriptions they are of.
    /// What another socket still has to cancel waits for that.
    pub(super) fn requests(&mut self, line: usize, now_ns: u64) -> Vec<String> {
        let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
        let mut modes = Mode::ALL.map(|mode| (mode, Vec::new()));
        let mut changed: Vec<_> = self.shares[line].changed.drain().collect();
        changed.sort_unstable();
        for token in changed {
            let owner = self.owners.get_mut(&token).filter(|owner| owner.line == line);
            let target = owner.as_ref().map(|owner| owner.mode);
            let held = self.shares[line].held.get(&token).copied();
            match (held, owner) {
                (None, Some(owner)) => {
                    if self.shares.iter().any(|share| share.held.contains_key(&token)) {
                        self.shares[line].changed.insert(token);
                        continue;
                    }
                    owner.guard_ns = now_ns + GUARD_NS;
                    subscribe.push(token);
                }
                (Some(_), None) => unsubscribe.push(token),
                _ => {}
            }
            // A subscription starts in quote.
            let starts = held.unwrap_or(Mode::Quote);
            if let Some(mode) = target.filter(|mode| *mode != starts) {
                modes.iter_mut().filter(|(name, _)| *name == mode).for_each(|(_, tokens)| tokens.push(token));
            }
            match target {
                Some(mode) => self.shares[line].held.insert(token, mode),
                None => self.shares[line].held.remove(&token),
            };
        }
        request::requests(&unsubscribe, &subscribe, &modes)
    }

    /// Instruments that are no longer lost because nobody wants them any more, and since when they were.
    pub(super) fn forgotten(&mut self) -> &mut Vec<(InstrumentToken, u64)> {
        &mut self.forgotten
    }

    /// The instruments with a place.
    pub(super) fn owners(&mut self) -> &mut FxHashMap<InstrumentToken, Owner> {
        &mut self.owners
    }

    /// Instruments that have their place on a socket.
    pub(super) fn tokens(&self, line: usize) -> usize {
        self.shares[line].tokens
    }

    /// Instruments subscribed on the connection of a socket.
    pub(super) fn held(&self, line: usize) -> usize {
        self.shares[line].held.len()
    }

    /// Instruments without a place.
    pub(super) fn refused(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests;
