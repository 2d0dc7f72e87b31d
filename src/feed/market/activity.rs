//! Which instrument ticks next.

use super::random::Random;

/// This share of all ticks is spread evenly, so that the quietest instrument ticks now and then too.
const EVEN: f64 = 0.1;

/// An alias table (Walker, Vose): a choice among any number of weights costs one random number and one look.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    /// Per column: below the threshold it is the column itself, above it is the other.
    columns: Vec<(u32, u32)>,
}

impl Activity {
    /// `weights` are positive and at least one.
    pub(super) fn new(weights: &[f64]) -> Self {
        let count = weights.len() as f64;
        let sum: f64 = weights.iter().sum();
        let mut heights: Vec<f64> = weights.iter().map(|weight| weight / sum * count * (1.0 - EVEN) + EVEN).collect();
        let mut columns: Vec<(u32, u32)> = (0..weights.len() as u32).map(|column| (u32::MAX, column)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&column| heights[column] < 1.0);
        while let (Some(low), Some(high)) = (small.pop(), large.pop()) {
            columns[low] = ((heights[low] * f64::from(u32::MAX)) as u32, high as u32);
            heights[high] -= 1.0 - heights[low];
            if heights[high] < 1.0 { small.push(high) } else { large.push(high) }
        }
        Self { columns }
    }

    #[inline]
    pub(super) fn next(&self, random: &mut Random) -> usize {
        let chance = random.next();
        let column = (((chance >> 32) * self.columns.len() as u64) >> 32) as usize;
        let (threshold, other) = self.columns[column];
        if chance as u32 <= threshold { column } else { other as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_follow_the_weights() {
        let weights = [8.0, 4.0, 2.0, 1.0, 1.0];
        let (activity, mut random) = (Activity::new(&weights), Random::new(1));
        let mut counts = [0.0; 5];
        for _ in 0..100_000 {
            counts[activity.next(&mut random)] += 1.0;
        }
        for (weight, count) in weights.iter().zip(counts) {
            let expected = 100_000.0 * (weight / 16.0 * 0.9 + 0.1 / 5.0);
            assert!((count - expected).abs() < 600.0, "{count} for {expected}");
        }
    }
}
