//! The sequence numbers one tab has seen, and what each new one means.

/// What a sequence number means after the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The expected one.
    Next,
    /// That many were skipped; right for a slow tab, a loss for a healthy one.
    Gap(u32),
    /// The same again.
    Duplicate,
    /// An older one: never right.
    Backwards,
}

/// The last sequence number of each position of a tab's share; 0 before the first.
#[derive(Debug)]
pub struct Ledger(Vec<u32>);

impl Ledger {
    /// Nothing seen at any of `count` positions.
    pub fn new(count: usize) -> Self {
        Self(vec![0; count])
    }

    /// Enters `sequence`.
    #[inline]
    pub fn enter(&mut self, position: usize, sequence: u32) -> Step {
        let last = &mut self.0[position];
        let step = match sequence.checked_sub(*last) {
            None => return Step::Backwards,
            Some(0) => Step::Duplicate,
            Some(1) => Step::Next,
            Some(ahead) => Step::Gap(ahead - 1),
        };
        *last = sequence;
        step
    }

    /// The last number seen at `position`.
    pub fn last(&self, position: usize) -> u32 {
        self.0[position]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_step() {
        let mut ledger = Ledger::new(2);
        let steps = [1, 2, 2, 5, 4, 6].map(|sequence| ledger.enter(1, sequence));
        assert_eq!(steps, [Step::Next, Step::Next, Step::Duplicate, Step::Gap(2), Step::Backwards, Step::Next]);
        assert_eq!((ledger.last(0), ledger.last(1)), (0, 6));
    }
}
