//! `grpcOptions`: the channel options of gRPC that mean something here.
//!
//! Files that work with the Python exporter name options of its gRPC library. Those without an equal
//! are told once instead of refused.

use std::{collections::BTreeMap, time::Duration};

use http::uri::Authority;
use rustls::pki_types::ServerName;
use tonic::transport::Endpoint;

use crate::{
    config::GrpcOption,
    transport::{CONNECTION_WINDOW, MAX_FRAME, STREAM_WINDOW},
};

/// Upstream pings every 20 s, also without calls.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Upstream waits for 180 s; a link that is gone should not hold a lease for so long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// gRPC's own limit.
const MAX_RECEIVE: usize = 4 * 1024 * 1024;
/// The controller answers more frequent pings with the end of the connection.
const MIN_KEEPALIVE_MS: i64 = 1000;
/// gRPC's way to say never.
const NEVER_MS: i64 = i32::MAX as i64;

/// Flow-control window of the one stream that a tunnel is. All streams of a client share it, so it
/// has to be larger than theirs: an upload that fills its own leaves room for key strokes. The
/// smallest message that a client causes is a frame of HTTP/2 without payload, 9 bytes and 7 for
/// framing: of these it holds 131 072, which cost 31.5 MB of h2's budget of 33.5 MB (half of
/// [`CONNECTION_WINDOW`]).
const TUNNEL_WINDOW: u32 = 2 * 1024 * 1024;

/// Options that change nothing that could be noticed here: there is one address at a time, and
/// pings and retries are not limited in the first place.
const HARMLESS: [&str; 9] = [
    "grpc.lb_policy_name",
    "grpc.http2.max_pings_without_data",
    "grpc.http2.min_time_between_pings_ms",
    "grpc.http2.min_ping_interval_without_data_ms",
    "grpc.http2.max_ping_strikes",
    "grpc.enable_retries",
    "grpc.service_config_disable_resolution",
    "grpc.so_reuseport",
    "grpc.enable_http_proxy",
];

/// Options of the channels to controller and routers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChannelOptions {
    /// Time between pings; none without.
    pub(crate) keepalive: Option<Duration>,
    /// How long a ping may stay unanswered.
    pub(crate) keepalive_timeout: Duration,
    /// Ping also while there is no call.
    pub(crate) while_idle: bool,
    /// Largest message taken, in bytes; set it on every client.
    pub(crate) max_receive: usize,
    /// Largest message sent, in bytes; set it on every client.
    pub(crate) max_send: usize,
    /// `:authority` in place of the endpoint's.
    pub(crate) authority: Option<Authority>,
    /// Name that the certificate must hold, in place of the endpoint's host.
    pub(crate) server_name: Option<ServerName<'static>>,
    /// Goes before our own user agent.
    pub(crate) user_agent: Option<String>,
    /// What could not be done, a sentence each, to be told once.
    pub(crate) warnings: Vec<String>,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        ChannelOptions {
            keepalive: Some(KEEPALIVE),
            keepalive_timeout: KEEPALIVE_TIMEOUT,
            while_idle: true,
            max_receive: MAX_RECEIVE,
            max_send: usize::MAX,
            authority: None,
            server_name: None,
            user_agent: None,
            warnings: Vec::new(),
        }
    }
}

impl ChannelOptions {
    /// Reads `grpcOptions`. What is wrong with them is in `warnings`, and the default counts.
    pub(crate) fn new(options: &BTreeMap<String, GrpcOption>) -> Self {
        let mut read = ChannelOptions::default();
        let mut unknown = Vec::new();
        for (key, value) in options {
            match read.set(key, value) {
                Ok(true) => {}
                Ok(false) => unknown.push(format!("`{key}`")),
                Err(expected) => {
                    let value = match value {
                        GrpcOption::Text(text) => format!("`{}`", text.escape_debug()),
                        GrpcOption::Int(value) => value.to_string(),
                    };
                    read.warnings.push(format!(
                        "grpcOptions: `{key}` is {value}, expected {expected}; the default counts"
                    ));
                }
            }
        }
        if !unknown.is_empty() {
            read.warnings.push(format!(
                "grpcOptions: {} have no meaning for rigd and are ignored",
                unknown.join(", ")
            ));
        }
        read
    }

    /// Whether the option is known, or what its value should have been.
    fn set(&mut self, key: &str, value: &GrpcOption) -> Result<bool, &'static str> {
        match key {
            "grpc.keepalive_time_ms" => {
                let time = int(value, MIN_KEEPALIVE_MS, "milliseconds, at least 1000")?;
                self.keepalive = millis(time);
            }
            "grpc.keepalive_timeout_ms" => {
                let time = int(value, 1, "milliseconds, at least 1")?;
                self.keepalive_timeout = Duration::from_millis(time.unsigned_abs());
            }
            "grpc.keepalive_permit_without_calls" => {
                self.while_idle = match value {
                    GrpcOption::Int(0) => false,
                    GrpcOption::Int(1) => true,
                    _ => return Err("0 or 1"),
                };
            }
            "grpc.max_receive_message_length" => self.max_receive = size(value)?,
            "grpc.max_send_message_length" => self.max_send = size(value)?,
            "grpc.default_authority" => {
                let text = text(value, "a host name")?;
                let authority = Authority::try_from(text).map_err(|_| "a host name")?;
                self.authority = Some(authority);
            }
            "grpc.ssl_target_name_override" => {
                let text = text(value, "a host name")?;
                let name = ServerName::try_from(text.to_owned()).map_err(|_| "a host name")?;
                self.server_name = Some(name);
                // As gRPC does; `grpc.default_authority` sorts before this key and wins.
                self.authority = self
                    .authority
                    .take()
                    .or_else(|| Authority::try_from(text).ok());
            }
            "grpc.primary_user_agent" => {
                let agent = text(value, "a printable text")?;
                if !agent.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                    return Err("a printable text");
                }
                self.user_agent = Some(agent.to_owned());
            }
            _ => return Ok(HARMLESS.contains(&key)),
        }
        Ok(true)
    }

    /// As [`apply`](Self::apply), for a connection that carries one tunnel and nothing else.
    pub(crate) fn apply_to_tunnel(&self, endpoint: Endpoint) -> Endpoint {
        let endpoint = self.apply(endpoint);
        endpoint.initial_stream_window_size(TUNNEL_WINDOW)
    }

    /// Sets a channel up. Its connection is our own business, so there is no time-out for it. The
    /// windows are those of our servers: h2 has the same budget on the side of a client.
    pub(crate) fn apply(&self, endpoint: Endpoint) -> Endpoint {
        let mut endpoint = endpoint
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .keep_alive_timeout(self.keepalive_timeout)
            .keep_alive_while_idle(self.while_idle);
        if let Some(interval) = self.keepalive {
            endpoint = endpoint.http2_keep_alive_interval(interval);
        }
        let own = concat!("rigd/", env!("CARGO_PKG_VERSION"));
        let agent = match &self.user_agent {
            Some(first) => format!("{first} {own}"),
            None => own.to_owned(),
        };
        // Only printable texts came here, so that the fallback is never met.
        endpoint.clone().user_agent(agent).unwrap_or(endpoint)
    }
}

fn int(value: &GrpcOption, min: i64, expected: &'static str) -> Result<i64, &'static str> {
    match value {
        GrpcOption::Int(value) if (min..=NEVER_MS).contains(value) => Ok(*value),
        _ => Err(expected),
    }
}

fn millis(time: i64) -> Option<Duration> {
    (time != NEVER_MS).then(|| Duration::from_millis(time.unsigned_abs()))
}

/// gRPC's -1 is no limit.
fn size(value: &GrpcOption) -> Result<usize, &'static str> {
    match value {
        GrpcOption::Int(-1) => Ok(usize::MAX),
        GrpcOption::Int(value) => usize::try_from(*value).map_err(|_| "bytes, or -1 for no limit"),
        GrpcOption::Text(_) => Err("bytes, or -1 for no limit"),
    }
}

fn text<'a>(value: &'a GrpcOption, expected: &'static str) -> Result<&'a str, &'static str> {
    match value {
        GrpcOption::Text(text) if !text.is_empty() => Ok(text),
        _ => Err(expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, GrpcOption)]) -> ChannelOptions {
        let options = options.iter().cloned();
        ChannelOptions::new(
            &options
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }

    fn word(text: &str) -> GrpcOption {
        GrpcOption::Text(text.to_owned())
    }

    #[test]
    fn what_upstream_sets_itself_is_no_reason_to_warn() {
        let options = read(&[
            ("grpc.lb_policy_name", word("round_robin")),
            ("grpc.keepalive_time_ms", GrpcOption::Int(20_000)),
            ("grpc.http2.max_pings_without_data", GrpcOption::Int(0)),
            ("grpc.keepalive_permit_without_calls", GrpcOption::Int(1)),
        ]);
        assert_eq!(options, ChannelOptions::default());
    }

    #[test]
    fn options_with_a_meaning() {
        let options = read(&[
            ("grpc.keepalive_time_ms", GrpcOption::Int(NEVER_MS)),
            ("grpc.keepalive_timeout_ms", GrpcOption::Int(180_000)),
            ("grpc.keepalive_permit_without_calls", GrpcOption::Int(0)),
            ("grpc.max_receive_message_length", GrpcOption::Int(-1)),
            ("grpc.max_send_message_length", GrpcOption::Int(1024)),
            ("grpc.default_authority", word("ctl.lab:443")),
            ("grpc.ssl_target_name_override", word("ctl.lab")),
            ("grpc.primary_user_agent", word("shelf-3")),
        ]);
        let expected = ChannelOptions {
            keepalive: None,
            keepalive_timeout: Duration::from_secs(180),
            while_idle: false,
            max_receive: usize::MAX,
            max_send: 1024,
            authority: Some(Authority::from_static("ctl.lab:443")),
            server_name: Some(ServerName::try_from("ctl.lab").unwrap()),
            user_agent: Some("shelf-3".to_owned()),
            warnings: Vec::new(),
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn bad_values_are_told_with_their_key_and_the_default_counts() {
        let bad = [
            ("grpc.keepalive_time_ms", GrpcOption::Int(999)),
            ("grpc.keepalive_timeout_ms", word("20000")),
            ("grpc.keepalive_permit_without_calls", GrpcOption::Int(2)),
            ("grpc.max_receive_message_length", GrpcOption::Int(-2)),
            ("grpc.default_authority", word("a b")),
            ("grpc.ssl_target_name_override", word("a/b")),
            ("grpc.primary_user_agent", word("a\nb")),
        ];
        for (key, value) in bad {
            let options = read(&[(key, value)]);
            let [warning] = options.warnings.as_slice() else {
                panic!("{key}: {:?}", options.warnings)
            };
            assert!(
                warning.contains(key) && warning.contains("expected"),
                "{warning}"
            );
            let reset = ChannelOptions {
                warnings: Vec::new(),
                ..options
            };
            assert_eq!(reset, ChannelOptions::default(), "{key}");
        }
    }

    #[test]
    fn the_others_share_one_warning() {
        let options = read(&[("grpc.b", GrpcOption::Int(1)), ("grpc.a", word("x"))]);
        assert_eq!(
            options.warnings,
            ["grpcOptions: `grpc.a`, `grpc.b` have no meaning for rigd and are ignored"]
        );
    }
}
