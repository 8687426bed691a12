//! Shelly relays over HTTP.
//!
//! Generation 1: <https://shelly-api-docs.shelly.cloud/gen1/>, `GET /relay/N?turn=on|off` and
//! `GET /relay/N` answer `ison`; `GET /status` has `emeters` on models that measure volts; basic
//! authentication.
//! Generation 2 and later: <https://shelly-api-docs.shelly.cloud/gen2/>, `Switch.Set` and
//! `Switch.GetStatus` as `GET /rpc/METHOD?…`; digest authentication with SHA-256, user `admin`.

use std::{path::PathBuf, time::Duration};

use rand::Rng as _;
use reqwest::{
    Request, Url,
    header::{AUTHORIZATION, HeaderValue},
};
use rigd_driver::{ConfigError, DriverError, OpenCx, OpenError, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    Outlet, Reading, Secret, Switch, Switching, http, json,
    settings::{check_secret, check_timeout, limit, load_secret},
    web::{self, Web},
};

/// An output of a Shelly relay or plug. Unverified on hardware: made after the vendor's description
/// of its HTTP interface.
///
/// `state` is what the device says; after each switch it is asked whether it did.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ShellyConfig {
    /// Host name or address, `HOST` or `HOST:PORT`.
    pub host: String,
    /// `1` for the first generation (Shelly 1, 1PM, 2.5, Plug S), `2` for Plus, Pro and all later ones.
    #[serde(default = "second")]
    pub generation: u8,
    /// Output, from 0 on.
    #[serde(default)]
    pub output: u8,
    /// User, if a password is set. The second generation knows `admin` alone.
    #[serde(default = "admin")]
    pub user: String,
    /// Password, if one is set.
    pub password: Option<Secret>,
    /// Absolute path of a file with the password.
    pub password_file: Option<PathBuf>,
    /// Seconds for a switch and its repetitions.
    #[serde(default = "ten")]
    pub timeout: f64,
    /// What all network switches share.
    #[serde(default)]
    pub switching: Switching,
}

fn second() -> u8 {
    2
}

fn admin() -> String {
    "admin".into()
}

fn ten() -> f64 {
    10.0
}

/// An output of a Shelly.
pub type ShellyPower = Switch<ShellyOutlet>;

/// The requests of a [`ShellyPower`].
#[derive(Debug)]
pub struct ShellyOutlet {
    web: Web,
    base: Url,
    first: bool,
    output: u8,
    user: String,
    password: Option<Secret>,
    limit: Duration,
}

impl Outlet for ShellyOutlet {
    const TYPE: &'static str = "power.shelly";
    type Config = ShellyConfig;

    fn switching(config: &ShellyConfig) -> &Switching {
        &config.switching
    }

    fn check(config: &ShellyConfig) -> Result<(), ConfigError> {
        web::base("host", &config.host)?;
        if !(1..=2).contains(&config.generation) {
            let text = "1 or 2; generations 3 and 4 speak as the second one: write 2";
            return Err(ConfigError::new("generation", text));
        }
        check_secret(
            "password",
            config.password.as_ref(),
            config.password_file.as_ref(),
        )?;
        check_timeout(config.timeout)
    }

    async fn open(config: &ShellyConfig, _: &OpenCx) -> Result<Self, OpenError> {
        let (inline, file) = (config.password.as_ref(), config.password_file.as_ref());
        Ok(Self {
            web: Web::new()?,
            base: web::opened(web::base("host", &config.host))?,
            first: config.generation == 1,
            output: config.output,
            user: config.user.clone(),
            password: load_secret("password", inline, file).await?,
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
        let n = self.output;
        if self.first {
            let turn = crate::outlet::word(on);
            let answer = self
                .ask(&format!("relay/{n}"), &format!("turn={turn}"))
                .await?;
            return told(&answer, "ison").map(Some);
        }
        self.ask("rpc/Switch.Set", &format!("id={n}&on={on}"))
            .await?;
        // Its own answer tells only what was before.
        self.get().await
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        let n = self.output;
        if self.first {
            let answer = self.ask(&format!("relay/{n}"), "").await?;
            return told(&answer, "ison").map(Some);
        }
        told(&self.status().await?, "output").map(Some)
    }

    async fn read(&self) -> Result<Reading, DriverError> {
        let n = self.output;
        let (value, volts, amperes) = if self.first {
            let path = |what: &str| format!("emeters.{n}.{what}");
            (
                self.ask("status", "").await?,
                path("voltage"),
                path("current"),
            )
        } else {
            (self.status().await?, "voltage".into(), "current".into())
        };
        let found = |path: &str| json::number_at(&value, path);
        match (found(&volts), found(&amperes)) {
            (Some(voltage), Some(current)) => Ok(Reading { voltage, current }),
            _ => Err(DriverError::Unimplemented(format!(
                "output {n} of the Shelly at {} measures no voltage and current",
                web::address(&self.base)
            ))),
        }
    }
}

fn told(answer: &Value, key: &str) -> Result<bool, DriverError> {
    json::at(answer, key)
        .and_then(Value::as_bool)
        .ok_or_else(|| {
            let text = web::excerpt(&answer.to_string());
            let help = "does `generation` fit the device?";
            DriverError::Device(format!(
                "the Shelly's answer has no `{key}`: {text}; {help}"
            ))
        })
}

impl ShellyOutlet {
    async fn status(&self) -> Result<Value, DriverError> {
        let id = format!("id={}", self.output);
        self.ask("rpc/Switch.GetStatus", &id).await
    }

    async fn ask(&self, path: &str, query: &str) -> Result<Value, DriverError> {
        let mut url = self.base.clone();
        url.set_path(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        let mut request = self.web.get(&url);
        if self.first
            && let Some(password) = &self.password
        {
            let header = http::basic(&self.user, password.show());
            let header = header.map_err(|e| DriverError::FailedPrecondition(e.to_string()))?;
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        let mut answer = self.web.send(request).await?;
        if answer.status.as_u16() == 401
            && let (Some(challenge), Some(_)) = (&answer.challenge, &self.password)
            && let Some(request) = self.respond(&url, challenge)
        {
            answer = self.web.send(request).await?;
        }
        answer.good()?.json()
    }

    /// The request again, with the answer to a digest challenge (RFC 7616).
    fn respond(&self, url: &Url, challenge: &str) -> Option<Request> {
        let challenge = challenge.strip_prefix("Digest ")?;
        let word = |name: &str| parameter(challenge, name);
        if word("algorithm").is_some_and(|algorithm| algorithm != "SHA-256") {
            return None;
        }
        let (realm, nonce) = (word("realm")?, word("nonce")?);
        let uri = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let cnonce = format!("{:016x}", rand::rng().next_u64());
        let password = self.password.as_ref()?.show();
        let response = digest(&self.user, password, realm, nonce, &cnonce, &uri);
        let header = format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"{cnonce}\", response=\"{response}\"",
            self.user
        );
        let mut request = self.web.get(url);
        let header = HeaderValue::try_from(header).ok()?;
        request.headers_mut().insert(AUTHORIZATION, header);
        Some(request)
    }
}

fn digest(user: &str, password: &str, realm: &str, nonce: &str, cnonce: &str, uri: &str) -> String {
    let a1 = hex(&format!("{user}:{realm}:{password}"));
    let a2 = hex(&format!("GET:{uri}"));
    hex(&format!("{a1}:{nonce}:00000001:{cnonce}:auth:{a2}"))
}

fn hex(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A parameter of a challenge, with or without quotes.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    challenge.split(',').find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        (key.trim().eq_ignore_ascii_case(name)).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_rfc() {
        // RFC 7616, section 3.9.1, with SHA-256.
        let response = digest(
            "Mufasa",
            "Circle of Life",
            "http-auth@example.org",
            "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "/dir/index.html",
        );
        assert_eq!(
            response,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn parameters_of_a_challenge() {
        let challenge = "qop=\"auth\", realm=\"shellyplus1-a\", nonce=\"6\", algorithm=SHA-256";
        assert_eq!(parameter(challenge, "realm"), Some("shellyplus1-a"));
        assert_eq!(parameter(challenge, "algorithm"), Some("SHA-256"));
        assert_eq!(parameter(challenge, "opaque"), None);
    }
}
