//! What a run has shown, as a table for people and as JSON for scripts.

use super::fleet::{Standing, Tally};
use super::gateway::Usage;
use super::percentiles::{TOLD, at_us};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::fmt::{self, Display};

/// One class of tabs at the end of a run.
#[derive(Debug)]
pub struct Class<'a> {
    /// How many tabs.
    pub tabs: usize,
    /// What they received.
    pub tally: &'a Tally,
    /// How they stand against what was published; `None` when the upstream is not ours.
    pub standing: Option<Standing>,
}

/// What slow tabs got after they read again.
#[derive(Clone, Copy, Debug)]
pub struct Resumed {
    /// Ticks, snapshots not counted.
    pub ticks: u64,
    /// Notices that updates were merged.
    pub conflated: u64,
}

/// The gateway process at three moments.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Before the first tab.
    pub idle: Usage,
    /// With every tab subscribed and nothing published.
    pub subscribed: Usage,
    /// After the last tick.
    pub after: Usage,
    /// Processor time within the window, milliseconds.
    pub window_cpu_ms: u64,
}

/// Everything a run has shown.
#[derive(Debug)]
pub struct Report<'a> {
    /// Length of the measured window, seconds.
    pub window_s: f64,
    /// The tabs that always read.
    pub healthy: Class<'a>,
    /// The tabs that stopped reading.
    pub slow: Class<'a>,
    /// What those got after they read again; `None` when there were none.
    pub resumed: Option<Resumed>,
    /// Ticks published, and how late they were written, nanoseconds; `None` when the upstream is not ours.
    pub published: Option<(u64, Histogram<u64>)>,
    /// The gateway, when its process is known.
    pub server: Option<Server>,
    /// Part of the time in which this client was not waiting, 0 to 1.
    pub client_busy: f64,
    /// Whether healthy tabs may lose ticks.
    pub allow_loss: bool,
}

impl Report<'_> {
    /// Everything that must not happen and did.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        fault(self.healthy.tally.leaked + self.slow.tally.leaked, "ticks leaked to tabs that did not ask for them");
        fault(self.healthy.tally.backwards + self.slow.tally.backwards, "ticks went backwards");
        if !self.allow_loss {
            fault(self.healthy.lost(), "ticks were lost by healthy tabs");
            fault(self.healthy.tally.closed, "healthy tabs were closed");
        }
        if self.healthy.tabs > 0 && self.healthy.tally.delivered == 0 {
            faults.push("nothing was delivered to healthy tabs".into());
        }
        faults
    }

    /// Ticks per second delivered within the window, to all tabs.
    fn delivered_per_s(&self) -> f64 {
        (self.healthy.tally.in_window + self.slow.tally.in_window) as f64 / self.window_s
    }

    fn cpu_us_per_tick(&self, server: &Server) -> f64 {
        server.window_cpu_ms as f64 * 1e3 / (self.delivered_per_s() * self.window_s).max(1.0)
    }

    /// The report as one JSON object.
    pub fn json(&self) -> Value {
        let server = self.server.map(|server| {
            json!({
                "rss_kib": {"idle": server.idle.rss_kib, "subscribed": server.subscribed.rss_kib,
                    "after": server.after.rss_kib, "peak": server.after.peak_kib},
                "cpu": server.window_cpu_ms as f64 / 1e3 / self.window_s,
                "cpu_us_per_tick": self.cpu_us_per_tick(&server),
            })
        });
        let published =
            self.published.as_ref().map(|(count, late)| json!({"ticks": count, "late_us": percentiles(late)}));
        json!({
            "window_s": self.window_s,
            "delivered_per_s": self.delivered_per_s(),
            "healthy": self.healthy.json(),
            "slow": self.slow.json(),
            "resumed": self.resumed.map(|resumed| json!({"ticks": resumed.ticks, "conflated": resumed.conflated})),
            "published": published,
            "server": server,
            "client_busy": self.client_busy,
            "faults": self.faults(),
        })
    }
}

impl Class<'_> {
    /// Gaps between ticks, and ticks missing at the end.
    fn lost(&self) -> u64 {
        self.tally.lost + self.standing.map_or(0, |standing| standing.missing)
    }

    fn json(&self) -> Value {
        let tally = self.tally;
        json!({
            "tabs": self.tabs, "delivered": tally.delivered, "snapshots": tally.snapshots,
            "latency_us": percentiles(&tally.latency), "latency_from_write_us": percentiles(&tally.from_write),
            "lost": self.lost(), "duplicated": tally.duplicated, "backwards": tally.backwards,
            "leaked": tally.leaked, "conflated": tally.conflated, "errors": tally.errors, "closed": tally.closed,
            "subscriptions": self.standing.map(|standing| standing.subscriptions),
            "outdated": self.standing.map(|standing| standing.outdated),
        })
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let tally = self.tally;
        write!(f, "{name:<8} {:>6} {:>10}", self.tabs, tally.delivered)?;
        if tally.latency.is_empty() {
            write!(f, "{}", format!("{:>10}", "-").repeat(TOLD.len() + 1))?;
        } else {
            for (_, quantile) in TOLD {
                write!(f, " {:>9.1}", at_us(&tally.latency, quantile))?;
            }
            write!(f, " {:>9.1}", tally.latency.max() as f64 / 1e3)?;
        }
        let counts = [self.lost(), tally.duplicated, tally.backwards, tally.leaked, tally.conflated, tally.closed];
        counts.iter().try_for_each(|count| write!(f, " {count:>9}"))?;
        writeln!(f)
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:>6} {:>10}", "tabs", "", "delivered")?;
        for (name, _) in TOLD {
            write!(f, " {:>9}", format!("{name} us"))?;
        }
        for name in ["max us", "lost", "twice", "backwards", "leaked", "conflated", "closed"] {
            write!(f, " {name:>9}")?;
        }
        writeln!(f)?;
        self.healthy.row(f, "healthy")?;
        if self.slow.tabs > 0 {
            self.slow.row(f, "slow")?;
        }
        writeln!(f, "delivered/s {:.0} in a window of {:.1} s", self.delivered_per_s(), self.window_s)?;
        if let Some((count, late)) = &self.published {
            let [p50, p99] = [0.5, 0.99].map(|quantile| at_us(late, quantile));
            let max = late.max() as f64 / 1e3;
            writeln!(f, "published {count}, written late by p50 {p50:.1} us, p99 {p99:.1} us, max {max:.1} us")?;
        }
        if let Some(resumed) = self.resumed {
            write!(f, "slow tabs, reading again: {} ticks, {} conflated notices", resumed.ticks, resumed.conflated)?;
            if let Some(Standing { outdated, subscriptions, .. }) = self.slow.standing {
                write!(f, "; at the end {} of {subscriptions} values were the latest", subscriptions - outdated)?;
            }
            writeln!(f)?;
        }
        if let Some(server) = self.server {
            writeln!(
                f,
                "server: RSS {} KiB idle, {} subscribed, {} after, {} at most; {:.2} cores, {:.1} us a delivered tick",
                server.idle.rss_kib,
                server.subscribed.rss_kib,
                server.after.rss_kib,
                server.after.peak_kib,
                server.window_cpu_ms as f64 / 1e3 / self.window_s,
                self.cpu_us_per_tick(&server),
            )?;
        }
        let warning = if self.client_busy > 0.8 { ": THE CLIENT IS THE BOTTLENECK" } else { "" };
        writeln!(f, "load client busy {:.0} %{warning}", self.client_busy * 100.0)?;
        for fault in self.faults() {
            writeln!(f, "FAULT: {fault}")?;
        }
        Ok(())
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let mut told: serde_json::Map<String, Value> =
        TOLD.iter().map(|&(name, quantile)| (name.into(), at_us(histogram, quantile).into())).collect();
    told.insert("max".into(), (histogram.max() as f64 / 1e3).into());
    told.insert("count".into(), histogram.len().into());
    Value::Object(told)
}
