//! Presigned URLs: the daemon fetches or stores the bytes itself.
//!
//! Facts of the peers: at most 10 redirects with codes 301, 302, 303, 307 and 308, followed by
//! hand since headers that carry rights must not cross to another origin; the percent-encoding of
//! the path is part of the signature and stays as it is; 7200 s in all. The query of a signed URL
//! is a secret and never shown.

mod download;
mod resume;

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use bytes::{Bytes, BytesMut};
pub(super) use download::get;
use futures::stream;
use reqwest::{
    Client, Method, Response, Url,
    header::{HeaderMap, HeaderName, HeaderValue, LOCATION},
    redirect::Policy,
};
use rigd_driver::{DownloadSource, DriverError, Key};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

/// Time for a whole transfer: what upstream allows.
const TOTAL_LIMIT: Duration = Duration::from_secs(7200);
/// Time to reach a server, and for it to send anything at all.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Size of a file beside another: a map of the blocks of a fragmented 128 GiB image has 4 MiB.
const MAX_BESIDE: usize = 16 << 20;
/// Redirects followed.
const MAX_REDIRECTS: usize = 10;
/// Headers that carry rights start with one of these.
const SENSITIVE: [&str; 6] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-amz-",
    "x-ms-",
    "x-goog-",
];

/// The HTTP client of one session, made with its first request. Its connections belong to the
/// runtime they were opened on, so sessions of different exporters do not share one.
#[derive(Debug, Default)]
pub(super) struct Http(OnceLock<Option<Client>>);

impl Http {
    fn client(&self) -> Result<&Client, DriverError> {
        let build = || {
            let client = Client::builder()
                .redirect(Policy::none())
                .timeout(TOTAL_LIMIT)
                .connect_timeout(IDLE_LIMIT)
                .read_timeout(IDLE_LIMIT)
                .user_agent(concat!("rigd/", env!("CARGO_PKG_VERSION")));
            client.build().ok()
        };
        let client = self.0.get_or_init(build).as_ref();
        client.ok_or_else(|| DriverError::Device("cannot set up an HTTP client".into()))
    }
}

/// A small file beside the one that `url` names, under the first of `endings` that is there. A URL
/// with a query is signed for one file alone.
pub(super) async fn beside(
    http: &Http,
    url: &str,
    headers: &BTreeMap<String, String>,
    endings: &[(usize, &str)],
    key: &Key,
) -> Option<Bytes> {
    let base = parse(url).ok().filter(|url| url.query().is_none())?;
    for (cut, ending) in endings {
        let Some(url) = with_ending(&base, *cut, ending) else {
            continue;
        };
        // cancel-safe: a request that is dropped is broken off.
        let found = tokio::select! {
            biased;
            _ = key.revoked() => return None,
            found = timeout(IDLE_LIMIT, small(http, &url, headers)) => found.ok().flatten(),
        };
        if found.is_some() {
            tracing::info!("Found {}.", redacted(&url));
            return found;
        }
    }
    None
}

/// `url` without the last `cut` endings of its name, and with `ending`.
fn with_ending(url: &Url, cut: usize, ending: &str) -> Option<Url> {
    let (dir, name) = url.path().rsplit_once('/')?;
    let mut name = name;
    for _ in 0..cut {
        name = name.rsplit_once('.')?.0;
    }
    if name.is_empty() {
        return None;
    }
    // Set as a whole and not by segments: its percent-encoding stays as it is.
    let mut found = url.clone();
    found.set_path(&format!("{dir}/{name}{ending}"));
    Some(found)
}

async fn small(http: &Http, url: &Url, headers: &BTreeMap<String, String>) -> Option<Bytes> {
    let (client, headers) = (http.client().ok()?, header_map(headers).ok()?);
    let deadline = Instant::now() + IDLE_LIMIT;
    let answer = follow(client, url.clone(), headers, deadline).await;
    let (url, mut response) = answer.ok()?;
    check("GET", &url, &response).ok()?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_BESIDE {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body.freeze())
}

/// The answer to a GET once nothing redirects any more, and where it came from. `deadline` is that of
/// its body, too.
async fn follow(
    client: &Client,
    mut url: Url,
    mut headers: HeaderMap,
    deadline: Instant,
) -> Result<(Url, Response), DriverError> {
    for _ in 0..=MAX_REDIRECTS {
        let request = client
            .request(Method::GET, url.clone())
            .headers(headers.clone())
            .timeout(deadline.saturating_duration_since(Instant::now()));
        let response = request
            .send()
            .await
            .map_err(|e| failed("GET stream", &url, &e))?;
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok((url, response));
        }
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|l| l.to_str().ok());
        let Some(location) = location else {
            return Err(DriverError::Unknown(format!(
                "Presigned HTTP GET redirect missing Location header for URL: {}",
                redacted(&url)
            )));
        };
        let next = url.join(location).map_err(|error| {
            DriverError::Unknown(format!(
                "Presigned HTTP GET redirect with a bad Location header for URL: {}: {error}",
                redacted(&url)
            ))
        })?;
        if next.origin() != url.origin() {
            headers = keep_harmless(&headers);
        }
        url = next;
    }
    Err(DriverError::Unknown(format!(
        "Too many redirects ({MAX_REDIRECTS}) for {}",
        redacted(&url)
    )))
}

fn keep_harmless(headers: &HeaderMap) -> HeaderMap {
    let harmless = |name: &HeaderName| !SENSITIVE.iter().any(|p| name.as_str().starts_with(p));
    let kept = headers.iter().filter(|(name, _)| harmless(name));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Stores what the driver writes at `url`; the server's answer is the outcome of the download.
pub(super) fn put(
    http: &Http,
    url: &str,
    headers: &BTreeMap<String, String>,
    source: DownloadSource,
    key: &Key,
    tasks: &TaskTracker,
) -> Result<(), DriverError> {
    let client = http.client()?.clone();
    let headers = header_map(headers)?;
    let url = parse(url)?;
    let DownloadSource {
        chunks,
        done,
        outcome,
    } = source;
    // The body fails unless the driver finished, so that a half dump is never stored as a whole.
    let body = stream::unfold(Some((chunks, done)), |state| async move {
        let (mut chunks, mut done) = state?;
        match chunks.recv().await {
            Some(item) => Some((item, Some((chunks, done)))),
            None if done.try_recv().is_ok() => None,
            None => {
                let gave_up = DriverError::Unknown("the driver gave up in the middle".into());
                Some((Err(gave_up), None))
            }
        }
    });
    let key = key.clone();
    tasks.spawn(async move {
        let request = client.request(Method::PUT, url.clone()).headers(headers);
        let sending = request.body(reqwest::Body::wrap_stream(body)).send();
        // cancel-safe: a request that is dropped is broken off.
        let result = tokio::select! {
            fenced = key.revoked() => Err(fenced.into()),
            sent = sending => match sent {
                Ok(response) => check("PUT", &url, &response),
                Err(error) => Err(failed("PUT stream", &url, &error)),
            },
        };
        // The driver may have given up; then nobody waits for the outcome.
        outcome.send(result).ok();
    });
    Ok(())
}

fn check(method: &str, url: &Url, response: &Response) -> Result<(), DriverError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    Err(DriverError::Unknown(format!(
        "Presigned HTTP {method} request failed: status={}, reason='{}', url={}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        redacted(url)
    )))
}

fn failed(what: &str, url: &Url, error: &reqwest::Error) -> DriverError {
    let url = redacted(url);
    if error.is_timeout() {
        return DriverError::Timeout(format!("Presigned HTTP {what} timed out for URL: {url}"));
    }
    // The error's own text may hold the URL; its sources say what happened.
    let mut cause = std::error::Error::source(error);
    let mut reason = String::new();
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    DriverError::Unknown(format!(
        "Presigned HTTP {what} failed (connection/read error) for URL: {url}{reason}"
    ))
}

fn redacted(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.query().is_some() {
        shown.set_query(Some("[REDACTED]"));
    }
    shown.set_fragment(None);
    // A URL without user info cannot fail here.
    shown.set_username("").ok();
    shown.set_password(None).ok();
    shown.into()
}

fn parse(url: &str) -> Result<Url, DriverError> {
    let parsed = Url::parse(url)
        .map_err(|error| DriverError::InvalidArgument(format!("bad presigned URL: {error}")))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        other => Err(DriverError::InvalidArgument(format!(
            "bad presigned URL: scheme '{other}', only http and https are fetched"
        ))),
    }
}

fn header_map(headers: &BTreeMap<String, String>) -> Result<HeaderMap, DriverError> {
    let bad = |name: &str| DriverError::InvalidArgument(format!("bad presigned header '{name}'"));
    let pairs = headers.iter().map(|(name, value)| {
        let key = HeaderName::try_from(name).map_err(|_| bad(name))?;
        Ok((key, HeaderValue::try_from(value).map_err(|_| bad(name))?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_and_user_info_are_never_shown() {
        let url = parse("https://me:pw@host/a%2Fb%20c?X-Amz-Signature=secret#frag").unwrap();
        assert_eq!(redacted(&url), "https://host/a%2Fb%20c?[REDACTED]");
    }

    #[test]
    fn what_lies_beside_replaces_endings_and_nothing_else() {
        let url = parse("http://host/a%2Fb/img.wic.xz").unwrap();
        let beside = |cut| with_ending(&url, cut, ".bmap").map(|u| u.to_string());
        assert_eq!(beside(0).unwrap(), "http://host/a%2Fb/img.wic.xz.bmap");
        assert_eq!(beside(1).unwrap(), "http://host/a%2Fb/img.wic.bmap");
        assert_eq!(beside(2).unwrap(), "http://host/a%2Fb/img.bmap");
        assert_eq!(beside(3), None);
    }

    #[test]
    fn percent_encoding_of_the_path_stays() {
        let url = "http://host/a%2fb/%E4%bd%A0+c~d";
        assert_eq!(parse(url).unwrap().as_str(), url);
    }

    #[test]
    fn headers_that_carry_rights_stay_at_home() {
        let names = [
            "Authorization",
            "X-Amz-Date",
            "x-goog-meta",
            "Cookie",
            "Accept",
            "X-Other",
        ];
        let headers = names
            .iter()
            .map(|n| ((*n).to_owned(), "v".to_owned()))
            .collect();
        let kept = keep_harmless(&header_map(&headers).unwrap());
        let mut kept: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["accept", "x-other"]);
    }
}
