//! Latency reports: percentiles by stop, and the text that HdrHistogram's plotter reads.

use crate::stats::{Collector, Stop, StopHistograms};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// `GET /stats/latency`: microseconds since the start and of the last half to whole minute.
pub fn report(collector: &Collector) -> Value {
    json!({
        "unit": "us",
        "since_start": stops(collector.since_start()),
        "recent": stops(&collector.recent()),
    })
}

fn stops(histograms: &StopHistograms) -> Value {
    let rows = Stop::ALL.iter().map(|stop| (stop.name().to_owned(), percentiles(histograms.of(*stop))));
    Value::Object(rows.collect::<Map<_, _>>())
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    if histogram.is_empty() {
        return json!({"count": 0});
    }
    json!({
        "count": histogram.len(),
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p99.9": at(0.999),
        "max": histogram.max() as f64 / 1e3,
    })
}

/// One stop's percentile distribution in microseconds, in the format of HdrHistogram's `.hgrm` files.
pub fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for step in histogram.iter_quantiles(5) {
        let value = step.value_iterated_to() as f64 / 1e3;
        let quantile = step.quantile_iterated_to();
        let total = histogram.count_between(0, step.value_iterated_to());
        if quantile < 1.0 {
            let _ = writeln!(text, "{value:12.3} {quantile:2.12} {total:10} {:14.2}", 1.0 / (1.0 - quantile));
        } else {
            let _ = writeln!(text, "{value:12.3} {quantile:2.12} {total:10}");
        }
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        histogram.mean() / 1e3,
        histogram.stdev() / 1e3
    );
    let _ =
        writeln!(text, "#[Max     = {:12.3}, Total count    = {:12}]", histogram.max() as f64 / 1e3, histogram.len());
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 256);
    text
}
