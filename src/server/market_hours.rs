//! The session state of the exchanges by the clock and the calendar.

use crate::market::calendar::{Calendar, Ist, SegmentKind, State, Status};
use serde_json::{Map, Value, json};

/// `GET /market/status` at a Unix time. The fields beside `segments` are those of shares without derivatives on NSE, as clients
/// know them; times are RFC 3339 in Indian time.
pub fn status(calendar: &Calendar, unix_s: i64) -> Value {
    let of = |kind| segment(&calendar.status(kind, unix_s));
    let segments: Map<String, Value> =
        SegmentKind::ALL.into_iter().map(|kind| (kind.name().to_owned(), of(kind))).collect();
    let mut reply = json!({"exchange": "NSE", "timezone": "Asia/Kolkata", "timestamp": unix_s});
    if let (Value::Object(reply), Value::Object(cash)) = (&mut reply, of(SegmentKind::Cash)) {
        reply.extend(cash);
        reply.insert("segments".to_owned(), segments.into());
    }
    reply
}

fn segment(status: &Status<'_>) -> Value {
    json!({
        "status": status.state.name(),
        "is_open": status.state == State::Open,
        "next_change": status.next.map(|(at, _)| Ist(at).to_string()),
        "next_status": status.next.map(|(_, state)| state.name()),
        "occasion": status.occasion,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_clock_and_calendar() {
        let calendar = Calendar::built_in().unwrap();
        let status = |unix_s| status(&calendar, unix_s);
        let state = |unix_s| status(unix_s)["status"].as_str().unwrap().to_owned();
        // Friday, 20 November 2026, 09:15:00 IST.
        let open = 1_795_146_300;
        assert_eq!(state(open - 1), "pre-open");
        assert_eq!(state(open), "open");
        assert_eq!(state(open + 22_500), "closing");
        assert_eq!(state(open + 86_400), "closed");
        // Tuesday, a holiday: named; MCX has its evening.
        let holiday = status(open + 4 * 86_400);
        assert_eq!(holiday["status"], "closed");
        assert_eq!(holiday["occasion"], "Guru Nanak Jayanti");
        assert_eq!(holiday["next_change"], "2026-11-25T09:00:00+05:30");
        assert_eq!(holiday["segments"]["mcx-non-agri"]["next_change"], "2026-11-24T17:00:00+05:30");
        // Since August 2026 shares with derivatives are in their closing auction at 15:20.
        let segments = &status(open + 365 * 60)["segments"];
        assert_eq!(segments["cash-fno"]["status"], "closing-auction");
        assert_eq!(segments["cash"]["is_open"], true);
        assert_eq!(segments.as_object().unwrap().len(), SegmentKind::ALL.len());
    }
}
