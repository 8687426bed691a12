//! Waiting until a card is there: a reader takes seconds to find it after its mux switched.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rigd_driver::{Call, DriverError};
use tokio::time::{Instant, sleep};

use crate::disk::{Access, Disk, Extent};

/// Between two looks.
const POLL: Duration = Duration::from_millis(250);

/// Opens the disk that `find` names as soon as there is one with a card in it, within `limit`. `find`
/// runs on the instance's thread and may look for the disk anew each time, since its name can change.
/// Cancel-safe: what was opened is closed again.
///
/// # Errors
/// DEADLINE_EXCEEDED with what was missing last; at once what waiting does not help with.
pub async fn open_when_ready(
    call: &Call,
    limit: Duration,
    access: Access,
    extent: Extent,
    find: impl Fn() -> Result<PathBuf, DriverError> + Send + Sync + 'static,
) -> Result<Arc<Disk>, DriverError> {
    let find = Arc::new(find);
    let begun = Instant::now();
    loop {
        let find = find.clone();
        let opened = call
            .blocking(move |_| Disk::open(&find()?, access, extent))
            .await;
        match opened {
            Ok(disk) => return Ok(Arc::new(disk)),
            Err(DriverError::Unavailable(missing)) if begun.elapsed() >= limit => {
                let limit = limit.as_secs();
                return Err(DriverError::Timeout(format!(
                    "the card did not become available on the host within {limit} s: {missing}"
                )));
            }
            Err(DriverError::Unavailable(_)) => sleep(POLL).await,
            Err(error) => return Err(error),
        }
    }
}
