//! Devices with the Tasmota firmware over HTTP.
//!
//! <https://tasmota.github.io/docs/Commands/#with-web-requests>: `GET /cm?cmnd=Power1%20On` answers
//! `{"POWER1":"ON"}`, and `{"POWER":"ON"}` when there is one relay; `user` and `password` are part
//! of the query. `Status 10` gives the sensors, with `StatusSNS.ENERGY.Voltage` and `Current`.

use std::{path::PathBuf, time::Duration};

use reqwest::Url;
use rigd_driver::{ConfigError, DriverError, OpenCx, OpenError, Value};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Outlet, Reading, Secret, Switch, Switching, json,
    outlet::word,
    settings::{check_secret, check_timeout, limit, load_secret},
    web::{self, Web},
};

/// A relay of a device with the Tasmota firmware, over HTTP and without a broker. Unverified on
/// hardware: made after the firmware's documentation.
///
/// `state` is what the device says; its answer to each switch is checked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TasmotaHttpConfig {
    /// Host name or address, `HOST` or `HOST:PORT`.
    pub host: String,
    /// Relay, from 1 on.
    #[serde(default = "one")]
    pub relay: u8,
    /// User of the web page, if a password is set.
    #[serde(default = "admin")]
    pub user: String,
    /// Password of the web page, if one is set.
    pub password: Option<Secret>,
    /// Absolute path of a file with the password.
    pub password_file: Option<PathBuf>,
    /// Seconds for a request and its repetitions.
    #[serde(default = "ten")]
    pub timeout: f64,
    /// What all network switches share.
    #[serde(default)]
    pub switching: Switching,
}

fn one() -> u8 {
    1
}

fn admin() -> String {
    "admin".into()
}

fn ten() -> f64 {
    10.0
}

/// A relay of a Tasmota device, over HTTP.
pub type TasmotaHttpPower = Switch<TasmotaHttpOutlet>;

/// The requests of a [`TasmotaHttpPower`].
#[derive(Debug)]
pub struct TasmotaHttpOutlet {
    web: Web,
    base: Url,
    relay: u8,
    credentials: Secret,
    limit: Duration,
}

impl Outlet for TasmotaHttpOutlet {
    const TYPE: &'static str = "power.tasmota-http";
    type Config = TasmotaHttpConfig;

    fn switching(config: &TasmotaHttpConfig) -> &Switching {
        &config.switching
    }

    fn check(config: &TasmotaHttpConfig) -> Result<(), ConfigError> {
        web::base("host", &config.host)?;
        // Relays of a build with many of them: 32.
        if !(1..=32).contains(&config.relay) {
            return Err(ConfigError::new("relay", "relays are counted from 1 to 32"));
        }
        check_secret(
            "password",
            config.password.as_ref(),
            config.password_file.as_ref(),
        )?;
        check_timeout(config.timeout)
    }

    async fn open(config: &TasmotaHttpConfig, _: &OpenCx) -> Result<Self, OpenError> {
        let (inline, file) = (config.password.as_ref(), config.password_file.as_ref());
        let password = load_secret("password", inline, file).await?;
        let credentials = password.map_or_else(String::new, |password| {
            let (user, password) = (escaped(&config.user), escaped(password.show()));
            format!("user={user}&password={password}&")
        });
        Ok(Self {
            web: Web::new()?,
            base: web::opened(web::base("host", &config.host))?,
            relay: config.relay,
            credentials: Secret::new(credentials),
            limit: limit(config.timeout),
        })
    }

    fn address(&self) -> String {
        web::address(&self.base)
    }

    fn limit(&self) -> Duration {
        self.limit
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        let command = format!("Power{}%20{}", self.relay, if on { "On" } else { "Off" });
        self.state_of(&self.ask(&command).await?).map(Some)
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        let command = format!("Power{}", self.relay);
        self.state_of(&self.ask(&command).await?).map(Some)
    }

    async fn read(&self) -> Result<Reading, DriverError> {
        let value = self.ask("Status%2010").await?;
        let channel = usize::from(self.relay - 1);
        // A device that measures each relay has a list where others have a number.
        let found = |name: &str| {
            let value = json::at(&value, &format!("StatusSNS.ENERGY.{name}"))?;
            json::number(value).or_else(|| value.get(channel).and_then(json::number))
        };
        match (found("Voltage"), found("Current")) {
            (Some(voltage), Some(current)) => Ok(Reading { voltage, current }),
            _ => Err(DriverError::Unimplemented(format!(
                "the Tasmota device at {} measures no voltage and current",
                web::address(&self.base)
            ))),
        }
    }
}

impl TasmotaHttpOutlet {
    async fn ask(&self, command: &str) -> Result<Value, DriverError> {
        let mut url = self.base.clone();
        url.set_path("cm");
        url.set_query(Some(&format!("{}cmnd={command}", self.credentials.show())));
        let answer = self.web.send(self.web.get(&url)).await?.good()?.json()?;
        // Some versions refuse with status 200.
        match json::at(&answer, "WARNING").and_then(Value::as_str) {
            Some(text) => Err(DriverError::Unknown(format!(
                "the Tasmota device at {} refuses: {text}; are user and password right?",
                web::address(&self.base)
            ))),
            None => Ok(answer),
        }
    }

    fn state_of(&self, answer: &Value) -> Result<bool, DriverError> {
        let own = format!("POWER{}", self.relay);
        let single = (self.relay == 1).then_some("POWER");
        let names = [Some(own.as_str()), single];
        let found = names
            .into_iter()
            .flatten()
            .find_map(|name| answer.get(name));
        let found = found.and_then(Value::as_str).unwrap_or_default();
        [true, false]
            .into_iter()
            .find(|on| found.eq_ignore_ascii_case(word(*on)))
            .ok_or_else(|| {
                DriverError::Device(format!(
                    "the Tasmota device at {} answers {} to {own}; there must be such a relay, and its \
                     StateText1 and StateText2 must be OFF and ON",
                    web::address(&self.base),
                    web::excerpt(&answer.to_string())
                ))
            })
    }
}

/// A value of the query. The firmware decodes `%20` in every version.
fn escaped(text: &str) -> String {
    web::form(text).replace('+', "%20")
}
