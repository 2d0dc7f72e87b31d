//! Which instruments there are, and which of them a tab wants.

use rustc_hash::FxHashMap;

/// Every instrument of a run. Inside the load client an instrument is its place in here.
#[derive(Debug)]
pub struct Universe {
    tokens: Vec<u32>,
    places: FxHashMap<u32, u32>,
}

impl Universe {
    /// These tokens; the second and later mentions of one are dropped.
    pub fn new(mut tokens: Vec<u32>) -> Self {
        let mut places = FxHashMap::default();
        tokens.retain(|&token| {
            let place = places.len() as u32;
            places.insert(token, place).is_none_or(|first| {
                places.insert(token, first);
                false
            })
        });
        Self { tokens, places }
    }

    /// `count` tokens in the segment of NSE's shares: 256001, 256257, …
    pub fn made_up(count: usize) -> Self {
        Self::new((0..count as u32).map(|n| ((1000 + n) << 8) | 1).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// All tokens by place.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The place of `token`.
    #[inline]
    pub fn place(&self, token: u32) -> Option<usize> {
        self.places.get(&token).map(|&place| place as usize)
    }

    /// What tab number `tab` wants: `count` places after those of the tab before it, so that interest spreads evenly.
    pub fn share(&self, tab: usize, count: usize) -> Share {
        let count = count.min(self.len());
        Share { first: tab * count % self.len().max(1), count, of: self.len() }
    }
}

/// A run of places, wrapping at the end of the universe: membership costs one subtraction, whatever its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    first: usize,
    count: usize,
    of: usize,
}

impl Share {
    /// How many places.
    pub fn count(self) -> usize {
        self.count
    }

    /// Where in the share `place` is; `None` when the tab did not ask for it.
    #[inline]
    pub fn position(self, place: usize) -> Option<usize> {
        let position = if place >= self.first { place - self.first } else { place + self.of - self.first };
        (position < self.count).then_some(position)
    }

    /// Its places in order of their position.
    pub fn places(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |position| (self.first + position) % self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_tokens_are_shares_of_nse() {
        assert_eq!(Universe::made_up(2).tokens(), [256_001, 256_257]);
    }

    #[test]
    fn a_token_named_twice_is_one() {
        let universe = Universe::new(vec![5, 6, 5, 7]);
        assert_eq!(universe.tokens(), [5, 6, 7]);
        assert_eq!([5, 6, 7, 8].map(|token| universe.place(token)), [Some(0), Some(1), Some(2), None]);
    }

    #[test]
    fn positions_and_places_agree_across_the_wrap() {
        let universe = Universe::made_up(10);
        for tab in 0..7 {
            let share = universe.share(tab, 4);
            let wanted: Vec<usize> = share.places().collect();
            for place in 0..10 {
                assert_eq!(share.position(place), wanted.iter().position(|&other| other == place), "tab {tab}");
            }
        }
    }
}
