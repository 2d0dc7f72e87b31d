//! Who may know whom, and what the hot path may not contain: read from the source text itself.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers from the bottom up: a module, and which modules it may name. A module may name itself, and nothing that
/// stands below it in this list, so no two know each other. The longest name that fits a path counts.
const LAYERS: &[(&str, &[&str])] = &[
    ("market", &[]),
    ("clock", &[]),
    ("room", &[]),
    ("private_file", &[]),
    ("stats", &[]),
    ("secret", &[]),
    ("account", &["clock", "private_file"]),
    // The macro `key!` is wire's own.
    ("key", &[]),
    ("kite::packet", &["market"]),
    ("wire", &["market", "secret", "key", "kite::packet"]),
    ("identity", &["market", "wire", "clock", "private_file", "secret"]),
    ("resume", &["market", "identity", "clock", "private_file", "secret"]),
    ("kite::instruments", &["market"]),
    ("kite::login", &["private_file", "secret"]),
    ("tape", &["market", "kite::packet"]),
    ("history", &["market", "kite::instruments", "secret", "clock"]),
    ("store", &["market", "clock"]),
    ("fanout", &["market", "wire", "kite::packet", "clock", "stats"]),
    ("feed", &["market", "kite::packet", "tape", "secret", "clock"]),
    ("engine", &["market", "wire", "kite::packet", "fanout", "store", "clock", "room", "stats"]),
    (
        "session",
        &[
            "market",
            "wire",
            "identity",
            "resume",
            "account",
            "kite::instruments",
            "fanout",
            "engine",
            "clock",
            "room",
            "secret",
            "stats",
        ],
    ),
    ("freshness", &["market", "wire", "kite::instruments", "fanout", "feed", "engine", "session", "clock"]),
    ("duty", &["market", "fanout::publisher", "fanout::slot", "feed", "session", "clock", "room", "stats"]),
    ("sandbox", &["market", "kite::packet", "feed", "secret"]),
    ("demand", &["market", "fanout::board"]),
    (
        "server",
        &[
            "market",
            "wire::indicator_request",
            "identity",
            "resume",
            "account",
            "kite::instruments",
            "fanout",
            "feed::kite",
            "session",
            "clock",
            "secret",
            "stats",
        ],
    ),
    ("decode", &["market", "kite::packet", "tape"]),
    ("candles", &["market", "kite::packet", "tape"]),
    ("indicators", &["market", "history::csv"]),
    ("record", &["market", "feed", "tape", "clock"]),
    ("config", &["kite::instruments", "secret"]),
    (
        "gateway",
        &[
            "market",
            "wire",
            "identity",
            "account",
            "resume",
            "kite::instruments",
            "fanout",
            "engine",
            "history",
            "store",
            "feed",
            "session",
            "duty",
            "demand",
            "freshness",
            "server",
            "clock",
            "stats",
        ],
    ),
    // These two put the program together: the only ones that know the settings.
    ("assembly", &[ALL]),
    ("cli", &[ALL]),
];
const ALL: &str = "*";

/// Names that only lead to the modules in them, and know none.
const ROOTS: &[&str] = &["lib", "main", "kite"];

/// One line of the source.
struct Line {
    file: String,
    number: usize,
    /// Without its comment.
    code: String,
    /// It belongs to a module of tests.
    test: bool,
}

impl Line {
    /// The module whose file it stands in: `feed::market::book`.
    fn module(&self) -> String {
        let path = self.file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        path.replace('/', "::")
    }
}

fn files(under: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every line of the program.
fn source() -> Vec<Line> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut lines = Vec::new();
    for path in files(&root.join("src")) {
        let file = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let mut test = file.ends_with("/tests.rs");
        for (at, line) in text.lines().enumerate() {
            test |= line == "mod tests {";
            let code = line.split("//").next().unwrap_or_default().to_owned();
            lines.push(Line { file: file.clone(), number: at + 1, code, test });
        }
    }
    assert!(lines.len() > 5_000, "the source was not found");
    lines
}

/// The names behind each `crate::` in a line, as far as they are written out: `fanout::slot`.
fn named(code: &str) -> Vec<String> {
    let name = |rest: &str| -> String {
        let end = rest.find(|letter: char| !(letter.is_alphanumeric() || "_:".contains(letter)));
        rest[..end.unwrap_or(rest.len())].trim_end_matches(':').to_owned()
    };
    let starts = code.match_indices("crate::").filter(|(at, _)| {
        !code[..*at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$')
    });
    starts.map(|(at, found)| name(&code[at + found.len()..])).collect()
}

fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The layer a path belongs to.
fn layer(path: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    LAYERS.iter().filter(|(module, _)| is_in(path, module)).max_by_key(|(module, _)| module.len())
}

/// What is wrong with a line, if anything.
fn breach(line: &Line) -> Option<String> {
    let module = line.module();
    // More steps up than the file is deep lead past every rule; an inline module of tests is one deeper.
    let depth = module.split("::").count() + usize::from(line.test);
    if line.code.contains(&"super::".repeat(depth)) {
        return Some("`super` up to the crate's root: say `crate::`".to_owned());
    }
    let names = named(&line.code);
    if ROOTS.contains(&module.as_str()) {
        return names.first().map(|_| format!("{module} only leads to other modules"));
    }
    let Some((own, allowed)) = layer(&module) else {
        return Some(format!("{module} is in no layer: give it a place in tests/layers.rs"));
    };
    names.into_iter().find_map(|name| {
        if name.is_empty() {
            return Some("`crate::{` hides what it names: one `use` a module".to_owned());
        }
        let fits = is_in(&name, own) || allowed.iter().any(|module| *module == ALL || is_in(&name, module));
        (!fits).then(|| format!("{own} may know {allowed:?} and not {name}"))
    })
}

#[test]
fn every_module_knows_only_what_it_may() {
    let breaches: Vec<_> =
        source().iter().filter_map(|line| Some(format!("{}:{}: {}", line.file, line.number, breach(line)?))).collect();
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn the_layers_have_one_direction() {
    for (at, (module, allowed)) in LAYERS.iter().enumerate() {
        for name in allowed.iter().filter(|name| **name != ALL) {
            let below = LAYERS[..at].iter().any(|(lower, _)| is_in(name, lower));
            assert!(below, "{module} may know {name}, which does not stand above it in the list");
        }
    }
}

#[test]
fn a_breach_is_found() {
    let line = |file: &str, code: &str| Line { file: file.into(), number: 1, code: code.into(), test: false };
    for (file, code) in [
        ("src/market/tick.rs", "use crate::wire::Format;"),
        ("src/wire/push.rs", "    let x = crate::clock::Clock::system();"),
        ("src/kite/instruments/table.rs", "use crate::kite::packet;"),
        ("src/fanout/slot.rs", "use crate::session::lane::Lane;"),
        ("src/fanout/slot.rs", "use crate::{session, market};"),
        ("src/fanout/slot.rs", "use super::super::session;"),
        ("src/duty.rs", "use crate::fanout::board::Board;"),
        ("src/session/mod.rs", "use super::config;"),
        ("src/kite/mod.rs", "use crate::market::Tick;"),
        ("src/brand_new.rs", ""),
    ] {
        assert!(breach(&line(file, code)).is_some(), "{file}: {code}");
    }
    assert!(breach(&line("src/session/mod.rs", "use crate::fanout::slot::Slot;")).is_none());
}

/// What each tick comes by, or every turn of a thread that carries ticks.
const HOT: &[&str] = &[
    "src/duty.rs",
    "src/duty/congestion.rs",
    "src/fanout/",
    "src/feed/market.rs",
    "src/feed/market/",
    "src/feed/mod.rs",
    "src/kite/packet.rs",
    "src/market/",
    "src/session/batch.rs",
    "src/session/envelope.rs",
    "src/session/lane.rs",
    "src/session/outlet.rs",
    "src/session/packets.rs",
    "src/session/tab.rs",
    "src/session/turn.rs",
    "src/session/writer.rs",
    "src/stats/",
];

/// What stops a thread, or writes for somebody to read, whether anybody does or not. Warnings and errors are for what
/// has gone wrong, and so not per tick.
const COLD: &[&str] = &[
    "Mutex",
    "RwLock",
    "Condvar",
    "parking_lot",
    ".lock()",
    ".await",
    "async ",
    "tracing::trace!",
    "tracing::debug!",
    "tracing::info!",
    "println!",
    "print!",
    "dbg!",
];

/// The board has the one lock there is: among those who subscribe, and never met by a tick.
const COLD_LOCK: (&str, &[&str]) = ("src/fanout/board.rs", &["Mutex", ".lock()"]);

#[test]
fn the_hot_path_takes_no_lock_waits_for_nothing_and_says_nothing() {
    let lines = source();
    for file in HOT {
        assert!(lines.iter().any(|line| line.file.starts_with(file)), "{file} is gone");
    }
    let mut breaches = Vec::new();
    for line in lines.iter().filter(|line| !line.test && HOT.iter().any(|file| line.file.starts_with(file))) {
        for word in COLD.iter().filter(|word| line.code.contains(**word)) {
            if line.file != COLD_LOCK.0 || !COLD_LOCK.1.contains(word) {
                breaches.push(format!("{}:{}: {word} on the hot path", line.file, line.number));
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}
