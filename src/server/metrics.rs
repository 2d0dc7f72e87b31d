//! `GET /metrics`: Prometheus text.

use super::app::App;
use crate::identity::gate::Gate;
use crate::identity::principal::Proof;
use crate::identity::refusal::Refusal;
use crate::resume::Sessions;
use crate::resume::counters::Refused as NotResumed;
use crate::stats::{Shown, Stop};
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Upper bounds of the latency buckets, nanoseconds.
const BUCKETS_NS: [u64; 14] = [
    100,
    1_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    250_000_000,
    1_000_000_000,
];

/// The whole page.
pub fn text(app: &App) -> String {
    let mut text = String::new();
    part(&mut text, "feed", app.feed_counters.list());
    part(&mut text, "writer", summed(app.writer_counters.iter().map(|counters| counters.list())));
    part(&mut text, "duty", summed(app.duty_counters.iter().map(|counters| counters.list())));
    part(&mut text, "engine", app.context.engine.counters().list());
    part(&mut text, "edge", app.edge.counters.list());
    gauge(&mut text, "tickfan_edge_waiting", "Connections that are not sessions yet.", app.edge.lobby.len() as f64);
    let ended = &app.context.vigil.counters;
    for (name, help, value) in [
        ("slow", "Connections ended because they did not take what they were sent.", &ended.slow),
        ("stale", "Connections ended because nothing came from them.", &ended.stale),
        ("drained", "Connections told that the program stops.", &ended.drained),
        ("dismissed", "Connections ended by an operator.", &ended.dismissed),
        ("abuses", "Connections ended for fragments or messages without end.", &ended.abuses),
    ] {
        counter(&mut text, &format!("tickfan_sessions_{name}_total"), help, value.load(Ordering::Relaxed));
    }
    let lost = app.context.account.audit.lost();
    counter(&mut text, "tickfan_audit_lost_total", "Events that are not in the audit log.", lost);
    let table = app.context.board.table().load();
    gauge(&mut text, "tickfan_board_slots", "Instruments with a slot.", table.len() as f64);
    let wanted = app.context.board.subscriber_counts();
    gauge(&mut text, "tickfan_board_wanted_tokens", "Instruments somebody wants.", wanted.len() as f64);
    gauge(&mut text, "tickfan_sessions", "Open connections.", app.context.registry.len() as f64);
    gauge(&mut text, "tickfan_start_time_seconds", "When the program started.", app.started_at);
    gauge(&mut text, "tickfan_stale_tokens", "Instruments told to be stale.", app.context.stale.len() as f64);
    let orders = &app.context.orders;
    let relaxed = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    counter(&mut text, "tickfan_orders_total", "Order updates of the account.", relaxed(&orders.updates));
    let deliveries = relaxed(&orders.deliveries);
    counter(&mut text, "tickfan_order_deliveries_total", "Connections they were handed to, summed up.", deliveries);
    counter(&mut text, "tickfan_orders_unheard_total", "Order updates nobody was there for.", relaxed(&orders.unheard));
    let admission = &app.context.admission;
    gauge(&mut text, "tickfan_upstream_taken", "Different instruments users have.", admission.taken() as f64);
    if let Some(capacity) = admission.limits().capacity {
        gauge(&mut text, "tickfan_upstream_capacity", "Different instruments upstream can have.", capacity as f64);
    }
    sockets(&mut text, &(app.feed.0)());
    identity(&mut text, &app.context.gate);
    resumption(&mut text, &app.context.sessions);
    latencies(&mut text, app);
    text
}

/// The upstream sockets of a feed that has any, from what `GET /ws/test` shows of them.
fn sockets(text: &mut String, feed: &serde_json::Value) {
    let Some(sockets) = feed["sockets"].as_array() else { return };
    let live = |socket: &serde_json::Value| u64::from(socket["state"] == "live");
    series(text, "live", "gauge", "Whether the upstream socket is open.", sockets, live);
    for (name, kind, field, help) in [
        ("subscribed", "gauge", "subscribed", "Instruments subscribed on the upstream socket."),
        ("messages_total", "counter", "messages", "Binary messages of the upstream socket."),
        ("bytes_total", "counter", "bytes", "Payload bytes of the upstream socket."),
        ("reconnects_total", "counter", "reconnects", "Connections of the upstream socket after its first."),
        ("unwanted_packets_total", "counter", "unwanted_packets", "Packets nobody wants from that socket, left out."),
        ("outdated_packets_total", "counter", "outdated_packets", "Packets that may be older than known, left out."),
    ] {
        series(text, name, kind, help, sockets, |socket| socket[field].as_u64().unwrap_or_default());
    }
}

fn series(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    sockets: &[serde_json::Value],
    value: impl Fn(&serde_json::Value) -> u64,
) {
    let _ = writeln!(text, "# HELP tickfan_upstream_{name} {help}\n# TYPE tickfan_upstream_{name} {kind}");
    for (number, socket) in sockets.iter().enumerate() {
        let (key, value) = (&socket["key"], value(socket));
        let _ = writeln!(text, "tickfan_upstream_{name}{{socket=\"{number}\",key=\"{key}\"}} {value}");
    }
}

/// Who was let in, who was not, and why.
fn identity(text: &mut String, gate: &Gate) {
    let counters = &gate.counters;
    let accepted = Proof::ALL.map(|proof| (proof.name(), counters.accepted[proof.index()].load(Ordering::Relaxed)));
    labelled(text, "tickfan_identity_accepted_total", "Connections let in.", "proof", &accepted);
    let refused: Vec<_> = Refusal::ALL
        .iter()
        .map(|refusal| (refusal.label(), counters.refused[refusal.index()].load(Ordering::Relaxed)))
        .collect();
    labelled(text, "tickfan_identity_refused_total", "Handshakes and tokens refused.", "reason", &refused);
    let ended = [
        ("expired", counters.expired.load(Ordering::Relaxed)),
        ("revoked", counters.revoked.load(Ordering::Relaxed)),
        ("rate", counters.rate_limited.load(Ordering::Relaxed)),
    ];
    labelled(text, "tickfan_identity_ended_total", "Open connections ended.", "reason", &ended);
    let refreshed = counters.refreshed.load(Ordering::Relaxed);
    counter(text, "tickfan_identity_refreshed_total", "Tokens replaced on open connections.", refreshed);
    let reads = [
        ("ok", counters.key_refreshes.load(Ordering::Relaxed)),
        ("failed", counters.key_failures.load(Ordering::Relaxed)),
    ];
    labelled(text, "tickfan_identity_key_reads_total", "Readings of the issuer's keys.", "result", &reads);
    let (named, revocations) = gate.sizes();
    gauge(text, "tickfan_identity_connections", "Open connections of known users.", named as f64);
    gauge(text, "tickfan_identity_revocations", "Revocations in force.", revocations as f64);
    let oldest = gate.issuers().iter().filter_map(|issuer| issuer.keys_age_s()).fold(0.0, f64::max);
    gauge(text, "tickfan_identity_keys_age_seconds", "Since the oldest keys were read.", oldest);
}

/// What is kept of sessions, and who came back.
fn resumption(text: &mut String, sessions: &Sessions) {
    let counters = &sessions.counters;
    let refused: Vec<_> = NotResumed::ALL
        .iter()
        .map(|refused| (refused.label(), counters.refused[*refused as usize].load(Ordering::Relaxed)))
        .collect();
    labelled(text, "tickfan_resume_refused_total", "Sessions not resumed.", "reason", &refused);
    for (name, help, value) in [
        ("resumed", "Sessions resumed.", &counters.resumed),
        ("superseded", "Connections closed because their session was resumed elsewhere.", &counters.superseded),
        ("evicted", "Sessions that made room for others before their time.", &counters.evicted),
        ("written", "Sessions written to their store.", &counters.written),
        ("failures", "Attempts to reach the store that failed.", &counters.failures),
        ("ignored", "Sessions in the store that could not be believed.", &counters.ignored),
    ] {
        counter(text, &format!("tickfan_resume_{name}_total"), help, value.load(Ordering::Relaxed));
    }
    let (kept, unwritten) = sessions.sizes();
    gauge(text, "tickfan_resume_kept", "Sessions that can be resumed, those in use too.", kept as f64);
    gauge(text, "tickfan_resume_unwritten", "Of these, changed since they were written.", unwritten as f64);
    let up = u8::from(sessions.is_up());
    gauge(text, "tickfan_resume_store_up", "Whether the store of sessions answers.", up.into());
}

/// What several threads count, added up.
fn summed(threads: impl Iterator<Item = Vec<Shown>>) -> Vec<Shown> {
    let add = |mut sums: Vec<Shown>, more: Vec<Shown>| {
        sums.iter_mut().zip(more).for_each(|(sum, more)| sum.value += more.value);
        sums
    };
    threads.reduce(add).unwrap_or_default()
}

/// What a part of the program counts.
fn part(text: &mut String, part: &str, counters: Vec<Shown>) {
    for Shown { name, help, value, gauge: may_fall } in counters {
        let name = format!("tickfan_{part}_{name}");
        if may_fall {
            gauge(text, &name, help, value as f64);
        } else {
            counter(text, &format!("{name}_total"), help, value);
        }
    }
}

fn labelled(text: &mut String, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
    for (value, count) in values {
        let _ = writeln!(text, "{name}{{{label}=\"{value}\"}} {count}");
    }
}

fn counter(text: &mut String, name: &str, help: &str, value: u64) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
}

fn gauge(text: &mut String, name: &str, help: &str, value: f64) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
}

fn latencies(text: &mut String, app: &App) {
    let name = "tickfan_stop_seconds";
    let _ = writeln!(text, "# HELP {name} Time at each stop of a tick.\n# TYPE {name} histogram");
    app.with_histograms(|collector| {
        for stop in Stop::ALL {
            let histogram = collector.since_start().of(stop);
            let label = stop.name();
            for bound in BUCKETS_NS {
                let below = histogram.count_between(0, bound);
                let _ = writeln!(text, "{name}_bucket{{stop=\"{label}\",le=\"{}\"}} {below}", bound as f64 / 1e9);
            }
            let (count, sum) = (histogram.len(), histogram.mean() * histogram.len() as f64 / 1e9);
            let _ = writeln!(text, "{name}_bucket{{stop=\"{label}\",le=\"+Inf\"}} {count}");
            let _ = writeln!(text, "{name}_sum{{stop=\"{label}\"}} {sum}\n{name}_count{{stop=\"{label}\"}} {count}");
        }
    });
}
