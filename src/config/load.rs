//! The four layers, laid one upon the other.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use toml::{Table, Value};

use super::error::{ConfigError, Origin};
use super::key::{Config, KEYS, Key, Said};
use super::spelling::nearest;

/// Variables with the prefix that are no settings: the file itself, and the folder that tests read.
const NO_SETTINGS: [&str; 2] = ["CONFIG", "SHARED"];

impl Config {
    /// Lays flags over environment over file over defaults.
    ///
    /// `args` were parsed with [`super::args`]; `env` is `std::env::vars_os()`, or a map in a test.
    ///
    /// # Errors
    /// The first thing that is unknown or not allowed, or a file that cannot be read, named with its place.
    pub fn load<K: Into<OsString>, V: Into<OsString>>(
        args: &ArgMatches,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        let env = Environment::of(env)?;
        let mut said = defaults();
        if let Some(path) = flag(args, "config").or_else(|| env.get("TICKFAN_CONFIG").filter(|path| !path.is_empty())) {
            lay_file(&mut said, Path::new(path))?;
        }
        for said in &mut said {
            let variable = said.key.variable();
            // An empty plain variable is not an answer: whoever exports it for other programs may leave it empty.
            let fallback = said.key.fallback.filter(|name| env.get(name).is_some_and(|text| !text.is_empty()));
            for name in fallback.into_iter().chain([variable.as_str()]) {
                if let Some(text) = env.get(name) {
                    said.lay(text, Origin::Variable(name.into()))?;
                }
            }
            if let Some(text) = flag(args, said.key.name) {
                said.lay(text, Origin::Flag(said.key.flag()))?;
            }
        }
        Self::typed(&said)
    }

    /// What an empty environment gives.
    ///
    /// # Errors
    /// None but a mistake in the table, which its test excludes.
    pub fn defaults() -> Result<Self, ConfigError> {
        Self::typed(&defaults())
    }

    /// The settings in force, one a line with its origin, in the syntax of the file; for `tickfan check-config`.
    /// Secrets are redacted.
    pub fn describe(&self) -> String {
        let mut lines = String::new();
        for (key, value, origin) in self.shown() {
            // A number beyond TOML's 64 signed bits is written in quotes, which the file takes as well.
            let number = value.parse::<i64>().is_ok() || value.contains('.') && value.parse::<f64>().is_ok();
            let plain = number || value.parse::<bool>().is_ok();
            let setting = match value.as_str() {
                "" => format!("# {} is not set", key.name),
                value if plain => format!("{} = {value}", key.name),
                value if key.secret => format!("# {} = {value}", key.name),
                // JSON's escapes are TOML's.
                value => format!("{} = {}", key.name, serde_json::Value::from(value)),
            };
            // Writing to a String does not fail.
            let _ = writeln!(lines, "{setting:<52} # {origin}");
        }
        lines
    }
}

/// What is in force when no layer speaks.
fn defaults() -> Vec<Said> {
    KEYS.iter().map(|key| Said { key, text: key.default.into(), origin: Origin::Default }).collect()
}

impl Said {
    /// Takes the word of a later layer, after checking it: an earlier layer's mistake is told although a later one
    /// overrules it.
    fn lay(&mut self, text: &str, origin: Origin) -> Result<(), ConfigError> {
        if !(self.key.check)(text, &self.key.allowed) {
            return Err(ConfigError::bad_value(self.key, origin, text));
        }
        self.text = text.into();
        self.origin = origin;
        Ok(())
    }
}

/// The text of a flag; `None` also for one that the caller did not declare.
fn flag<'a>(args: &'a ArgMatches, name: &str) -> Option<&'a str> {
    args.try_get_one::<String>(name).ok().flatten().map(String::as_str)
}

/// Lays the file over the defaults.
fn lay_file(said: &mut [Said], path: &Path) -> Result<(), ConfigError> {
    let failed = |reason: String| ConfigError::File { path: path.into(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    // The error's own Display quotes the line, and a secret may stand in it.
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        failed(format!("line {line}: {}", error.message()))
    })?;
    for (name, value) in table {
        let origin = Origin::File(PathBuf::from(path));
        let Some(said) = said.iter_mut().find(|said| said.key.name == name) else {
            let hint = match value {
                Value::Table(_) => "; settings are flat keys, tables are not used".into(),
                _ => hint(&name, |key| key.name.into()),
            };
            return Err(ConfigError::Unknown { key: name, origin, hint });
        };
        let text = match value {
            Value::String(text) => text,
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(word) => word.to_string(),
            other => return Err(ConfigError::bad_value(said.key, origin, &format!("a TOML {}", other.type_str()))),
        };
        said.lay(&text, origin)?;
    }
    Ok(())
}

/// The variables that concern the program.
struct Environment(Vec<(String, String)>);

impl Environment {
    /// Keeps the program's own variables and the plain ones it reads, and refuses unknown ones.
    fn of<K: Into<OsString>, V: Into<OsString>>(env: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigError> {
        let mut kept = Vec::new();
        for (name, text) in env {
            let Ok(name) = name.into().into_string() else { continue };
            let plain = KEYS.iter().any(|key| key.fallback == Some(&name));
            let own = name.strip_prefix("TICKFAN_");
            if let Some(own) = own
                && !NO_SETTINGS.contains(&own)
                && !KEYS.iter().any(|key| key.variable() == name)
            {
                let hint = hint(own, Key::variable);
                return Err(ConfigError::Unknown { origin: Origin::Variable(name.clone()), key: name, hint });
            }
            if plain || own.is_some() {
                // A text that is not Unicode keeps its other letters and shows the replacement sign.
                kept.push((name, text.into().to_string_lossy().into_owned()));
            }
        }
        Ok(Self(kept))
    }

    /// The text of a variable.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}

/// `; did you mean …?` in the spelling of the layer, or nothing.
fn hint(written: &str, spelling: impl Fn(&Key) -> String) -> String {
    nearest(written, KEYS.iter().map(|key| key.name))
        .and_then(|name| KEYS.iter().find(|key| key.name == name))
        .map(|key| format!("; did you mean {}?", spelling(key)))
        .unwrap_or_default()
}
