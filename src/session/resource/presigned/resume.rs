//! A download whose connection breaks goes on where it was.
//!
//! Facts: RFC 9110, sections 8.8 (validators), 13.1.5 (`If-Range`), 14 (ranges) and 15.3.7 (206). An image must
//! never be put together of two files, so the rest is taken only from a server that says of the same
//! file, byte by byte, that it is the rest; anything else ends the transfer with what broke it. Bytes are those
//! of the HTTP body, which is not encoded then.

use std::time::{Duration, SystemTime};

use reqwest::{
    StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap,
        HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE,
    },
};

/// Requests for the rest in a row that bring no byte.
pub(super) const ATTEMPTS: u32 = 5;
/// Before the first of them; twice as long before each further one.
const PAUSE: Duration = Duration::from_secs(1);

/// How long to wait before the request of this number, from 0 on.
pub(super) fn pause(attempt: u32) -> Duration {
    PAUSE * 2_u32.saturating_pow(attempt)
}

/// The file that a download is of, as its first answer told.
#[derive(Debug)]
pub(super) struct Whole {
    /// Names this version of the file, to the byte.
    validator: HeaderValue,
    /// Of the first answer, where it had one.
    etag: Option<HeaderValue>,
    /// Bytes of it, once they are known.
    size: Option<u64>,
}

impl Whole {
    /// What `answer` to a request with the headers `asked` tells; or why a download cannot go on.
    pub(super) fn of(
        asked: &HeaderMap,
        status: StatusCode,
        answer: &HeaderMap,
    ) -> Result<Self, String> {
        if asked.contains_key(RANGE) || asked.contains_key(IF_RANGE) {
            return Err("the request itself was for a range".into());
        }
        if status != StatusCode::OK {
            return Err(format!("the first answer had status {}", status.as_u16()));
        }
        if answer.contains_key(CONTENT_ENCODING) {
            return Err("the server sent encoded data (Content-Encoding)".into());
        }
        if text(answer, ACCEPT_RANGES) != Some("bytes") {
            return Err("the server does not offer ranges (Accept-Ranges: bytes)".into());
        }
        let validator = validator(answer).cloned();
        let none =
            "the server does not name the version of the file (a strong ETag, or Last-Modified)";
        Ok(Self {
            validator: validator.ok_or(none)?,
            etag: answer.get(ETAG).cloned(),
            size: number(answer),
        })
    }

    /// The headers that ask for the rest from byte `at`.
    pub(super) fn ask(&self, asked: &HeaderMap, at: u64) -> HeaderMap {
        let mut headers = asked.clone();
        // Digits are a header value.
        if let Ok(range) = HeaderValue::try_from(format!("bytes={at}-")) {
            headers.insert(RANGE, range);
            headers.insert(IF_RANGE, self.validator.clone());
        }
        headers
    }

    /// Whether `answer` is the rest from byte `at`, all of it; or why not.
    pub(super) fn goes_on(
        &mut self,
        at: u64,
        status: StatusCode,
        answer: &HeaderMap,
    ) -> Result<(), String> {
        match status {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK | StatusCode::PRECONDITION_FAILED => {
                let status = status.as_u16();
                return Err(format!("the file was changed meanwhile (status {status})"));
            }
            _ => {
                return Err(format!(
                    "the server answers with status {}",
                    status.as_u16()
                ));
            }
        }
        if answer.contains_key(CONTENT_ENCODING) {
            return Err("the server sent encoded data (Content-Encoding)".into());
        }
        // A server may leave the time out here (RFC 9110, 15.3.7). It cannot be told then from one that does
        // not read `If-Range`, and that one may send a part of another version.
        let is_same = match self.validator.as_bytes().first() {
            Some(b'"') => answer.get(ETAG) == Some(&self.validator),
            _ => {
                answer.get(LAST_MODIFIED) == Some(&self.validator)
                    && answer.get(ETAG) == self.etag.as_ref()
            }
        };
        if !is_same {
            return Err("the server does not say that this is a part of the same file".into());
        }
        let told = text(answer, CONTENT_RANGE).unwrap_or("nothing");
        let wrong =
            || format!("asked for all from byte {at}, the server sent {told} (Content-Range)");
        let (first, last, size) = range(told).ok_or_else(wrong)?;
        let is_rest = first == at && last.checked_add(1) == Some(size) && first <= last;
        let is_whole = self.size.is_none_or(|known| known == size);
        let is_long = number(answer).is_none_or(|length| size.checked_sub(at) == Some(length));
        if !(is_rest && is_whole && is_long) {
            return Err(wrong());
        }
        self.size = Some(size);
        Ok(())
    }

    /// Whether a body that ended well at byte `at` was all; or how much is missing.
    pub(super) fn complete(&self, at: u64) -> Result<(), String> {
        match self.size {
            Some(size) if size != at => Err(format!("the data ended at byte {at} of {size}")),
            _ => Ok(()),
        }
    }
}

/// A strong validator: an ETag that is not weak, or the time of a change that was over a second ago.
fn validator(answer: &HeaderMap) -> Option<&HeaderValue> {
    let etag = answer
        .get(ETAG)
        .filter(|tag| tag.as_bytes().starts_with(b"\""));
    etag.or_else(|| {
        let (date, modified) = (time(answer, DATE)?, time(answer, LAST_MODIFIED)?);
        // Both count seconds; in the same one the file may have changed twice.
        let is_past = modified < date;
        answer.get(LAST_MODIFIED).filter(|_| is_past)
    })
}

fn time(answer: &HeaderMap, name: reqwest::header::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(answer, name)?).ok()
}

/// `bytes FIRST-LAST/SIZE`.
fn range(told: &str) -> Option<(u64, u64, u64)> {
    let (span, size) = told.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, size.parse().ok()?))
}

fn number(answer: &HeaderMap) -> Option<u64> {
    answer.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn text(answer: &HeaderMap, name: reqwest::header::HeaderName) -> Option<&str> {
    answer.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = of.iter().map(|(name, value)| {
            let name = reqwest::header::HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        });
        pairs.collect()
    }

    const FIRST: [(&str, &str); 3] = [
        ("accept-ranges", "bytes"),
        ("etag", "\"v1\""),
        ("content-length", "1000"),
    ];

    fn whole(of: &[(&'static str, &str)]) -> Result<Whole, String> {
        Whole::of(&HeaderMap::new(), StatusCode::OK, &headers(of))
    }

    #[test]
    fn the_rest_is_asked_for_of_the_same_version_alone() {
        let asked = headers(&[("authorization", "Bearer x"), ("accept", "*/*")]);
        let ask = |of| whole(of).unwrap().ask(&asked, 400);
        let etag = ask(&FIRST);
        assert_eq!(
            (&etag[RANGE], &etag[IF_RANGE]),
            (&"bytes=400-".parse().unwrap(), &"\"v1\"".parse().unwrap())
        );
        assert_eq!(etag["authorization"], "Bearer x");
        let dated = ask(&[
            ("accept-ranges", "bytes"),
            ("etag", "W/\"v1\""),
            ("last-modified", "Mon, 30 Nov 2026 10:00:00 GMT"),
            ("date", "Mon, 30 Nov 2026 10:00:01 GMT"),
        ]);
        assert_eq!(dated[IF_RANGE], "Mon, 30 Nov 2026 10:00:00 GMT");
    }

    #[test]
    fn a_download_that_cannot_go_on_says_why() {
        let now = "Mon, 30 Nov 2026 10:00:00 GMT";
        for (of, why) in [
            (&[("etag", "\"v1\"")][..], "does not offer ranges"),
            (
                &[("accept-ranges", "none"), ("etag", "\"v1\"")],
                "does not offer ranges",
            ),
            (&[("accept-ranges", "bytes")], "does not name the version"),
            (
                &[("accept-ranges", "bytes"), ("etag", "W/\"v1\"")],
                "does not name the version",
            ),
            (
                &[
                    ("accept-ranges", "bytes"),
                    ("last-modified", now),
                    ("date", now),
                ],
                "does not name the version",
            ),
            (
                &[("accept-ranges", "bytes"), ("last-modified", now)],
                "does not name the version",
            ),
            (
                // Its clock is ahead.
                &[
                    ("accept-ranges", "bytes"),
                    ("last-modified", now),
                    ("date", "Mon, 30 Nov 2026 09:59:59 GMT"),
                ],
                "does not name the version",
            ),
            (
                &[
                    ("accept-ranges", "bytes"),
                    ("etag", "\"v1\""),
                    ("content-encoding", "gzip"),
                ],
                "encoded",
            ),
        ] {
            let told = whole(of).unwrap_err();
            assert!(told.contains(why), "{of:?}: {told}");
        }
        let asked = headers(&[("range", "bytes=5-")]);
        Whole::of(&asked, StatusCode::OK, &headers(&FIRST)).unwrap_err();
        let part = StatusCode::PARTIAL_CONTENT;
        Whole::of(&HeaderMap::new(), part, &headers(&FIRST)).unwrap_err();
    }

    fn goes_on(status: u16, of: &[(&'static str, &str)]) -> Result<(), String> {
        let status = StatusCode::from_u16(status).unwrap();
        whole(&FIRST).unwrap().goes_on(400, status, &headers(of))
    }

    #[test]
    fn only_the_rest_of_the_same_file_goes_on() {
        let rest = ("content-range", "bytes 400-999/1000");
        let etag = ("etag", "\"v1\"");
        goes_on(206, &[rest, etag]).unwrap();
        goes_on(206, &[rest, etag, ("content-length", "600")]).unwrap();
        for (status, of, why) in [
            (200, &[etag][..], "changed meanwhile (status 200)"),
            (412, &[], "changed meanwhile (status 412)"),
            (416, &[], "status 416"),
            (403, &[], "status 403"),
            (206, &[rest], "same file"),
            (206, &[rest, ("etag", "\"v2\"")], "same file"),
            (206, &[rest, ("etag", "W/\"v1\"")], "same file"),
            (206, &[rest, etag, ("content-encoding", "gzip")], "encoded"),
            (
                206,
                &[rest, etag, ("content-length", "599")],
                "asked for all from byte 400",
            ),
            (206, &[etag], "the server sent nothing"),
            (
                206,
                &[etag, ("content-range", "bytes 401-999/1000")],
                "sent bytes 401-999/1000",
            ),
            (
                206,
                &[etag, ("content-range", "bytes 400-998/1000")],
                "sent bytes 400-998/1000",
            ),
            (
                206,
                &[etag, ("content-range", "bytes 400-1000/1001")],
                "sent bytes 400-1000/1001",
            ),
            (
                206,
                &[etag, ("content-range", "bytes 400-999/*")],
                "sent bytes 400-999/*",
            ),
            (
                206,
                &[etag, ("content-range", "bytes 400-18446744073709551615/0")],
                "Content-Range",
            ),
        ] {
            let told = goes_on(status, of).unwrap_err();
            assert!(told.contains(why), "{status} {of:?}: {told}");
        }
    }

    #[test]
    fn a_part_that_names_no_version_is_of_any() {
        let modified = ("last-modified", "Mon, 30 Nov 2026 10:00:00 GMT");
        let weak = ("etag", "W/\"v1\"");
        let first = [
            ("accept-ranges", "bytes"),
            modified,
            weak,
            ("date", "Mon, 30 Nov 2026 10:00:05 GMT"),
            ("content-length", "1000"),
        ];
        let rest = ("content-range", "bytes 400-999/1000");
        let goes_on = |of: &[(&'static str, &str)]| {
            let part = StatusCode::PARTIAL_CONTENT;
            whole(&first).unwrap().goes_on(400, part, &headers(of))
        };
        goes_on(&[rest, modified, weak]).unwrap();
        for of in [
            &[rest][..],
            &[rest, weak],
            &[rest, modified],
            &[rest, modified, ("etag", "W/\"v2\"")],
            &[
                rest,
                ("last-modified", "Mon, 30 Nov 2026 10:00:01 GMT"),
                weak,
            ],
        ] {
            let told = goes_on(of).unwrap_err();
            assert!(told.contains("same file"), "{of:?}: {told}");
        }
    }

    #[test]
    fn a_size_that_came_late_counts_as_well() {
        let mut whole = whole(&FIRST[..2]).unwrap();
        whole.complete(7).unwrap();
        let rest = headers(&[("content-range", "bytes 400-999/1000"), ("etag", "\"v1\"")]);
        whole
            .goes_on(400, StatusCode::PARTIAL_CONTENT, &rest)
            .unwrap();
        whole.complete(1000).unwrap();
        assert_eq!(
            whole.complete(999).unwrap_err(),
            "the data ended at byte 999 of 1000"
        );
    }

    #[test]
    fn pauses_grow() {
        let all: Vec<_> = (0..ATTEMPTS).map(|n| pause(n).as_secs()).collect();
        assert_eq!(all, [1, 2, 4, 8, 16]);
    }
}
