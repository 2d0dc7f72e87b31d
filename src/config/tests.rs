//! Every rule of the settings, and every layer.

use std::collections::HashMap;

use super::*;
use crate::secret::Secret;

/// Loads from a command line, variables and the text of a file, which is written for the test.
fn load(flags: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Result<Config, ConfigError> {
    let args = clap::Command::new("tickfan").no_binary_name(true).args(args());
    let mut env: HashMap<String, String> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let dir = tempfile::tempdir().unwrap();
    if let Some(text) = file {
        let path = dir.path().join("settings.toml");
        std::fs::write(&path, text).unwrap();
        env.insert("TICKFAN_CONFIG".into(), path.to_str().unwrap().into());
    }
    Config::load(&args.try_get_matches_from(flags).unwrap(), env)
}

/// The message of a load that must fail.
fn message(flags: &[&str], env: &[(&str, &str)], file: Option<&str>) -> String {
    load(flags, env, file).unwrap_err().to_string()
}

/// Asserts that a message has all these parts.
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn every_default_is_allowed_and_every_key_is_documented() {
    let config = Config::defaults().unwrap();
    for (key, value, origin) in config.shown() {
        assert!((key.check)(key.default, &key.allowed), "{}", key.name);
        assert_eq!(value, key.default, "{}", key.name);
        assert_eq!(*origin, Origin::Default);
        assert!(key.doc().len() > 10 && key.doc().ends_with('.'), "{}", key.name);
        assert!(key.default.is_empty() == key.optional, "{}", key.name);
        let number = matches!(key.allowed, Allowed::Range(..) | Allowed::ZeroOr(..));
        assert_eq!(number && key.name != "market_seed", !key.unit.is_empty(), "{}", key.name);
        if let Allowed::Words(words) = key.allowed {
            assert!(words.iter().all(|word| (key.check)(word, &key.allowed)), "{}", key.name);
        }
    }
    let mut names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), KEYS.len());
}

#[test]
fn range_edges_are_allowed_and_what_lies_beyond_is_not() {
    for key in KEYS {
        let (min, max) = match key.allowed {
            Allowed::Range(min, max) => (min, max),
            Allowed::ZeroOr(min, max) => {
                assert!((key.check)("0", &key.allowed), "{}", key.name);
                assert!(!(key.check)("1", &key.allowed), "{}", key.name);
                (min, max)
            }
            _ => continue,
        };
        for good in [min, max] {
            assert!((key.check)(&good.to_string(), &key.allowed), "{} {good}", key.name);
        }
        let beyond = u128::from(max) + 1;
        assert!(!(key.check)(&beyond.to_string(), &key.allowed), "{} {beyond}", key.name);
        if min > 0 && !matches!(key.allowed, Allowed::ZeroOr(..)) {
            assert!(!(key.check)(&(min - 1).to_string(), &key.allowed), "{}", key.name);
        }
        for bad in ["", "-1", "1.5", "many", " 20"] {
            assert!(!(key.check)(bad, &key.allowed), "{} {bad:?}", key.name);
        }
    }
}

#[test]
fn later_layers_win() {
    let file = Some("market_rate = 2\nmarket_seed = 2\nwriters = 2\n");
    let env = [("TICKFAN_MARKET_SEED", "3"), ("TICKFAN_WRITERS", "3"), ("PATH", "/bin")];
    let config = load(&["--writers", "4"], &env, file).unwrap();
    assert_eq!((config.market_rate, config.market_seed, config.writers, config.heartbeat_s), (2, 3, 4, 30));
    let origins: HashMap<_, _> = config.shown().map(|(key, _, origin)| (key.name, origin.clone())).collect();
    assert!(matches!(&origins["market_rate"], Origin::File(path) if path.ends_with("settings.toml")));
    assert_eq!(origins["market_seed"], Origin::Variable("TICKFAN_MARKET_SEED".into()));
    assert_eq!(origins["writers"], Origin::Flag("--writers".into()));
    assert_eq!(origins["heartbeat_s"], Origin::Default);
}

#[test]
fn the_flag_for_the_file_wins_over_the_variable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "writers = 7").unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(load(&["--config", path], &[("TICKFAN_CONFIG", "/nowhere")], None).unwrap().writers, 7);
    says(&message(&[], &[("TICKFAN_CONFIG", "/nowhere")], None), &["settings file /nowhere: "]);
    assert!(load(&[], &[("TICKFAN_CONFIG", "")], None).is_ok());
}

#[test]
fn an_unknown_key_stops_the_start_in_every_layer() {
    says(&message(&[], &[], Some("lisen = 1")), &["unknown setting lisen", "settings.toml", "did you mean listen?"]);
    says(&message(&[], &[], Some("market-rate = 1")), &["did you mean market_rate?"]);
    says(&message(&[], &[], Some("[market]\nrate = 1")), &["unknown setting market", "tables are not used"]);
    says(
        &message(&[], &[("TICKFAN_MARKET_RAET", "1")], None),
        &["environment variable TICKFAN_MARKET_RAET", "did you mean TICKFAN_MARKET_RATE?"],
    );
    assert!(!message(&[], &[("TICKFAN_XYZ", "1")], None).contains("did you mean"));
    assert!(load(&[], &[("TICKFAN_SHARED", "x"), ("TICKFAN_LOG", "debug"), ("LISTEN", "x")], None).is_ok());

    let args = clap::Command::new("tickfan").no_binary_name(true).args(args());
    let error = args.try_get_matches_from(["--market-raet=1"]).unwrap_err();
    assert_eq!(flag_hint(&error).as_deref(), Some("did you mean --market-rate?"));
}

#[test]
fn a_bad_value_stops_the_start_in_every_layer() {
    let allowed = ["setting writers", "\"65\" is not allowed", "0..=64 threads"];
    for (message, place) in [
        (message(&[], &[], Some("writers = 65")), "settings.toml"),
        (message(&[], &[("TICKFAN_WRITERS", "65")], None), "environment variable TICKFAN_WRITERS"),
        (message(&["--writers", "65"], &[], None), "flag --writers"),
        // A mistake is told although a later layer would overrule it.
        (message(&["--writers=1"], &[("TICKFAN_WRITERS", "65")], None), "environment variable TICKFAN_WRITERS"),
    ] {
        says(&message, &allowed);
        says(&message, &[place]);
    }
    says(&message(&["--writers", "-1"], &[], None), &["\"-1\" is not allowed"]);
    says(&message(&[], &[], Some("writers = [1]")), &["a TOML array", "0..=64"]);
    says(&message(&[], &[], Some("pin = true")), &["\"true\"", "auto | on | off"]);
    says(&message(&["--feed=tape:"], &[], None), &["setting feed", "\"tape:\"", "tape:FILE"]);
    says(&message(&["--log=a=b=c"], &[], None), &["setting log", "filter"]);
    says(&message(&["--instruments=ftp://host/x"], &[], None), &["a path or an http(s) URL"]);
}

#[test]
fn a_file_that_is_not_toml_is_told_without_quoting_it() {
    let message = message(&[], &[], Some("listen = \"127.0.0.1:1\"\nkite_api_key = \"hunter2\n"));
    says(&message, &["settings.toml", "line 2"]);
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn secrets_are_never_shown() {
    let file = Some("kite_api_key = \"hunter2\"\nkite_access_token = \"hunter2\"");
    let config = load(&[], &[], file).unwrap();
    assert_eq!(config.kite_api_key.as_ref().map(Secret::reveal), Some("hunter2"));
    let shown = format!("{config:?} {}", config.describe());
    assert!(!shown.contains("hunter2"), "{shown}");
    says(&config.describe(), &["# kite_api_key = [redacted]"]);

    for message in [
        message(&["--kite-api-key", "hunter2 x"], &[], None),
        message(&[], &[("KITE_ACCESS_TOKEN", "hunter2\nx")], None),
        message(&[], &[], Some("kite_api_key = \"hunter2 x\"")),
        message(&["--kite-root=wss://ws.kite.trade/?api_key=hunter2"], &[], None),
        message(&["--kite-root=ws.kite.trade/?api_key=hunter2"], &[], None),
        message(&["--kite-root=wss://me:hunter2@ws.kite.trade"], &[], None),
        message(&["--session-store=redis://me:hunter2@host/0?x=1"], &[], None),
        message(&["--session-store=hunter2@host"], &[], None),
        message(&["--instruments=ftp://me:hunter2@host/x?hunter2#hunter2"], &[], None),
    ] {
        assert!(!message.contains("hunter2"), "{message}");
    }
    let config = load(&["--instruments=https://me:hunter2@host/dump.csv?key=hunter2"], &[], None).unwrap();
    let shown = format!("{config:?} {}", config.describe());
    assert!(!shown.contains("hunter2"), "{shown}");
    says(&shown, &["https://host/dump.csv"]);
    assert!(KEYS.iter().filter(|key| key.secret).map(|key| key.name).eq([
        "kite_api_key",
        "kite_access_token",
        "session_key",
        "jwt_secret",
        "admin_key"
    ]));
}

#[test]
fn kite_s_own_variables_count_less_than_ours_and_empty_ones_not_at_all() {
    let token = |env: &[(&str, &str)]| {
        let config = load(&[], env, Some("kite_access_token = \"file\"")).unwrap();
        config.kite_access_token.map(|token| token.reveal().to_owned())
    };
    assert_eq!(token(&[("KITE_ACCESS_TOKEN", "plain"), ("TICKFAN_KITE_ACCESS_TOKEN", "own")]).as_deref(), Some("own"));
    assert_eq!(token(&[("KITE_ACCESS_TOKEN", "plain")]).as_deref(), Some("plain"));
    assert_eq!(token(&[("KITE_ACCESS_TOKEN", "")]).as_deref(), Some("file"));
    // Ours, empty, takes an optional setting back.
    assert_eq!(token(&[("TICKFAN_KITE_ACCESS_TOKEN", "")]), None);
}

#[test]
fn a_switch_needs_no_value() {
    for (flags, on) in [
        (&[][..], false),
        (&["--tape-loop"], true),
        (&["--tape-loop=true"], true),
        (&["--tape-loop=false"], false),
        (&["--tape-loop", "--writers", "1"], true),
    ] {
        assert_eq!(load(flags, &[("TICKFAN_TAPE_LOOP", "false")], None).unwrap().tape_loop, on, "{flags:?}");
    }
    says(&message(&["--tape-loop=yes"], &[], None), &["flag --tape-loop", "true | false"]);
    assert!(load(&[], &[], Some("tape_loop = true")).unwrap().tape_loop);
}

#[test]
fn values_read_as_their_types() {
    let file = "feed = \"tape:a/b.tape\"\ntape_speed = 0.5\nkite_root = \"ws://localhost:8080\"\nlisten = \"[::1]:0\"
                send_buffer_bytes = 4096\ntape_start = \"at-once\"\nlog_format = \"json\"\ntape_loop = true
                market_seed = \"18446744073709551615\"\ninstruments = \"dump.csv.gz\"";
    let config = load(&[], &[], Some(file)).unwrap();
    assert_eq!(config.feed, FeedChoice::Tape("a/b.tape".into()));
    assert_eq!(config.tape_speed, TapeSpeed::Times(0.5));
    assert_eq!(config.kite_root.as_str(), "ws://localhost:8080/");
    assert_eq!(config.listen.to_string(), "[::1]:0");
    assert_eq!((config.tape_start, config.log_format), (TapeStart::AtOnce, LogFormat::Json));
    assert_eq!(config.market_seed, u64::MAX);
    assert_eq!(config.instruments.as_ref().map(DumpSource::reveal), Some("dump.csv.gz"));
    // What check-config prints is a file that gives the same settings.
    let again = load(&[], &[], Some(&config.describe())).unwrap();
    assert!(again.shown().map(|shown| shown.1).eq(config.shown().map(|shown| shown.1)));

    assert_eq!(load(&["--tape-speed=max"], &[], None).unwrap().tape_speed, TapeSpeed::Max);
    for bad in ["0", "0.009", "10001", "NaN", "inf", "fast", "-1"] {
        says(&message(&["--tape-speed", bad], &[], None), &["a number 0.01..=10000, or max"]);
    }
    for bad in ["http://host/", "ws://", "ws.kite.trade", "wss://host/#x", "wss:host"] {
        says(&message(&["--kite-root", bad], &[], None), &["a ws:// or wss:// address"]);
    }
}

#[test]
fn places_read_as_their_types() {
    let config =
        load(&["--history=bars/nse", "--history-root=http://localhost:1/api", "--data-dir=d"], &[], None).unwrap();
    assert_eq!(config.history, HistoryChoice::Folder("bars/nse".into()));
    assert_eq!(config.history_root.0.as_str(), "http://localhost:1/api");
    let dir = |text: &str, feed| load(&["--data-dir", text], &[], None).unwrap().data_dir.of(&feed);
    assert_eq!(dir("auto", FeedChoice::Kite), Some("tickfan-data/kite".into()));
    assert_eq!(dir("auto", FeedChoice::Market), None);
    assert_eq!(dir("auto", FeedChoice::Tape("x".into())), None);
    assert_eq!(dir("none", FeedChoice::Kite), None);
    // Made-up bars never lie beside real ones.
    assert_eq!(dir("d", FeedChoice::Kite), Some("d/kite".into()));
    assert_eq!(dir("d", FeedChoice::Market), Some("d/market".into()));
    for bad in ["", "wss://host/", "https://me:hunter2@host/", "https://host/?hunter2", "api.kite.trade"] {
        let message = message(&["--history-root", bad], &[], None);
        says(&message, &["setting history_root", "an http:// or https:// address"]);
        assert!(!message.contains("hunter2"), "{message}");
    }
    says(&message(&["--history= "], &[], None), &["setting history", "none, kite or a folder"]);
}

#[test]
fn help_tells_everything_about_a_setting() {
    let help = clap::Command::new("tickfan").term_width(400).args(args()).render_help().to_string();
    for key in KEYS {
        says(&help, &[&key.flag(), &key.doc(), &format!("Environment: {}", key.variable()), key.section]);
        says(&help, &[&key.allowed.to_string(), key.unit, key.default]);
    }
    says(&help, &["Allowed: 1000..=60000 ms. Default: 5000. Environment: TICKFAN_KITE_WATCHDOG_MS", "--config <FILE>"]);
}
