//! Requests to devices that have a web server.
//!
//! A new connection for each request, as small firmware wants it; no proxies, since a PDU is on the
//! lab's own network; at most [`MAX_ANSWER`] bytes of an answer.

use std::fmt::Write as _;

use reqwest::{Client, Method, Request, Response, StatusCode, Url, header, redirect::Policy};
use rigd_driver::{ConfigError, DriverError, OpenError, Value};

/// Longest answer that is read. A status page of a PDU has some kilobytes.
const MAX_ANSWER: usize = 1 << 20;
/// Redirects followed; a device that moves its pages does it once.
const MAX_REDIRECTS: usize = 10;
/// Longest piece of an answer that an error shows.
const MAX_SHOWN: usize = 200;

/// An HTTP client for one outlet.
#[derive(Debug)]
pub(crate) struct Web(Client);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The challenge of a device that wants credentials.
    pub(crate) challenge: Option<String>,
    pub(crate) body: String,
    /// Where it came from, fit to be shown.
    pub(crate) url: String,
}

impl Web {
    pub(crate) fn new() -> Result<Self, OpenError> {
        // The daemon has installed one already; whoever uses the crate alone has not.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::limited(MAX_REDIRECTS))
            .pool_max_idle_per_host(0)
            .http1_only()
            .http1_title_case_headers()
            .user_agent(concat!("rigd/", env!("CARGO_PKG_VERSION")));
        let client = client.build();
        let client = client.map_err(|e| OpenError::Faulty(format!("no HTTP client: {e}")))?;
        Ok(Self(client))
    }

    pub(crate) fn get(&self, url: &Url) -> Request {
        Request::new(Method::GET, url.clone())
    }

    /// Sends a request and reads the whole answer, whatever its status. Cancel-safe: dropped, the
    /// connection is closed. The caller sets the time limit.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, DriverError> {
        let url = shown(request.url());
        let what = format!("{} {url}", request.method());
        let answer = self.0.execute(request).await;
        let answer = answer.map_err(|error| broken(&what, &error))?;
        let status = answer.status();
        let challenge = answer.headers().get(header::WWW_AUTHENTICATE);
        let challenge = challenge.and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok(Answer {
            status,
            challenge,
            url: shown(answer.url()),
            body: body(&what, answer).await?,
        })
    }
}

async fn body(what: &str, mut answer: Response) -> Result<String, DriverError> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| broken(what, &error))? {
        if bytes.len() + piece.len() > MAX_ANSWER {
            let text = format!("{what}: the answer is longer than {MAX_ANSWER} bytes");
            return Err(DriverError::Device(text));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Answer {
    /// The answer, unless its status is an error. The text is that of Python's `requests`, which
    /// users of upstream's drivers know.
    pub(crate) fn good(self) -> Result<Self, DriverError> {
        let side = match self.status.as_u16() {
            ..400 => return Ok(self),
            400..500 => "Client",
            500.. => "Server",
        };
        let reason = self.status.canonical_reason().unwrap_or_default();
        let mut text = format!(
            "{} {side} Error: {reason} for url: {}",
            self.status.as_u16(),
            self.url
        );
        if matches!(self.status.as_u16(), 401 | 403) {
            text += "; are user and password right?";
        }
        Err(DriverError::Unknown(text))
    }

    /// The answer as JSON.
    pub(crate) fn json(&self) -> Result<Value, DriverError> {
        serde_json::from_str(&self.body).map_err(|error| {
            DriverError::Device(format!(
                "{} answered no JSON ({error}): {}",
                self.url,
                excerpt(&self.body)
            ))
        })
    }
}

/// The beginning of what a device said.
pub(crate) fn excerpt(text: &str) -> String {
    let cut: String = text.chars().take(MAX_SHOWN).collect();
    format!("{cut:?}")
}

/// A URL without what may be secret: user, password, query.
pub(crate) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    // Only a URL without a host refuses this.
    shown.set_username("").ok();
    shown.set_password(None).ok();
    shown.set_fragment(None);
    if shown.query().is_some() {
        shown.set_query(Some("[REDACTED]"));
    }
    shown.into()
}

fn broken(what: &str, error: &reqwest::Error) -> DriverError {
    // The error's own text holds the URL with its query; its sources say what happened.
    let mut why = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // A string takes every write.
        write!(why, ": {error}").ok();
        cause = error.source();
    }
    if error.is_connect() {
        let text = format!("{what}: cannot connect{why}; is the device on, and its address right?");
        return DriverError::Unavailable(text);
    }
    if error.is_redirect() {
        return DriverError::Device(format!("{what}: too many redirects"));
    }
    DriverError::Unavailable(format!("{what}: the connection broke{why}"))
}

/// `http://HOST[:PORT]/`, from a key of the configuration.
pub(crate) fn base(key: &str, host: &str) -> Result<Url, ConfigError> {
    let wrong = |why: String| ConfigError::new(key, format!("{why}; write HOST or HOST:PORT"));
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        return Err(wrong(format!("{host:?} is no host")));
    }
    Url::parse(&format!("http://{host}/")).map_err(|error| wrong(format!("{host:?}: {error}")))
}

/// A base URL that was checked.
pub(crate) fn opened(checked: Result<Url, ConfigError>) -> Result<Url, OpenError> {
    checked.map_err(|error| OpenError::Faulty(format!("{}: {error}", error.key)))
}

/// What instances at the same web server share.
pub(crate) fn address(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{host}:{}", url.port_or_known_default().unwrap_or_default())
}

/// A value of a form as HTML writes it (URL standard, application/x-www-form-urlencoded).
pub(crate) fn form(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            // A string takes every write.
            _ => write!(out, "%{byte:02X}").unwrap_or_default(),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let url = Url::parse("http://me:pw@pdu/cm?password=secret#x").unwrap();
        assert_eq!(shown(&url), "http://pdu/cm?[REDACTED]");
    }

    #[test]
    fn hosts_are_hosts() {
        assert_eq!(
            base("host", "pdu:8080").unwrap().as_str(),
            "http://pdu:8080/"
        );
        for wrong in ["", "http://pdu", "me@pdu", "pdu:http", "a b"] {
            assert_eq!(base("host", wrong).unwrap_err().key, "host", "{wrong}");
        }
        assert_eq!(address(&base("host", "PDU").unwrap()), "pdu:80");
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(form("a b&c=ü~1"), "a+b%26c%3D%C3%BC~1");
    }
}
