//! Settings of the daemon itself, in layers: defaults, `/etc/rigd/rigd.toml`, `RIGD_*`, flags.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::telemetry::LogFormat;

/// Where the settings file is looked for; `RIGD_CONFIG` names another one.
const FILE: &str = "/etc/rigd/rigd.toml";

/// The daemon's own settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is logged to standard error, e.g. `info` or `rigd=debug,warn` (`RIGD_LOG`).
    pub log: String,
    /// `text` or `json` (`RIGD_LOG_FORMAT`).
    pub log_format: LogFormat,
    /// Directory for what survives a restart (`RIGD_STATE_DIR`).
    pub state_dir: Option<PathBuf>,
    /// Directory for sockets (`RIGD_RUNTIME_DIR`).
    pub runtime_dir: Option<PathBuf>,
}

/// Settings that `RIGD_*` variables set. Others with this prefix are not ours to judge: tests and
/// tools use some.
const KEYS: [&str; 4] = ["log", "log_format", "state_dir", "runtime_dir"];

impl Settings {
    /// Reads the layers below the flags. `env` is asked for `RIGD_*`.
    ///
    /// # Errors
    /// The file cannot be read or parsed, or a value is of the wrong kind; names file and key.
    pub fn load(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        use anyhow::Context;
        let file = env("RIGD_CONFIG").map_or_else(|| PathBuf::from(FILE), PathBuf::from);
        let named = env("RIGD_CONFIG").is_some();
        Self::layers(&file, named, env).with_context(|| {
            format!(
                "settings are not valid (defaults, {}, RIGD_* variables)",
                file.display()
            )
        })
    }

    fn layers(
        file: &Path,
        required: bool,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ::config::ConfigError> {
        let source = ::config::File::from(file).format(::config::FileFormat::Toml);
        let mut builder = ::config::Config::builder()
            .set_default("log", "info")?
            .set_default("log_format", "text")?
            .add_source(source.required(required));
        for key in KEYS {
            let variable = format!("RIGD_{}", key.to_uppercase());
            builder = builder.set_override_option(key, env(&variable).filter(|v| !v.is_empty()))?;
        }
        builder.build()?.try_deserialize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
        let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(file.path(), "log = \"warn\"\nlog_format = \"json\"\n").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let none = Settings::load(&|name| (name == "RIGD_CONFIG").then(|| path.clone())).unwrap();
        assert_eq!(
            (none.log.as_str(), none.log_format),
            ("warn", LogFormat::Json)
        );
        let env = |name: &str| match name {
            "RIGD_CONFIG" => Some(path.clone()),
            "RIGD_LOG" => Some("debug".into()),
            _ => None,
        };
        assert_eq!(Settings::load(&env).unwrap().log, "debug");
    }

    #[test]
    fn an_unknown_key_or_value_is_told() {
        let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let env = |name: &str| (name == "RIGD_CONFIG").then(|| path.clone());
        for (text, word) in [
            ("logg = \"info\"\n", "logg"),
            ("log_format = \"xml\"\n", "xml"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let error = format!("{:#}", Settings::load(&env).unwrap_err());
            assert!(error.contains(word) && error.contains(&path), "{error}");
        }
    }
}
