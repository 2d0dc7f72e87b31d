//! The load client against a relay that is told to do wrong: every fault must be seen, and none where there is none.

use serde_json::Value;
use std::process::Command;

/// Exit code and report of a short run against the relay with that fault.
fn run(fault: &str, more: &[&str]) -> (i32, Value) {
    let relay = env!("CARGO_BIN_EXE_relay");
    let spawn = format!("{relay} --kite 127.0.0.1:{{kite}} --fault {fault}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fan-load"));
    command.args(["--json", "--quiet", "--tabs", "20", "--universe", "30", "--tokens-per-tab", "6", "--rate", "2000"]);
    let output = command.args(["--warm-up", "0.2", "--seconds", "1", "--spawn", &spawn]).args(more).output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

#[test]
fn an_honest_relay_passes() {
    let file = tempfile();
    let (code, report) = run("none", &["--rate", "500", "--hgrm", &file]);
    assert_eq!((code, &report["faults"]), (0, &Value::Array(Vec::new())), "{report}");
    // Every tick goes to 20 * 6 / 30 tabs, in the warm-up too.
    assert_eq!(report["healthy"]["delivered"].as_u64(), report["published"]["ticks"].as_u64().map(|ticks| ticks * 4));
    assert!(report["healthy"]["latency_us"]["p50"].as_f64() > Some(0.0), "{report}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("1.000000000000"));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn every_fault_is_seen() {
    for (fault, field) in [("leak", "leaked"), ("drop", "lost"), ("backwards", "backwards")] {
        let (code, report) = run(fault, &[]);
        assert!(code == 1 && report["healthy"][field].as_u64() > Some(0), "{fault}: exit {code}, {report}");
    }
    let (_, report) = run("twice", &[]);
    assert!(report["healthy"]["duplicated"].as_u64() > Some(0), "{report}");
    assert_eq!(run("drop", &["--allow-loss"]).0, 0);
}

#[test]
fn in_ltp_mode_leaks_are_still_seen() {
    let (code, report) = run("none", &["--mode", "ltp", "--rate", "500"]);
    assert_eq!((code, &report["healthy"]["latency_us"]), (0, &Value::Null), "{report}");
    assert_eq!(run("leak", &["--mode", "ltp"]).0, 1);
}

#[test]
fn slow_tabs_are_told_apart_and_end_with_the_latest_values() {
    let slow =
        ["--slow", "4", "--seconds", "2", "--slow-seconds", "1.5", "--slow-receive-buffer", "4096", "--rate", "20000"];
    // A rate that fills sockets is more than a busy machine keeps up with: then healthy tabs lose ticks too.
    let (code, report) = run("none", &[&slow[..], &["--allow-loss"]].concat());
    assert_eq!((code, &report["slow"]["tabs"]), (0, &Value::from(4)), "{report}");
    assert_eq!(report["slow"]["outdated"], 0, "{report}");
    assert!(report["resumed"]["ticks"].as_u64() > Some(0), "{report}");
    assert!(report["slow"]["conflated"].as_u64() > Some(0), "{report}");
}

fn tempfile() -> String {
    let file = std::env::temp_dir().join(format!("fan-load-{}.hgrm", std::process::id()));
    file.to_string_lossy().into_owned()
}
