//! `storage.mock-flasher`: a flasher whose targets are temporary files.
//!
//! A target is only a name for a file without one, so no name can lead anywhere on the host.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rigd_driver::{Call, Driver, DriverError, Interface, Mode, OpenCx, OpenError, ResourceHandle};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    lane::Lane,
    mock_mux::{forget, scratch, send_whole},
    transfer,
};

/// The target when the client names none, as upstream.
const DEFAULT: &str = "default";
/// Targets of one lease, each of which holds a descriptor. Boards have a dozen partitions.
const TARGETS: usize = 64;
/// Longest name: what a file name may have, since on real flashers it often is one.
const NAME: usize = 255;

/// A flasher that keeps what it is given until the lease ends, for trying things out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MockFlasherConfig {}

/// A flasher that flashes nothing.
#[derive(Debug)]
pub struct MockFlasher {
    targets: Mutex<BTreeMap<String, Arc<File>>>,
    lane: Lane,
}

impl Driver for MockFlasher {
    const TYPE: &'static str = "storage.mock-flasher";
    const CLIENT: &'static str = "jumpstarter_driver_opendal.client.FlasherClient";
    const CATEGORY: &'static str = "storage";
    type Config = MockFlasherConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("flash", Mode::Transfer, Self::flash)
            .call("dump", Mode::Transfer, Self::dump)
    }

    async fn open(_: &MockFlasherConfig, _: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self {
            targets: Mutex::default(),
            lane: Lane::new(),
        })
    }

    async fn lease_end(&self) -> Result<(), DriverError> {
        self.lane.idle().await?;
        let targets = std::mem::take(&mut *self.locked());
        if targets.is_empty() {
            return Ok(());
        }
        forget(targets.into_values().collect()).await
    }
}

impl MockFlasher {
    async fn flash(
        self: Arc<Self>,
        call: Call,
        handle: ResourceHandle,
        target: Option<String>,
    ) -> Result<(), DriverError> {
        let target = checked(target)?;
        let mut upload = call.upload(handle).await?;
        let flasher = self.clone();
        let medium = self.lane.run(&call, move |call| {
            let medium = scratch(&format!("target {target:?}"))?;
            let mut targets = flasher.locked();
            // A lease that ended in between has forgotten its targets already.
            call.check()?;
            if targets.len() >= TARGETS && !targets.contains_key(&target) {
                return Err(DriverError::Exhausted(format!(
                    "cannot flash target {target:?}: {TARGETS} targets are flashed in this lease"
                )));
            }
            targets.insert(target, medium.file.clone());
            Ok(medium)
        });
        let medium = medium.await?;
        transfer::store(&call, &self.lane, &mut upload, &medium, None).await?;
        Ok(())
    }

    async fn dump(
        self: Arc<Self>,
        call: Call,
        handle: ResourceHandle,
        target: Option<String>,
    ) -> Result<(), DriverError> {
        let target = checked(target)?;
        let file = self.locked().get(&target).cloned().ok_or_else(|| {
            DriverError::Unknown(format!("target {target:?} was not flashed in this lease"))
        })?;
        let download = call.download(handle).await?;
        send_whole(&call, &self.lane, file, download).await
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Arc<File>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names that a real flasher would take for a file name, too.
fn checked(target: Option<String>) -> Result<String, DriverError> {
    let target = target.unwrap_or_else(|| DEFAULT.into());
    let wrong = target.is_empty()
        || target.len() > NAME
        || target == "."
        || target == ".."
        || target.contains(['/', '\0']);
    if wrong {
        return Err(DriverError::InvalidArgument(format!(
            "target {target:?} is no name: a target has 1 to {NAME} bytes, no \"/\", \
             and is not \".\" or \"..\""
        )));
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_are_refused() {
        for bad in ["", ".", "..", "a/b", "/", "../x", "a\0"] {
            let error = checked(Some(bad.into())).unwrap_err();
            assert!(matches!(error, DriverError::InvalidArgument(_)), "{bad:?}");
        }
        assert!(checked(Some("x".repeat(256))).is_err());
        assert_eq!(checked(Some("rootfs_a".into())).unwrap(), "rootfs_a");
        assert_eq!(checked(None).unwrap(), "default");
    }
}
