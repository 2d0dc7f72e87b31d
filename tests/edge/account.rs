//! What is written down, and what is known of what is wanted.

use serde_json::{Value, json};
use tickfan::account::journal::{Journal, Keep};
use tickfan::secret::Secret;

use crate::support::client::{Client, get};
use crate::support::eventually;
use crate::support::ticks::{INFY, RELIANCE};
use crate::{KEY, ask, evict, quick, with};

#[test]
fn what_happened_is_in_the_audit_log() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.log");
    let journal = Journal::open(file.clone(), Keep { bytes: 1 << 20, files: 1 }).unwrap();
    let (gateway, script) = with(|settings| {
        quick(settings);
        settings.journal = Some(journal);
        settings.admin.key = Some(Secret::new(KEY));
    });
    let mut tab = gateway.client();
    tab.subscribe(&[INFY, RELIANCE], json!({"symbols": ["no\nsuch\x1b[31m"]}));
    tab.ask(&json!({"action": "unsubscribe", "tokens": [INFY]}));
    tab.close();
    gateway.until_empty();
    let mut frozen = Client::with_receive_buffer(gateway.address, 4_096);
    frozen.subscribe(&[INFY], json!({"mode": "full"}));
    evict(&gateway, &script);
    gateway.until_empty();
    ask(gateway.address, "DELETE", "/ws/connections/x%0ay", &format!("Authorization: Bearer {KEY}\r\n"));
    ask(gateway.address, "DELETE", "/ws/connections/x", "Authorization: Bearer a-wrong-key-of-some-length\r\n");
    gateway.stop();
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| format!("{} {}", line["event"].as_str().unwrap(), line["result"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            "start done",
            "connect done",
            "subscribe done",
            "unsubscribe done",
            "close done",
            "connect done",
            "subscribe done",
            "evict done",
            "close done",
            "admin refused",
            "admin refused",
            "stop done",
        ]
    );
    assert_eq!((&lines[2]["tokens"], &lines[2]["unknown"], &lines[2]["mode"]), (&json!(2), &json!(1), &json!("quote")));
    assert_eq!((&lines[3]["tokens"], &lines[4]["reason"]), (&json!(1), &json!("client")));
    assert_eq!((&lines[7]["reason"], &lines[8]["code"]), (&json!("too slow"), &json!(4_408)));
    assert!(lines[1..5].iter().all(|line| line["session"] == lines[1]["session"] && line["user"] == lines[1]["user"]));
    assert_eq!(lines[9]["target"], "x\\u{a}y");
    assert!(!text.contains(KEY) && !text.contains("a-wrong-key"), "{text}");
}

#[test]
fn what_is_wanted_most_is_known() {
    let (gateway, _script) = with(|_| {});
    let (mut one, mut two) = (gateway.client(), gateway.client());
    one.subscribe(&[INFY, RELIANCE], json!({}));
    two.subscribe(&[INFY], json!({}));
    one.close();
    let report = eventually("a session has ended, and all is counted", || {
        let report = get(gateway.address, "/stats/subscriptions").json();
        (report["day"]["sessions_ended"]["count"] == 1 && report["day"]["subscriptions"] == 3).then_some(report)
    });
    for span in ["minute", "hour", "day"] {
        assert_eq!(report[span]["subscriptions"], 3, "{report}");
        assert_eq!(report[span]["topics"][0], json!({"topic": INFY.to_string(), "subscriptions": 2}));
        assert_eq!(report[span]["users"].as_array().unwrap().len(), 2);
    }
}
