//! What is wanted most, by whom, and how long sessions last: over the last minute, hour and day.
//!
//! Each span is a ring of buckets; the oldest falls out as a whole. A span is therefore between its length and its length
//! less one bucket: 50 to 60 s, 55 to 60 min, 23 to 24 h. Memory is bounded: 42 buckets with three [tallies](Tally) each.

use super::tally::{self, Tally};
use crate::clock::Clock;
use serde_json::{Map, Value, json};
use std::sync::PoisonError;
use std::time::Duration;

#[expect(clippy::disallowed_types, reason = "control side: met by requests of clients and operators, never by a tick")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// See the module. Control side.
#[derive(Debug)]
pub struct Analytics {
    clock: Clock,
    spans: ColdMutex<[Span; 3]>,
}

/// Names in an answer.
const SHOWN: usize = 20;

/// What can be subscribed to. Each kind has a list of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topics {
    /// Instruments, by their tokens.
    Instruments,
    /// Indicators, by their ids, whatever they are of.
    Indicators,
}

impl Analytics {
    /// Nothing yet.
    pub fn new(clock: Clock) -> Self {
        let span = |name, bucket_s: u64, buckets| Span {
            name,
            bucket_ns: bucket_s * 1_000_000_000,
            buckets: vec![Bucket::default(); buckets],
            newest: 0,
        };
        let spans = [span("minute", 10, 6), span("hour", 300, 12), span("day", 3_600, 24)];
        Self { clock, spans: spans.into() }
    }

    /// A user subscribed to topics of a kind.
    pub fn subscribed<'a>(&self, user: &str, kind: Topics, topics: impl Iterator<Item = &'a str> + Clone) {
        self.each(|bucket| {
            let tally = match kind {
                Topics::Instruments => &mut bucket.topics,
                Topics::Indicators => &mut bucket.indicators,
            };
            let mut count = 0;
            for topic in topics.clone() {
                tally.add(topic, 1);
                count += 1;
            }
            bucket.subscriptions += count;
            bucket.users.add(user, count);
        });
    }

    /// A session ended that lasted so long.
    pub fn ended(&self, lasted: Duration) {
        self.each(|bucket| bucket.sessions.add(lasted));
    }

    fn each(&self, mut change: impl FnMut(&mut Bucket)) {
        let now = self.clock.now_ns();
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter_mut().for_each(|span| change(span.now(now)));
    }

    /// What `GET /stats/subscriptions` shows.
    pub fn report(&self) -> Value {
        let now = self.clock.now_ns();
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = Map::new();
        for span in spans.iter_mut() {
            span.now(now);
            report.insert(span.name.into(), span.report());
        }
        Value::Object(report)
    }
}

#[derive(Debug)]
struct Span {
    name: &'static str,
    bucket_ns: u64,
    buckets: Vec<Bucket>,
    /// Number of the newest bucket, counted from monotonic 0; it lies at this number modulo their count.
    newest: u64,
}

impl Span {
    /// The bucket of that time; those that have passed since the last call are emptied.
    fn now(&mut self, now_ns: u64) -> &mut Bucket {
        let (number, count) = (now_ns / self.bucket_ns, self.buckets.len() as u64);
        for passed in (self.newest + 1..=number).take(self.buckets.len()) {
            self.buckets[(passed % count) as usize] = Bucket::default();
        }
        // After a long silence all of them are empty, wherever the first of them lay.
        self.newest = self.newest.max(number);
        &mut self.buckets[(self.newest % count) as usize]
    }

    fn report(&self) -> Value {
        let list = |pick: fn(&Bucket) -> &Tally, name: &str| {
            let (names, error) = tally::top(self.buckets.iter().map(pick), SHOWN);
            let names: Vec<_> =
                names.into_iter().map(|(text, count)| json!({name: text, "subscriptions": count})).collect();
            (names, error)
        };
        let (topics, topics_error) = list(|bucket| &bucket.topics, "topic");
        let (indicators, indicators_error) = list(|bucket| &bucket.indicators, "indicator");
        let (users, users_error) = list(|bucket| &bucket.users, "user");
        let mut sessions = Sessions::default();
        self.buckets.iter().for_each(|bucket| sessions.merge(&bucket.sessions));
        json!({
            "subscriptions": self.buckets.iter().map(|bucket| bucket.subscriptions).sum::<u64>(),
            "topics": topics,
            // By how much a count may be short; 0 while there are few different names.
            "topics_error": topics_error,
            "indicators": indicators,
            "indicators_error": indicators_error,
            "users": users,
            "users_error": users_error,
            "sessions_ended": sessions.report(),
        })
    }
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    topics: Tally,
    indicators: Tally,
    users: Tally,
    subscriptions: u64,
    sessions: Sessions,
}

/// Lengths of sessions: how many lasted at least 0, 1, 2, 4 … seconds.
#[derive(Clone, Debug, Default)]
struct Sessions {
    lasted: [u64; STEPS],
    seconds: f64,
    longest: f64,
}

/// The last step is 2^18 s, three days.
const STEPS: usize = 20;

impl Sessions {
    fn add(&mut self, lasted: Duration) {
        let step = lasted.as_secs().checked_ilog2().map_or(0, |log| log as usize + 1);
        self.lasted[step.min(STEPS - 1)] += 1;
        self.seconds += lasted.as_secs_f64();
        self.longest = self.longest.max(lasted.as_secs_f64());
    }

    fn merge(&mut self, other: &Self) {
        self.lasted.iter_mut().zip(other.lasted).for_each(|(sum, count)| *sum += count);
        self.seconds += other.seconds;
        self.longest = self.longest.max(other.longest);
    }

    fn report(&self) -> Value {
        let count: u64 = self.lasted.iter().sum();
        let steps = self.lasted.iter().enumerate().filter(|(_, count)| **count > 0);
        let below: Vec<_> = steps.map(|(step, count)| json!({"below_s": 1_u64 << step, "sessions": count})).collect();
        let mean = if count == 0 { 0.0 } else { self.seconds / count as f64 };
        json!({"count": count, "mean_s": mean, "longest_s": self.longest, "lengths": below})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriptions(analytics: &Analytics) -> [u64; 3] {
        let report = analytics.report();
        ["minute", "hour", "day"].map(|span| report[span]["subscriptions"].as_u64().unwrap())
    }

    #[test]
    fn each_span_forgets_what_is_older() {
        let clock = Clock::manual(0);
        let analytics = Analytics::new(clock.clone());
        analytics.subscribed("alice", Topics::Instruments, ["738561", "408065"].into_iter());
        assert_eq!(subscriptions(&analytics), [2, 2, 2]);
        clock.advance(Duration::from_secs(30));
        analytics.subscribed("bob", Topics::Instruments, ["738561"].into_iter());
        assert_eq!(subscriptions(&analytics), [3, 3, 3]);
        clock.advance(Duration::from_secs(30));
        assert_eq!(subscriptions(&analytics), [1, 3, 3], "the first ten seconds have left the minute");
        clock.advance(Duration::from_secs(30));
        assert_eq!(subscriptions(&analytics), [0, 3, 3]);
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(subscriptions(&analytics), [0, 0, 3]);
        clock.advance(Duration::from_secs(86_400));
        assert_eq!(subscriptions(&analytics), [0, 0, 0]);
        clock.advance(Duration::from_secs(1_000 * 86_400));
        analytics.subscribed("carol", Topics::Instruments, ["1"].into_iter());
        assert_eq!(subscriptions(&analytics), [1, 1, 1], "after a long silence, too");
    }

    #[test]
    fn topics_and_users_come_by_their_counts() {
        let analytics = Analytics::new(Clock::manual(0));
        analytics.subscribed("alice", Topics::Instruments, ["1", "2", "3"].into_iter());
        analytics.subscribed("bob", Topics::Instruments, ["2"].into_iter());
        analytics.subscribed("bob", Topics::Indicators, ["RSI_14"].into_iter());
        let hour = &analytics.report()["hour"];
        assert_eq!(hour["topics"][0], json!({"topic": "2", "subscriptions": 2}));
        assert_eq!(hour["users"][0], json!({"user": "alice", "subscriptions": 3}));
        assert_eq!(hour["users"][1], json!({"user": "bob", "subscriptions": 2}));
        assert_eq!((&hour["topics_error"], hour["topics"].as_array().unwrap().len()), (&json!(0), 3));
        assert_eq!(hour["indicators"], json!([{"indicator": "RSI_14", "subscriptions": 1}]));
        assert_eq!(hour["subscriptions"], 5);
    }

    #[test]
    fn sessions_are_counted_by_their_lengths() {
        let analytics = Analytics::new(Clock::manual(0));
        for milliseconds in [10, 999, 1_000, 3_999, 4_000, 1_000_000_000] {
            analytics.ended(Duration::from_millis(milliseconds));
        }
        let ended = &analytics.report()["minute"]["sessions_ended"];
        assert_eq!(ended["count"], 6);
        assert_eq!(ended["longest_s"], 1_000_000.0);
        let lengths = ended["lengths"].as_array().unwrap();
        let below: Vec<_> =
            lengths.iter().map(|length| (length["below_s"].as_u64(), length["sessions"].as_u64())).collect();
        let expected = [(1, 2), (2, 1), (4, 1), (8, 1), (1 << 19, 1)];
        assert_eq!(below, expected.map(|(below, count)| (Some(below), Some(count))));
    }
}
