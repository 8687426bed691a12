//! A power switch behind any HTTP API: one request for on, one for off, one for a reading.

use std::{path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Method, Request, Url,
    header::{AUTHORIZATION, HeaderValue},
};
use rigd_driver::{ConfigError, DriverError, OpenCx, OpenError, Value};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Outlet, Reading, Secret, Switch, Switching, json,
    settings::{check_secret, check_timeout, limit, load_secret},
    web::{self, Answer, Web},
};

/// A power switch that is told on and off by HTTP requests of your own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// What it is called in the log.
    #[serde(default = "device")]
    pub name: String,
    /// The request that switches on.
    pub power_on: Endpoint,
    /// The request that switches off.
    pub power_off: Endpoint,
    /// The request for a reading; its answer is JSON.
    pub power_read: Option<Endpoint>,
    /// Credentials for all of them.
    pub auth: Option<HttpAuth>,
    /// Seconds for a request and its repetitions.
    #[serde(default = "ten")]
    pub timeout: f64,
    /// What all network switches share.
    #[serde(default)]
    pub switching: Switching,
}

/// One request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// `http://` or `https://`. Certificates are checked against those that the lab host trusts.
    pub url: String,
    /// The method. Requests with GET, HEAD, PUT and DELETE are repeated when the device cannot be
    /// reached; others are not, since they might act twice.
    #[serde(default = "get")]
    pub method: String,
    /// Sent as it is with POST, PUT and PATCH, without a content type.
    pub data: Option<String>,
    /// Where the answer has the volts, e.g. `meters.0.voltage`; the top-level `voltage` by default,
    /// and 0 when there is none.
    pub voltage_path: Option<String>,
    /// Where the answer has the amperes; the top-level `current` by default, and 0 when there is none.
    pub current_path: Option<String>,
}

/// Credentials.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpAuth {
    /// User and password as HTTP's basic scheme sends them.
    pub basic: Option<BasicAuth>,
}

/// User and password.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BasicAuth {
    /// User.
    pub user: String,
    /// Password.
    pub password: Option<Secret>,
    /// Absolute path of a file with the password.
    pub password_file: Option<PathBuf>,
}

fn device() -> String {
    "device".into()
}

fn ten() -> f64 {
    10.0
}

fn get() -> String {
    "GET".into()
}

/// A power switch with HTTP requests of its own.
pub type HttpPower = Switch<HttpOutlet>;

/// The requests of an [`HttpPower`].
#[derive(Debug)]
pub struct HttpOutlet {
    web: Web,
    name: String,
    on: Prepared,
    off: Prepared,
    read: Option<Prepared>,
    authorization: Option<HeaderValue>,
    limit: Duration,
}

#[derive(Debug)]
struct Prepared {
    method: Method,
    url: Url,
    body: Option<String>,
    paths: [Option<String>; 2],
}

impl Prepared {
    fn new(key: &str, endpoint: &Endpoint) -> Result<Self, ConfigError> {
        let wrong = |word: &str, why: String| ConfigError::new(format!("{key}.{word}"), why);
        let url = Url::parse(&endpoint.url);
        let url = url.map_err(|e| wrong("url", format!("{e}; write http://HOST/PATH")))?;
        if !matches!(url.scheme(), "http" | "https") {
            let text = format!(
                "`{}` is not fetched; write http:// or https://",
                url.scheme()
            );
            return Err(wrong("url", text));
        }
        let method = Method::from_bytes(endpoint.method.to_ascii_uppercase().as_bytes());
        let method = method.map_err(|_| {
            let text = format!(
                "{:?} is no HTTP method; GET, POST, PUT and PATCH are",
                endpoint.method
            );
            wrong("method", text)
        })?;
        let with_body = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
        Ok(Self {
            method,
            url,
            body: endpoint.data.clone().filter(|_| with_body),
            paths: [endpoint.voltage_path.clone(), endpoint.current_path.clone()],
        })
    }
}

impl Outlet for HttpOutlet {
    const TYPE: &'static str = "power.http";
    type Config = HttpConfig;

    fn switching(config: &HttpConfig) -> &Switching {
        &config.switching
    }

    fn check(config: &HttpConfig) -> Result<(), ConfigError> {
        Prepared::new("power_on", &config.power_on)?;
        Prepared::new("power_off", &config.power_off)?;
        if let Some(read) = &config.power_read {
            Prepared::new("power_read", read)?;
        }
        if let Some(basic) = config.auth.as_ref().and_then(|auth| auth.basic.as_ref()) {
            check_secret(
                "password",
                basic.password.as_ref(),
                basic.password_file.as_ref(),
            )?;
        }
        check_timeout(config.timeout)
    }

    async fn open(config: &HttpConfig, _: &OpenCx) -> Result<Self, OpenError> {
        let prepare = |key: &str, endpoint: &Endpoint| {
            Prepared::new(key, endpoint).map_err(|e| OpenError::Faulty(e.to_string()))
        };
        let basic = config.auth.as_ref().and_then(|auth| auth.basic.as_ref());
        let authorization = match basic {
            Some(basic) => Some(basic.header().await?),
            None => None,
        };
        let read = config.power_read.as_ref();
        Ok(Self {
            web: Web::new()?,
            name: config.name.clone(),
            on: prepare("power_on", &config.power_on)?,
            off: prepare("power_off", &config.power_off)?,
            read: read.map(|read| prepare("power_read", read)).transpose()?,
            authorization,
            limit: limit(config.timeout),
        })
    }

    fn address(&self) -> String {
        web::address(&self.off.url)
    }

    fn limit(&self) -> Duration {
        self.limit
    }

    fn repeatable(&self, on: bool) -> bool {
        // RFC 9110, section 9.2.2.
        self.request_of(on).method.is_idempotent()
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        self.send(self.request_of(on)).await?;
        Ok(None)
    }

    async fn read(&self) -> Result<Reading, DriverError> {
        let read = self.read.as_ref().ok_or_else(|| {
            DriverError::InvalidArgument("power_read endpoint is not configured".into())
        })?;
        let answer = self.send(read).await?;
        let value: Value = serde_json::from_str(&answer.body).map_err(|error| {
            DriverError::InvalidArgument(format!("read endpoint did not return JSON: {error}"))
        })?;
        let [voltage, current] = &read.paths;
        Ok(Reading {
            voltage: measured(&value, voltage.as_deref(), "voltage")?,
            current: measured(&value, current.as_deref(), "current")?,
        })
    }

    fn says(&self, on: bool) -> String {
        format!(
            "Powering {} {} via HTTP",
            crate::outlet::word(on),
            self.name
        )
    }
}

impl HttpOutlet {
    fn request_of(&self, on: bool) -> &Prepared {
        if on { &self.on } else { &self.off }
    }

    async fn send(&self, prepared: &Prepared) -> Result<Answer, DriverError> {
        let mut request = Request::new(prepared.method.clone(), prepared.url.clone());
        *request.body_mut() = prepared.body.clone().map(Into::into);
        if let Some(authorization) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        self.web.send(request).await?.good()
    }
}

impl BasicAuth {
    async fn header(&self) -> Result<HeaderValue, OpenError> {
        let (inline, file) = (self.password.as_ref(), self.password_file.as_ref());
        let password = load_secret("password", inline, file).await?;
        let password = password.as_ref().map_or("", Secret::show);
        basic(&self.user, password)
    }
}

/// RFC 7617.
pub(crate) fn basic(user: &str, password: &str) -> Result<HeaderValue, OpenError> {
    let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let header = HeaderValue::try_from(text);
    let mut header = header.map_err(|e| OpenError::Faulty(format!("user and password: {e}")))?;
    header.set_sensitive(true);
    Ok(header)
}

/// A number of a reading. The texts are what clients of upstream's driver know.
fn measured(value: &Value, path: Option<&str>, default: &str) -> Result<f64, DriverError> {
    let found = json::at(value, path.unwrap_or(default));
    let text = match (found, path) {
        (None, None) => return Ok(0.0),
        (None, Some(path)) => format!("configured path '{path}' not found in read response"),
        (Some(found), _) => match json::number(found) {
            Some(number) => return Ok(number),
            None => format!(
                "value at '{}' is not numeric (got {found})",
                path.unwrap_or(default)
            ),
        },
    };
    Err(DriverError::InvalidArgument(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn readings_are_found_or_refused_in_upstreams_words() {
        let value = json!({"voltage": "12.5", "list": [{"i": 2}], "state": "on"});
        assert_eq!(measured(&value, None, "voltage").unwrap(), 12.5);
        assert_eq!(measured(&value, None, "current").unwrap(), 0.0);
        assert_eq!(measured(&value, Some("list.0.i"), "current").unwrap(), 2.0);
        let told = |path| {
            measured(&value, Some(path), "current")
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            told("list.1.i"),
            "configured path 'list.1.i' not found in read response"
        );
        assert_eq!(
            told("state"),
            "value at 'state' is not numeric (got \"on\")"
        );
    }
}
