//! Counts of very many names in little memory, exact for the most frequent ones as long as they are few.
//!
//! A summary after Misra and Gries: when it holds twice as many names as it keeps, the count of the first that is not kept
//! is taken off all. No count is too large, and none is short by more than [`Tally::error`].

use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::hash::RandomState;

/// See the module. Names come from outside: the hash is keyed, so that nobody can choose names that collide.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: HashMap<Box<str>, u64, RandomState>,
    error: u64,
}

/// Names kept.
const KEPT: usize = 512;

impl Tally {
    /// Counts a name.
    pub fn add(&mut self, name: &str, by: u64) {
        if let Some(count) = self.counts.get_mut(name) {
            *count += by;
            return;
        }
        self.counts.insert(name.into(), by);
        if self.counts.len() >= 2 * KEPT {
            self.prune();
        }
    }

    fn prune(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let (_, least, _) = counts.select_nth_unstable_by(KEPT, |one, other| other.cmp(one));
        let least = *least;
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(least);
            *count > 0
        });
        self.error += least;
    }

    /// By how much a count may be short.
    pub const fn error(&self) -> u64 {
        self.error
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Adds tallies up: the most frequent names with their counts, largest first, and by how much a count may be short.
pub fn top<'a>(tallies: impl IntoIterator<Item = &'a Tally>, most: usize) -> (Vec<(String, u64)>, u64) {
    let mut sums: FxHashMap<&str, u64> = FxHashMap::default();
    let mut error = 0;
    for tally in tallies {
        error += tally.error;
        for (name, count) in &tally.counts {
            *sums.entry(name).or_default() += count;
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_unstable_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    sums.truncate(most);
    (sums.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_are_counted_exactly() {
        let mut tally = Tally::default();
        for number in 0..500_u64 {
            tally.add(&number.to_string(), number + 1);
            tally.add(&number.to_string(), 1);
        }
        let (names, error) = top([&tally], 3);
        assert_eq!(names, [("499".to_owned(), 501), ("498".to_owned(), 500), ("497".to_owned(), 499)]);
        assert_eq!(error, 0);
    }

    #[test]
    fn a_flood_of_names_hides_no_frequent_one_and_takes_no_more_memory() {
        let mut tally = Tally::default();
        for number in 0..200_000_u64 {
            tally.add(&format!("flood {number}"), 1);
            if number % 50 == 0 {
                tally.add("RELIANCE", 1);
            }
        }
        assert!(tally.counts.len() < 2 * KEPT);
        let (names, error) = top([&tally], 1);
        assert_eq!(names[0].0, "RELIANCE");
        assert!(names[0].1 <= 4_000 && names[0].1 + error >= 4_000, "{names:?} {error}");
        assert!(error <= 204_000 / KEPT as u64, "{error}");
    }

    #[test]
    fn tallies_add_up() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.add("a", 2);
        one.add("b", 3);
        other.add("a", 2);
        assert_eq!(top([&one, &other], 9).0, [("a".to_owned(), 4), ("b".to_owned(), 3)]);
        one.clear();
        assert_eq!(top([&one, &other], 9).0, [("a".to_owned(), 2)]);
    }
}
