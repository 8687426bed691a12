//! The body of a presigned GET on its way to a driver.

use std::collections::BTreeMap;

use futures::StreamExt;
use reqwest::{
    Client, Response, Url,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue},
};
use rigd_driver::{ChunkSender, DriverError, Key, Upload, upload_channel};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::{
    Http, TOTAL_LIMIT, check, failed, follow, header_map, parse,
    resume::{ATTEMPTS, Whole, pause},
};

/// Opens `url` for reading; resolves when the server has begun to answer.
pub(in super::super) async fn get(
    http: &Http,
    url: &str,
    headers: &BTreeMap<String, String>,
    key: &Key,
    tasks: &TaskTracker,
) -> Result<Upload, DriverError> {
    let mut headers = header_map(headers)?;
    // Nothing here decodes what an encoding of the transfer makes of the bytes.
    let identity = HeaderValue::from_static("identity");
    headers.entry(ACCEPT_ENCODING).or_insert(identity);
    let mut download = Download {
        client: http.client()?.clone(),
        url: parse(url)?,
        headers,
        deadline: Instant::now() + TOTAL_LIMIT,
        at: 0,
    };
    let (shown, response) = download.ask(download.headers.clone()).await?;
    check("GET", &shown, &response)?;
    let (chunks, upload) = upload_channel();
    // With a Content-Encoding the length is that of the encoded bytes.
    let plain = !response.headers().contains_key(CONTENT_ENCODING);
    let upload = upload.with_size(response.content_length().filter(|_| plain));
    let key = key.clone();
    let work = async move {
        // cancel-safe: after the first two arms the body is not read again.
        let done = tokio::select! {
            fenced = key.revoked() => Err(fenced.into()),
            () = chunks.closed() => return,
            done = download.run(shown, response, &chunks) => done,
        };
        // A driver that is gone has what it wants.
        match done {
            Err(error) => _ = chunks.fail(error).await,
            Ok(()) => _ = chunks.end().await,
        }
    };
    // Within the call, whose client is told when it goes on after a break.
    tasks.spawn(work.in_current_span());
    Ok(upload)
}

/// A download under way.
struct Download {
    client: Client,
    /// Where each request begins: what it redirects to may be good for a short time only.
    url: Url,
    headers: HeaderMap,
    deadline: Instant,
    /// Bytes that came.
    at: u64,
}

impl Download {
    async fn ask(&self, headers: HeaderMap) -> Result<(Url, Response), DriverError> {
        follow(&self.client, self.url.clone(), headers, self.deadline).await
    }

    /// Until the body is complete, or broken for good.
    async fn run(
        &mut self,
        mut shown: Url,
        mut response: Response,
        chunks: &ChunkSender,
    ) -> Result<(), DriverError> {
        let mut whole = Whole::of(&self.headers, response.status(), response.headers());
        let (mut attempt, mut cause) = (0, None);
        loop {
            let before = self.at;
            let Err(broken) = self.pump(response, chunks).await else {
                let complete = whole
                    .as_ref()
                    .map_or(Ok(()), |whole| whole.complete(self.at));
                return complete.map_err(|why| {
                    DriverError::Unknown(format!("Presigned HTTP GET stream failed: {why}"))
                });
            };
            if self.at > before {
                (attempt, cause) = (0, None);
            }
            let broken = failed("GET stream", &shown, &broken);
            let rest = match &mut whole {
                Ok(whole) => self.rest(whole, &broken, &mut attempt).await,
                Err(why) => Err(why.clone()),
            };
            let first = cause.take().unwrap_or(broken);
            match rest {
                Ok(rest) => (shown, response) = rest,
                Err(why) => return Err(self.given_up(first, &why)),
            }
            cause = Some(first);
        }
    }

    /// Asks for what is missing after the download was `broken`; or why there is no more of it.
    async fn rest(
        &self,
        whole: &mut Whole,
        broken: &DriverError,
        attempt: &mut u32,
    ) -> Result<(Url, Response), String> {
        let mut last = broken.to_string();
        while *attempt < ATTEMPTS {
            let pause = pause(*attempt);
            if Instant::now() + pause >= self.deadline {
                return Err(format!("{} s are over", TOTAL_LIMIT.as_secs()));
            }
            let (at, seconds) = (self.at, pause.as_secs());
            tracing::warn!("{last}. Asking for the rest from byte {at} in {seconds} s.");
            sleep(pause).await;
            *attempt += 1;
            match self.ask(whole.ask(&self.headers, at)).await {
                Ok((shown, response)) => {
                    whole.goes_on(at, response.status(), response.headers())?;
                    tracing::info!("The download goes on at byte {at}.");
                    return Ok((shown, response));
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(format!("{ATTEMPTS} requests for the rest brought nothing"))
    }

    /// The first cause, with why it was the end.
    fn given_up(&self, broken: DriverError, why: &str) -> DriverError {
        let with = |text: String| format!("{text}; cannot go on at byte {}: {why}", self.at);
        match broken {
            DriverError::Timeout(text) => DriverError::Timeout(with(text)),
            other => DriverError::Unknown(with(other.to_string())),
        }
    }

    /// Until the body is complete or broken.
    async fn pump(
        &mut self,
        response: Response,
        chunks: &ChunkSender,
    ) -> Result<(), reqwest::Error> {
        let mut body = std::pin::pin!(response.bytes_stream());
        while let Some(item) = body.next().await {
            let bytes = item?;
            if !bytes.is_empty() {
                self.at += bytes.len() as u64;
                // The task ends when nobody reads any more.
                chunks.send(bytes).await;
            }
        }
        Ok(())
    }
}
