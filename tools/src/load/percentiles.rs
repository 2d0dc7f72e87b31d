//! Latency distributions: recorded in nanoseconds, told in microseconds, never averaged.

use hdrhistogram::Histogram;
use std::io::{self, Write};

/// Longest latency told apart, nanoseconds: two minutes. Longer ones count as that.
const HIGHEST_NS: u64 = 120_000_000_000;

/// The percentiles of every table.
pub const TOLD: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// An empty distribution of nanoseconds with three significant digits.
pub fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "fails only for bounds that these constants are not")]
    Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("valid bounds")
}

/// The value at `quantile` (0 to 1) in microseconds.
pub fn at_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// Writes the percentile distribution in microseconds, in the text form that HdrHistogram's plotters read.
///
/// # Errors
/// What `out` says.
pub fn write_distribution(histogram: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut below = 0;
    for step in histogram.iter_quantiles(5) {
        below += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        write!(out, "{:12.3} {quantile:2.12} {below:10}", step.value_iterated_to() as f64 / 1e3)?;
        // The last line has no odds: 1/(1-1).
        if quantile < 1.0 { writeln!(out, " {:14.2}", 1.0 / (1.0 - quantile))? } else { writeln!(out)? }
    }
    writeln!(out, "#[Max     = {:12.3}, Total count    = {:12}]", histogram.max() as f64 / 1e3, histogram.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_ends_with_everything_at_one() {
        let mut histogram = histogram();
        for value_us in 1..=1000 {
            histogram.record(value_us * 1000).unwrap();
        }
        let mut text = Vec::new();
        write_distribution(&histogram, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let last: Vec<&str> = text.lines().rev().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(last[1..], ["1.000000000000", "1000"]);
        assert!((at_us(&histogram, 0.5) - 500.0).abs() < 1.0);
    }
}
