//! Every indicator over every public series of the golden set, by the set's own rule.
//!
//! The set is not part of this repository. It is in `$TICKFAN_SHARED/golden`, or in `../shared/golden` beside the
//! manifest; without it this test says so and passes.

use serde_json::Value;
use std::path::PathBuf;
use tickfan::indicators::{read_bars, series};
use tickfan::market::indicator::IndicatorId;

fn golden() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("TICKFAN_SHARED").map_or_else(beside, PathBuf::from);
    Some(shared.join("golden")).filter(|golden| golden.is_dir())
}

#[test]
fn all_match_the_golden_set() {
    let Some(golden) = golden() else { return eprintln!("skipped: there is no golden set; set TICKFAN_SHARED") };
    let (mut matching, mut failures) = (0, Vec::new());
    for set in std::fs::read_dir(&golden).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for expected in std::fs::read_dir(set.join("expected")).unwrap().map(|entry| entry.unwrap().path()) {
            let name = expected.file_stem().unwrap().to_string_lossy().into_owned();
            let csv = std::fs::File::open(set.join(&name).with_extension("csv")).unwrap();
            let bars = read_bars(csv).unwrap_or_else(|error| panic!("{name}: {error}"));
            let expected: Value = serde_json::from_str(&std::fs::read_to_string(expected).unwrap()).unwrap();
            for entry in expected["results"].as_array().unwrap() {
                let id: IndicatorId = entry["id"].as_str().unwrap().parse().unwrap();
                assert_eq!(id.to_string(), entry["id"].as_str().unwrap());
                match compare(&series(&id, &bars).unwrap(), entry) {
                    Ok(()) => matching += 1,
                    Err(why) => failures.push(format!("{name}/{id}: {why}")),
                }
            }
        }
    }
    println!("{matching} match");
    assert!(failures.is_empty() && matching > 0, "{}", failures.join("\n"));
}

fn compare(computed: &Value, entry: &Value) -> Result<(), String> {
    let rtol = entry["rtol"].as_f64().unwrap();
    match &entry["values"] {
        Value::Object(outputs) => outputs.iter().try_for_each(|(name, wanted)| {
            let (from, atol) = (&entry["required_from"][name], &entry["atol"][name]);
            judge(&computed[name], wanted, from, rtol, atol).map_err(|why| format!("{name}: {why}"))
        }),
        wanted => judge(computed, wanted, &entry["required_from"], rtol, &entry["atol"]),
    }
}

/// Null where null is wanted, else a number near the wanted one; before `from`, null is good too.
fn judge(computed: &Value, wanted: &Value, from: &Value, rtol: f64, atol: &Value) -> Result<(), String> {
    let (computed, wanted) = (computed.as_array().ok_or("no list")?, wanted.as_array().unwrap());
    let (from, atol) = (from.as_u64().unwrap() as usize, atol.as_f64().unwrap());
    if computed.len() != wanted.len() {
        return Err(format!("{} bars instead of {}", computed.len(), wanted.len()));
    }
    for (bar, (got, want)) in computed.iter().zip(wanted).enumerate() {
        let good = match (got.as_f64(), want.as_f64()) {
            (None, None) => true,
            (None, Some(_)) => bar < from,
            (Some(_), None) => false,
            (Some(got), Some(want)) => (got - want).abs() <= rtol * want.abs() + atol,
        };
        if !good {
            return Err(format!("bar {bar}: {got} instead of {want}"));
        }
    }
    Ok(())
}
