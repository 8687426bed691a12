//! Connecting with a deadline, and what a failure is called.

use std::{io, time::Duration};

use rigd_driver::DriverError;
use tokio::time::timeout;

/// How long a peer has to accept a connection. A board that boots answers within a second or not
/// at all; a client waits for this before it sees its stream.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long a peer without half-close may stay silent after the client has sent its last byte,
/// before the stream ends. Clients do not hang up by themselves: without this bound each use would
/// leave a socket behind until the lease ends.
pub(crate) const LINGER: Duration = Duration::from_secs(10);

/// Runs `connecting` within the limit; `peer` is named in errors.
///
/// # Errors
/// A time-out, a lack of permission, and everything else as unavailable.
pub(crate) async fn connect<T>(
    peer: &str,
    connecting: impl Future<Output = io::Result<T>>,
) -> Result<T, DriverError> {
    match timeout(CONNECT_LIMIT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Err(
            DriverError::Device(format!("cannot connect to {peer}: {error}")),
        ),
        Ok(Err(error)) => Err(DriverError::Unavailable(format!(
            "cannot connect to {peer}: {error}"
        ))),
        Err(_) => Err(timed_out(peer)),
    }
}

/// The peer did not answer within [`CONNECT_LIMIT`].
pub(crate) fn timed_out(peer: &str) -> DriverError {
    let limit = CONNECT_LIMIT.as_secs();
    DriverError::Timeout(format!(
        "cannot connect to {peer}: no answer within {limit} s"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_answers_costs_ten_seconds() {
        let never = std::future::pending::<io::Result<()>>();
        let error = connect("tcp://192.0.2.7:22", never).await.unwrap_err();
        assert!(matches!(error, DriverError::Timeout(_)));
        assert_eq!(
            error.to_string(),
            "cannot connect to tcp://192.0.2.7:22: no answer within 10 s"
        );
    }
}
