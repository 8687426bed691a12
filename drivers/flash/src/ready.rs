//! Waiting until a card is there: a reader takes seconds to find it after its mux switched.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rigd_driver::{Call, DriverError};
use tokio::time::{Instant, sleep};

use crate::disk::{Access, CannotOpen, Disk, Extent};

/// Between two looks.
const POLL: Duration = Duration::from_millis(250);

/// Opens the disk that `find` names as soon as there is one with a card in it, within `limit`. `find`
/// runs on the instance's thread and may look for the disk anew each time, since its name can change.
/// Cancel-safe: what was opened is closed again.
///
/// # Errors
/// DEADLINE_EXCEEDED with what was wrong last; at once what waiting does not help with.
pub async fn open_when_ready(
    call: &Call,
    limit: Duration,
    access: Access,
    extent: Extent,
    find: impl Fn() -> Result<PathBuf, DriverError> + Send + Sync + 'static,
) -> Result<Arc<Disk>, DriverError> {
    let find = Arc::new(find);
    let open = move || {
        let find = find.clone();
        let look = move |_: &Call| {
            Ok(find()
                .map_err(CannotOpen::from)
                .and_then(|path| Disk::try_open(&path, access, extent)))
        };
        async { call.blocking(look).await? }
    };
    wait(limit, open).await.map(Arc::new)
}

async fn wait<T, F: Future<Output = Result<T, CannotOpen>>>(
    limit: Duration,
    open: impl Fn() -> F,
) -> Result<T, DriverError> {
    let begun = Instant::now();
    loop {
        match open().await {
            Ok(opened) => return Ok(opened),
            Err(failed) if !failed.may_pass => return Err(failed.error),
            Err(failed) if begun.elapsed() >= limit => {
                let (limit, last) = (limit.as_secs(), failed.error);
                return Err(DriverError::Timeout(format!(
                    "the card did not become available on the host within {limit} s: {last}"
                )));
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, io};

    use rustix::io::Errno;

    use super::*;
    use crate::disk::cannot_open;

    const LIMIT: Duration = Duration::from_secs(10);

    fn fails_with(errno: Errno) -> CannotOpen {
        let error = io::Error::from(errno);
        cannot_open("/dev/sda", Access::Write, None, &error)
    }

    /// A card that opens after `errors`, or keeps failing with the last of them; and the time it took.
    async fn opens(errors: &[Errno], for_ever: bool) -> (Result<(), DriverError>, Duration) {
        let looks = Cell::new(0);
        let begun = Instant::now();
        let opened = wait(LIMIT, || {
            let look = looks.replace(looks.get() + 1);
            let last = errors.last().filter(|_| for_ever);
            let error = errors.get(look).or(last);
            let found = error.map_or(Ok(()), |errno| Err(fails_with(*errno)));
            async { found }
        });
        (opened.await, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_while_a_reader_finds_its_card_is_waited_for() {
        let errors = [Errno::NOENT, Errno::NOMEDIUM, Errno::IO, Errno::IO];
        let (opened, took) = opens(&errors, false).await;
        opened.unwrap();
        assert_eq!(took, 4 * POLL);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_is_told_in_the_end() {
        let (opened, took) = opens(&[Errno::NOMEDIUM, Errno::IO], true).await;
        let error = opened.unwrap_err();
        assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the card did not become available on the host within 10 s: cannot open /dev/sda: \
             Input/output error (os error 5)"
        );
        assert_eq!(took, LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waiting_does_not_help_with_is_told_at_once() {
        for errno in [Errno::BUSY, Errno::ROFS, Errno::ACCESS, Errno::NOMEM] {
            let (opened, took) = opens(&[errno], false).await;
            let error = opened.unwrap_err();
            assert!(!matches!(error, DriverError::Timeout(_)), "{error:?}");
            assert_eq!(took, Duration::ZERO);
        }
    }

    #[test]
    fn an_error_of_the_reader_is_not_as_good_as_no_card() {
        let error = fails_with(Errno::IO).error;
        assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    }
}
