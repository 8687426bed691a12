//! What can be set of every power switch, and its secrets and times.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use rigd_driver::{ConfigError, OpenError};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

use crate::switch::Record;

/// Longest time a board is kept off: a client waits for it.
const MAX_OFF_TIME: f64 = 60.0;
/// Longest time for one request; a lease step has 10 s, and a person's patience ends, too.
const MAX_TIMEOUT: f64 = 120.0;
/// More would hide a device that is gone.
const MAX_RETRIES: u32 = 5;
/// A secret is a line, not a file somebody named by mistake.
const MAX_SECRET: u64 = 64 * 1024;

/// What happens to the outlet at one end of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum AtLease {
    /// Nothing.
    Keep,
    /// It is switched off.
    Off,
    /// It is switched on.
    On,
}

impl<'de> Deserialize<'de> for AtLease {
    /// Takes booleans, too: `on` and `off` without quotes are booleans to YAML.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = AtLease;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`keep`, `off` or `on`")
            }

            fn visit_bool<E>(self, on: bool) -> Result<AtLease, E> {
                Ok(if on { AtLease::On } else { AtLease::Off })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<AtLease, E> {
                match word {
                    "keep" => Ok(AtLease::Keep),
                    "off" => Ok(AtLease::Off),
                    "on" => Ok(AtLease::On),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }
        from.deserialize_any(Words)
    }
}

/// How an outlet is switched; the same for every kind of device.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Switching {
    /// Seconds that the board stays off at least, 0 to 60: an `on` that comes earlier waits, and
    /// `cycle` takes at least that long.
    pub min_off_time: f64,
    /// Most switches in a minute; `on` and `cycle` beyond it are refused, `off` never is. 0: no limit.
    pub max_switches_per_minute: u32,
    /// How often a request is repeated when the device cannot be reached, 0 to 5, within the time
    /// limit of the request. Only what may arrive twice without harm is repeated.
    pub retries: u32,
    /// What lease start does to the outlet: `keep`, `off` or `on`. `keep` unless the driver's page says otherwise.
    pub on_lease_start: Option<AtLease>,
    /// What lease end does to the outlet: `keep`, `off` or `on`. `keep` unless the driver's page says otherwise.
    pub on_lease_end: Option<AtLease>,
    // Here, since a device that was lost is opened again with the same settings.
    #[serde(skip)]
    pub(crate) record: Arc<Mutex<Record>>,
}

impl Default for Switching {
    fn default() -> Self {
        Self {
            // Long enough for the capacitors of a small board, shorter than any client's cycle.
            min_off_time: 1.0,
            // 15 power cycles a minute: more than tests do, and little enough to notice a loop.
            max_switches_per_minute: 30,
            retries: 2,
            on_lease_start: None,
            on_lease_end: None,
            record: Arc::default(),
        }
    }
}

impl Switching {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(0.0..=MAX_OFF_TIME).contains(&self.min_off_time) {
            return Err(ConfigError::new(
                "switching.minOffTime",
                format!(
                    "{} is not within 0 to {MAX_OFF_TIME} seconds",
                    self.min_off_time
                ),
            ));
        }
        if self.retries > MAX_RETRIES {
            return Err(ConfigError::new(
                "switching.retries",
                format!("{} is more than {MAX_RETRIES}", self.retries),
            ));
        }
        Ok(())
    }

    pub(crate) fn min_off(&self) -> Duration {
        Duration::from_secs_f64(self.min_off_time)
    }
}

/// Checks a time limit in seconds.
pub(crate) fn check_timeout(seconds: f64) -> Result<(), ConfigError> {
    if seconds > 0.0 && seconds <= MAX_TIMEOUT {
        return Ok(());
    }
    let text =
        format!("{seconds} is no time limit; use more than 0 and at most {MAX_TIMEOUT} seconds");
    Err(ConfigError::new("timeout", text))
}

/// A checked time limit.
pub(crate) fn limit(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1))
}

/// A secret that stands in the file itself. It is never shown.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// For a secret that came another way than by a file.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn show(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Refuses a secret that is given twice.
pub(crate) fn check_secret(
    name: &str,
    inline: Option<&Secret>,
    file: Option<&PathBuf>,
) -> Result<(), ConfigError> {
    let file_key = format!("{}File", camel(name));
    match (inline, file) {
        (Some(_), Some(_)) => Err(ConfigError::new(
            &file_key,
            format!("beside `{name}`; keep one of the two"),
        )),
        (_, Some(path)) if path.is_relative() => Err(ConfigError::new(
            &file_key,
            format!("{} is relative; give the whole path", path.display()),
        )),
        _ => Ok(()),
    }
}

/// `auth_key` is upstream's spelling, `authKeyFile` ours.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

/// The secret, from the configuration or its file. The file is read at each opening, so a new
/// password needs no restart.
pub(crate) async fn load_secret(
    name: &str,
    inline: Option<&Secret>,
    file: Option<&PathBuf>,
) -> Result<Option<Secret>, OpenError> {
    let Some(path) = file else {
        return Ok(inline.cloned());
    };
    let shown = path.display();
    let key = format!("{}File", camel(name));
    let failed = |why: String| OpenError::Faulty(format!("{key} {shown}: {why}"));
    let about = tokio::fs::metadata(path).await;
    let about =
        about.map_err(|e| failed(format!("{e}; the daemon's user must be able to read it")))?;
    if !about.is_file() || about.len() > MAX_SECRET {
        return Err(failed(format!("is no file of at most {MAX_SECRET} bytes")));
    }
    let text = tokio::fs::read_to_string(path).await;
    let text =
        text.map_err(|e| failed(format!("{e}; the daemon's user must be able to read it")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(failed("is empty".into()));
    }
    Ok(Some(Secret(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(***)");
    }

    #[test]
    fn a_secret_is_given_once_and_its_file_by_its_whole_path() {
        let (secret, file) = (Secret::new("x"), PathBuf::from("/run/pw"));
        let error = check_secret("auth_key", Some(&secret), Some(&file)).unwrap_err();
        assert_eq!(error.key, "authKeyFile");
        let relative = PathBuf::from("pw");
        let error = check_secret("password", None, Some(&relative)).unwrap_err();
        assert_eq!(
            (error.key.as_str(), error.message.as_str()),
            ("passwordFile", "pw is relative; give the whole path")
        );
        check_secret("password", None, Some(&file)).unwrap();
    }

    #[tokio::test]
    async fn a_secret_of_a_file_loses_its_line_end_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pw");
        std::fs::write(&path, " a b \r\n").unwrap();
        let found = load_secret("password", None, Some(&path)).await.unwrap();
        assert_eq!(found.unwrap().show(), " a b ");
        std::fs::write(&path, "\n").unwrap();
        let error = load_secret("password", None, Some(&path))
            .await
            .unwrap_err();
        assert!(error.to_string().ends_with("pw: is empty"), "{error}");
        let missing = dir.path().join("none");
        let error = load_secret("password", None, Some(&missing))
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the daemon's user must be able to read it"),
            "{error}"
        );
    }

    #[test]
    fn words_of_a_lease_need_no_quotes() {
        let read = |text: &str| serde_json::from_str::<AtLease>(text).ok();
        assert_eq!(read("\"keep\""), Some(AtLease::Keep));
        assert_eq!(
            read("\"off\"").zip(read("false")),
            Some((AtLease::Off, AtLease::Off))
        );
        assert_eq!(
            read("\"on\"").zip(read("true")),
            Some((AtLease::On, AtLease::On))
        );
        assert_eq!(read("\"away\"").or(read("1")), None);
    }

    #[test]
    fn limits_are_checked() {
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY, 121.0] {
            assert!(check_timeout(seconds).is_err(), "{seconds}");
        }
        let wrong = Switching {
            min_off_time: f64::NAN,
            ..Switching::default()
        };
        assert_eq!(wrong.check().unwrap_err().key, "switching.minOffTime");
        let wrong = Switching {
            retries: 6,
            ..Switching::default()
        };
        assert_eq!(wrong.check().unwrap_err().key, "switching.retries");
    }
}
