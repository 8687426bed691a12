//! Settings of the daemon itself, in layers: defaults, `/etc/rigd/rigd.toml`, `RIGD_*`, flags.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::listen::TcpAddress;
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
    /// The embedded controller (`RIGD_CONTROLLER_*`).
    #[serde(default)]
    pub controller: ControllerSettings,
}

/// Settings of the embedded controller, all optional.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerSettings {
    /// Where it listens, `HOST:PORT`. Without it: loopback, port 8082 or the next free one.
    #[serde(default, deserialize_with = "address")]
    pub listen: Option<TcpAddress>,
    /// Names under which others reach it; the first is the one that is handed out.
    #[serde(default)]
    pub advertise: Vec<String>,
    /// Namespace of the lab; `default` when not set.
    pub namespace: Option<String>,
    /// Its certificate, PEM, in place of the one that it makes.
    pub cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    pub key: Option<PathBuf>,
    /// What clients are to trust for that certificate, PEM.
    pub ca: Option<PathBuf>,
    /// A lease without an open tunnel for so long ends, e.g. `30m`. Without it none does.
    pub idle_limit: Option<String>,
}

fn address<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<TcpAddress>, D::Error> {
    let text = Option::<String>::deserialize(value)?;
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(serde::de::Error::custom)
}

/// Settings that `RIGD_*` variables set. Others with this prefix are not ours to judge: tests and
/// tools use some.
const KEYS: [&str; 4] = ["log", "log_format", "state_dir", "runtime_dir"];
/// The same of the embedded controller, after `RIGD_CONTROLLER_`.
const CONTROLLER_KEYS: [&str; 6] = ["listen", "namespace", "cert", "key", "ca", "idle_limit"];

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
        let of_controller = |key: &str| {
            let variable = format!("RIGD_CONTROLLER_{}", key.to_uppercase());
            env(&variable).filter(|value| !value.is_empty())
        };
        for key in CONTROLLER_KEYS {
            builder =
                builder.set_override_option(format!("controller.{key}"), of_controller(key))?;
        }
        if let Some(names) = of_controller("advertise") {
            let names: Vec<_> = names
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect();
            builder = builder.set_override("controller.advertise", names)?;
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
    fn the_controller_has_a_table_and_variables() {
        let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        let text = "[controller]\nlisten = \"0.0.0.0:8082\"\nadvertise = [\"a\", \"b\"]\n";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let set = |pairs: &'static [(&str, &str)]| {
            let path = path.clone();
            let env = move |name: &str| match name {
                "RIGD_CONFIG" => Some(path.clone()),
                name => {
                    let found = pairs.iter().find(|(key, _)| *key == name);
                    found.map(|(_, value)| (*value).to_owned())
                }
            };
            Settings::load(&env).map(|settings| settings.controller)
        };
        let found = set(&[]).unwrap();
        assert_eq!(found.listen.unwrap().to_string(), "0.0.0.0:8082");
        assert_eq!(found.advertise, ["a", "b"]);
        let found = set(&[
            ("RIGD_CONTROLLER_LISTEN", "[::1]:1"),
            ("RIGD_CONTROLLER_ADVERTISE", "lab, lab.example"),
            ("RIGD_CONTROLLER_IDLE_LIMIT", "30m"),
        ])
        .unwrap();
        assert_eq!(found.listen.unwrap().to_string(), "[::1]:1");
        assert_eq!(found.advertise, ["lab", "lab.example"]);
        assert_eq!(found.idle_limit.as_deref(), Some("30m"));
        let error = format!(
            "{:#}",
            set(&[("RIGD_CONTROLLER_LISTEN", "8082")]).unwrap_err()
        );
        assert!(error.contains("HOST:PORT"), "{error}");
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
