//! The card at the host: waiting for it, and letting go of it in order.
//!
//! ```text
//!   switched to host ──> disk appears ──> medium in it ──> opened exclusively
//!   before the board ──> udev settles ──> whole-disk lock and exclusive open ──> closed ──> switched
//! ```
//!
//! udev holds a lock on the disk while it looks at it, and does not look while somebody else has the
//! lock: so after it nobody reads from the card, and the exclusive open shows that nothing mounts it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rigd_driver::{Call, ConfigError, Delay, DriverError};
use rigd_flash::{Access, Disk, Extent, FlashSettings, Medium as _, open_when_ready};
use rustix::fs::{Mode, OFlags, open};
use tokio::time::{Instant, sleep};

use crate::mux::FindDisk;

/// udev's mark that it has events to handle (systemd's `udevadm settle` waits for it to go).
const UDEV_QUEUE: &str = "/run/udev/queue";
/// How long udev may be busy with other devices. The lock keeps it from this card in any case.
const SETTLE: Duration = Duration::from_secs(5);
/// Between two looks; a look is a stat of a file in memory.
const SETTLE_LOOK: Duration = Duration::from_millis(20);

/// How long a card may take to be found in its reader: what upstream's drivers wait.
pub(crate) fn storage_timeout() -> Delay {
    Delay(Duration::from_secs(10))
}

/// How long upstream's drivers leave a card alone after its sync.
pub(crate) fn storage_leeway() -> Delay {
    Delay(Duration::from_secs(6))
}

/// How long what was written may take to reach the card: what upstream's drivers wait.
pub(crate) fn fsync_timeout() -> Delay {
    Delay(Duration::from_secs(900))
}

/// The part of a mux's configuration that is about the card.
#[derive(Debug, Clone)]
pub struct CardSettings {
    /// The disk, where it is not found by topology.
    pub device: Option<PathBuf>,
    /// How long a card may take to be found.
    pub timeout: Duration,
    /// How long it is left alone after a write.
    pub leeway: Duration,
    /// How long a sync may take.
    pub fsync: Duration,
    /// How images are written.
    pub flash: FlashSettings,
}

impl CardSettings {
    /// Checks what types cannot say.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match &self.device {
            Some(device) if !device.is_absolute() => {
                let shown = device.display();
                let text =
                    format!("{shown} is no absolute path, e.g. /dev/disk/by-id/usb-reader-0:0");
                Err(ConfigError::new("storage_device", text))
            }
            _ => Ok(()),
        }
    }
}

/// The card of one mux.
#[derive(Clone)]
pub(crate) struct Card {
    find: FindDisk,
    timeout: Duration,
}

impl Card {
    pub(crate) fn new(find: FindDisk, timeout: Duration) -> Self {
        Self { find, timeout }
    }

    /// Opens it as soon as it is there. Cancel-safe.
    pub(crate) async fn open(&self, call: &Call, access: Access) -> Result<Arc<Disk>, DriverError> {
        let (find, again) = (self.find.clone(), self.find.clone());
        let disk =
            open_when_ready(call, self.timeout, access, Extent::Fixed, move || find()).await?;
        // Between the look and the opening another disk may have got the name.
        let now = call.blocking(move |_| again()).await?;
        match now.display().to_string() == disk.name() {
            true => Ok(disk),
            false => Err(DriverError::Unavailable(format!(
                "the card is at {} now, and was at {}: its reader was plugged in anew",
                now.display(),
                disk.name()
            ))),
        }
    }

    /// Waits until the kernel and udev are done with it, and makes sure that nothing uses it.
    ///
    /// What is returned holds it exclusively: drop it right before the switch. None when there is no
    /// card to let go of.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when somebody uses it; the text says who, where the kernel tells.
    pub(crate) async fn let_go(&self, call: &Call) -> Result<Option<Disk>, DriverError> {
        settle(Path::new(UDEV_QUEUE)).await;
        let find = self.find.clone();
        let hold = move |_: &Call| Disk::open(&find()?, Access::Read, Extent::Fixed);
        match call.blocking(hold).await {
            Ok(disk) => Ok(Some(disk)),
            // No disk, or no card in its reader.
            Err(DriverError::Unavailable(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the kernel notice that the card is gone, so that it forgets its partitions.
    pub(crate) async fn notice_absence(&self, call: &Call) {
        let find = self.find.clone();
        let look = move |_: &Call| {
            let path = find()?;
            // Opening is what makes the kernel ask the reader. It fails, since no card is there.
            open(
                &path,
                OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .ok();
            Ok(())
        };
        call.blocking(look).await.ok();
    }
}

/// Resolves when udev has nothing to do, or was busy for too long. Cancel-safe.
async fn settle(queue: &Path) {
    let limit = Instant::now() + SETTLE;
    while queue.exists() && Instant::now() < limit {
        sleep(SETTLE_LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn udev_is_waited_for_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let queue = dir.path().join("queue");
        let began = Instant::now();
        settle(&queue).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        std::fs::write(&queue, "").unwrap();
        let done = async {
            sleep(Duration::from_secs(1)).await;
            std::fs::remove_file(&queue).unwrap();
        };
        tokio::join!(settle(&queue), done);
        let took = began.elapsed();
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(2),
            "{took:?}"
        );
        std::fs::write(&queue, "").unwrap();
        let began = Instant::now();
        settle(&queue).await;
        assert_eq!(began.elapsed().as_secs(), SETTLE.as_secs());
    }
}
