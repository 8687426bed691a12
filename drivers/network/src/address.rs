//! Host and port of a peer, and what `address` tells clients about it.

use std::net::SocketAddr;

use rigd_driver::{ConfigError, DriverError};
use tokio::time::timeout;

use crate::connect::CONNECT_LIMIT;

/// The text is what clients get as a `ValueError` and match on.
const NOT_ENABLED: &str = "enable_address mode is not true in the exporter configuration";

/// Serde default of `enable_address`.
pub(crate) fn enabled() -> bool {
    true
}

/// The answer of `address`, or the refusal when the configuration keeps it to itself.
pub(crate) fn disclose(enabled: bool, address: String) -> Result<String, DriverError> {
    if enabled {
        Ok(address)
    } else {
        Err(DriverError::InvalidArgument(NOT_ENABLED.into()))
    }
}

/// Checks what types cannot say about `host` and `port`.
pub(crate) fn check(host: &str, port: u16) -> Result<(), ConfigError> {
    if host.is_empty() {
        return Err(ConfigError::new(
            "host",
            "needs a host name or an IP address",
        ));
    }
    if port == 0 {
        return Err(ConfigError::new(
            "port",
            "port 0 cannot be connected to; use 1 to 65535",
        ));
    }
    Ok(())
}

/// `IP:PORT` with the host resolved and IPv6 in brackets. A host that does not resolve in time is
/// given as it is: the client may know it.
pub(crate) async fn resolved(host: &str, port: u16) -> String {
    let found = timeout(CONNECT_LIMIT, tokio::net::lookup_host((host, port))).await;
    let first = found
        .ok()
        .and_then(Result::ok)
        .and_then(|mut all| all.next());
    first.map_or_else(
        || format!("{host}:{port}"),
        |address| SocketAddr::new(address.ip(), port).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_written_as_urls_want_them() {
        assert_eq!(resolved("192.0.2.7", 22).await, "192.0.2.7:22");
        assert_eq!(resolved("2001:db8::1", 22).await, "[2001:db8::1]:22");
        // RFC 6761: never resolves.
        assert_eq!(resolved("board.invalid", 22).await, "board.invalid:22");
    }

    #[test]
    fn an_address_is_kept_back_when_configured_so() {
        let error = disclose(false, "tcp://192.0.2.7:22".into()).unwrap_err();
        assert!(matches!(error, DriverError::InvalidArgument(_)));
        assert_eq!(
            error.to_string(),
            "enable_address mode is not true in the exporter configuration"
        );
    }
}
