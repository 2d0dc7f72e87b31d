//! The session state of the exchange by the clock: NSE's cash market, Monday to Friday. Holidays are not known here.

use serde_json::{Value, json};

/// Indian Standard Time is five and a half hours ahead of UTC, all year.
const IST_OFFSET_S: i64 = 19_800;

/// `GET /market/status` at a Unix time.
pub fn status(unix_s: i64) -> Value {
    let ist = unix_s + IST_OFFSET_S;
    let (day, second) = (ist.div_euclid(86_400), ist.rem_euclid(86_400));
    // 1 January 1970 was a Thursday; 0 is Monday.
    let weekday = (day + 3).rem_euclid(7);
    let at = |hour: i64, minute: i64| hour * 3_600 + minute * 60;
    let state = match second {
        _ if weekday >= 5 => "closed",
        second if second < at(9, 0) => "closed",
        second if second < at(9, 15) => "pre-open",
        second if second < at(15, 30) => "open",
        second if second < at(15, 40) => "closing",
        second if second < at(16, 0) => "post-close",
        _ => "closed",
    };
    json!({
        "exchange": "NSE",
        "status": state,
        "is_open": state == "open",
        "timezone": "Asia/Kolkata",
        "holidays": "not considered",
        "timestamp": unix_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_the_indian_clock() {
        let state = |unix_s| status(unix_s)["status"].as_str().unwrap().to_owned();
        // Friday, 20 November 2026, 09:14:59 and 09:15:00 IST.
        assert_eq!(state(1_795_146_299), "pre-open");
        assert_eq!(state(1_795_146_300), "open");
        assert_eq!(state(1_795_146_300 + 22_500), "closing");
        assert_eq!(state(1_795_146_300 + 86_400), "closed");
    }
}
