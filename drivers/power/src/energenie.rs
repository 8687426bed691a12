//! Energenie (Gembird) EG-PM2-LAN power strips: a login, then the switch, both as HTML forms.

use std::{path::PathBuf, time::Duration};

use reqwest::{
    Method, Request, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use rigd_driver::{ConfigError, DriverError, OpenCx, OpenError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Outlet, Secret, Switch, Switching,
    settings::{check_secret, check_timeout, limit, load_secret},
    web::{self, Answer, Web},
};

/// A socket of an Energenie power strip with network (EG-PM2-LAN and relatives).
///
/// The strip cannot be asked for its state in this protocol: `state` gives what it was last told.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EnergenieConfig {
    /// Host name or address of the strip, `HOST` or `HOST:PORT`.
    pub host: String,
    /// Password of its web page; `1` unless it was changed.
    pub password: Option<Secret>,
    /// Absolute path of a file with the password.
    pub password_file: Option<PathBuf>,
    /// Socket, 1 to 4.
    #[serde(default = "one")]
    pub slot: u8,
    /// Whether a strip that cannot be reached or refuses is an error for the client. Without it the
    /// failure is only logged and the call succeeds, as the Python driver does.
    #[serde(default = "yes")]
    pub strict: bool,
    /// Seconds for both requests and their repetitions.
    #[serde(default = "ten")]
    pub timeout: f64,
    /// What all network switches share.
    #[serde(default)]
    pub switching: Switching,
}

fn one() -> u8 {
    1
}

fn yes() -> bool {
    true
}

fn ten() -> f64 {
    10.0
}

/// A socket of an Energenie strip.
pub type EnergeniePower = Switch<EnergenieOutlet>;

/// The requests of an [`EnergeniePower`].
#[derive(Debug)]
pub struct EnergenieOutlet {
    web: Web,
    base: Url,
    password: Secret,
    slot: u8,
    strict: bool,
    limit: Duration,
}

impl Outlet for EnergenieOutlet {
    const TYPE: &'static str = "power.energenie";
    type Config = EnergenieConfig;

    fn switching(config: &EnergenieConfig) -> &Switching {
        &config.switching
    }

    fn check(config: &EnergenieConfig) -> Result<(), ConfigError> {
        if config.host.is_empty() {
            return Err(ConfigError::new("host", "Host must be specified"));
        }
        web::base("host", &config.host)?;
        if !(1..=4).contains(&config.slot) {
            return Err(ConfigError::new("slot", "Slot must be between 1 and 4"));
        }
        check_secret(
            "password",
            config.password.as_ref(),
            config.password_file.as_ref(),
        )?;
        check_timeout(config.timeout)
    }

    async fn open(config: &EnergenieConfig, _: &OpenCx) -> Result<Self, OpenError> {
        let (inline, file) = (config.password.as_ref(), config.password_file.as_ref());
        let password = load_secret("password", inline, file).await?;
        Ok(Self {
            web: Web::new()?,
            base: web::opened(web::base("host", &config.host))?,
            password: password.unwrap_or_else(|| Secret::new("1")),
            slot: config.slot,
            strict: config.strict,
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
        let password = web::form(self.password.show());
        self.post("login.html", format!("pw={password}")).await?;
        let state = u8::from(on);
        self.post("", format!("cte{}={state}", self.slot)).await?;
        Ok(None)
    }

    fn failed(&self, on: bool, error: DriverError) -> Result<(), DriverError> {
        if self.strict {
            return Err(error);
        }
        let (slot, word) = (self.slot, crate::outlet::word(on));
        tracing::error!("slot {slot} was not switched {word}: {error}");
        Ok(())
    }
}

impl EnergenieOutlet {
    async fn post(&self, page: &str, form: String) -> Result<Answer, DriverError> {
        let mut url = self.base.clone();
        url.set_path(page);
        let mut request = Request::new(Method::POST, url);
        let html_form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, html_form);
        *request.body_mut() = Some(form.into());
        let answer = self.web.send(request).await?.good()?;
        if answer.status.as_u16() == 200 {
            return Ok(answer);
        }
        let text = format!("{} answered {} instead of 200", answer.url, answer.status);
        Err(DriverError::Device(text))
    }
}
