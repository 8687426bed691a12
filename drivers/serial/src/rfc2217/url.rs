//! What stands behind `rfc2217://`.

use std::{fmt, time::Duration};

/// How long an answer may take unless the address says otherwise; as upstream's library has it.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// What counts of a longer one: an order as a whole has little more.
const MAX_ANSWER_LIMIT: Duration = Duration::from_secs(4);

/// A serial port behind a terminal server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// How long the server may take to answer.
    pub(super) answer_limit: Duration,
    /// `ign_set_control`: lines, break and flow control are set without waiting for an answer, since
    /// this server gives none.
    pub(super) ignore_control: bool,
}

impl Url {
    /// From host, port and what follows the `?`.
    ///
    /// # Errors
    /// What is wrong, as a text.
    pub(crate) fn new(host: String, port: u16, options: &str) -> Result<Self, String> {
        let mut url = Self {
            host,
            port,
            answer_limit: ANSWER_LIMIT,
            ignore_control: false,
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "ign_set_control" => url.ignore_control = true,
                "timeout" => url.answer_limit = seconds(value)?,
                // How upstream's library logs, and how it reads the modem lines, which nobody asks for here.
                "logging" | "poll_modem" => {}
                _ => {
                    return Err(format!(
                        "{name:?} is no option of rfc2217://; there are ign_set_control, timeout=SECONDS, \
                         and, without effect, logging and poll_modem"
                    ));
                }
            }
        }
        Ok(url)
    }
}

impl fmt::Display for Url {
    /// Without options.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "rfc2217://[{host}]:{port}")
        } else {
            write!(f, "rfc2217://{host}:{port}")
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let limit = limit.filter(|limit| !limit.is_zero());
    limit
        .map(|limit| limit.min(MAX_ANSWER_LIMIT))
        .ok_or_else(|| format!("timeout={text} is no time limit; use more than 0 seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str) -> Result<Url, String> {
        Url::new("ts".into(), 7001, options)
    }

    #[test]
    fn options_of_upstreams_library_are_understood() {
        let plain = parse("").unwrap();
        assert_eq!(plain.answer_limit, Duration::from_secs(3));
        assert!(!plain.ignore_control);
        let all = parse("logging=debug&ign_set_control&poll_modem&timeout=1.5").unwrap();
        assert_eq!(all.answer_limit, Duration::from_millis(1500));
        assert!(all.ignore_control);
        assert_eq!(parse("timeout=60").unwrap().answer_limit, MAX_ANSWER_LIMIT);
    }

    #[test]
    fn others_are_explained() {
        for (options, text) in [
            (
                "tls",
                "\"tls\" is no option of rfc2217://; there are ign_set_control, timeout",
            ),
            ("timeout=0", "timeout=0 is no time limit; use more than 0"),
            ("timeout", "timeout= is no time limit"),
            ("timeout=NaN", "timeout=NaN is no time limit"),
        ] {
            let error = parse(options).unwrap_err();
            assert!(error.starts_with(text), "{error}");
        }
    }
}
