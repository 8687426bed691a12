//! `storage.mock-mux` and `storage.mock-mux-flasher`: a mux whose card is a temporary file.
//!
//! The two differ in their client alone. The file has no name; it goes with the lease.

use std::{
    fs::File,
    io::{Seek, SeekFrom},
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rigd_driver::{Call, Driver, DriverError, Interface, Mode, OpenCx, OpenError, ResourceHandle};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    lane::{Lane, on_own_thread},
    transfer::{self, Medium, cannot},
};

/// How long giving back the space of a large file may take.
const FORGET_LIMIT: Duration = Duration::from_secs(8);

/// The states, named as the methods that lead there.
const HOST: &str = "host";
const DUT: &str = "dut";
const OFF: &str = "off";

/// A card of the lease alone: what is written can be read back until the lease ends.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MockMuxConfig {}

/// What tells the two mock muxes apart.
pub trait MockLabel: Send + Sync + 'static {
    /// Short name of the type.
    const TYPE: &'static str;
    /// Client class path.
    const CLIENT: &'static str;
}

/// Label of [`MockMux`].
#[derive(Debug)]
pub struct Mux;

impl MockLabel for Mux {
    const TYPE: &'static str = "storage.mock-mux";
    const CLIENT: &'static str = "jumpstarter_driver_opendal.client.StorageMuxClient";
}

/// Label of [`MockMuxFlasher`].
#[derive(Debug)]
pub struct MuxFlasher;

impl MockLabel for MuxFlasher {
    const TYPE: &'static str = "storage.mock-mux-flasher";
    const CLIENT: &'static str = "jumpstarter_driver_opendal.client.StorageMuxFlasherClient";
}

/// A mux that switches nothing.
pub type MockMux = Mock<Mux>;
/// The same with a client that can flash.
pub type MockMuxFlasher = Mock<MuxFlasher>;

/// A mock mux under one of its labels.
#[derive(Debug)]
pub struct Mock<L> {
    // None: nothing was written in this lease.
    card: Mutex<Option<Arc<File>>>,
    // Where it was switched to; nowhere yet, as a mux that cannot be asked.
    told: Mutex<Option<&'static str>>,
    lane: Lane,
    label: PhantomData<fn() -> L>,
}

impl<L: MockLabel> Driver for Mock<L> {
    const TYPE: &'static str = L::TYPE;
    const CLIENT: &'static str = L::CLIENT;
    const CATEGORY: &'static str = "storage";
    type Config = MockMuxConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("host", Mode::Exclusive, Self::host)
            .call("dut", Mode::Exclusive, Self::dut)
            .call("off", Mode::Exclusive, Self::off)
            .call("write", Mode::Transfer, Self::write)
            .call("read", Mode::Transfer, Self::read)
            .switches("host", HOST)
            .switches("dut", DUT)
            .switches("off", OFF)
            .passes("write", &[HOST])
            .passes("read", &[HOST])
    }

    fn state(&self) -> Option<&'static str> {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(_: &MockMuxConfig, _: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self {
            card: Mutex::new(None),
            told: Mutex::new(None),
            lane: Lane::new(),
            label: PhantomData,
        })
    }

    async fn lease_end(&self) -> Result<(), DriverError> {
        self.lane.idle().await?;
        let card = self.locked().take();
        match card {
            Some(card) => forget(vec![card]).await,
            None => Ok(()),
        }
    }
}

impl<L: MockLabel> Mock<L> {
    async fn host(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.switch(HOST);
        Ok(())
    }

    async fn dut(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.switch(DUT);
        Ok(())
    }

    async fn off(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.switch(OFF);
        Ok(())
    }

    fn switch(&self, to: &'static str) {
        tracing::debug!(to, "Switched the mock mux.");
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
    }

    async fn write(self: Arc<Self>, call: Call, handle: ResourceHandle) -> Result<(), DriverError> {
        let mut upload = call.upload(handle).await?;
        self.switch(HOST);
        let mux = self.clone();
        let medium = self.lane.run(&call, move |call| {
            let card = scratch("the card")?;
            let mut slot = mux.locked();
            // A lease that ended while the file was made has forgotten its card already.
            call.check()?;
            *slot = Some(card.file.clone());
            Ok(card)
        });
        let medium = medium.await?;
        transfer::store(&call, &self.lane, &mut upload, &medium, None).await?;
        Ok(())
    }

    async fn read(self: Arc<Self>, call: Call, handle: ResourceHandle) -> Result<(), DriverError> {
        let download = call.download(handle).await?;
        self.switch(HOST);
        let card = self.locked().clone();
        match card {
            Some(file) => send_whole(&call, &self.lane, file, download).await,
            None => download.finish().await,
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Arc<File>>> {
        self.card.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new temporary file without a name. Blocks.
pub(crate) fn scratch(what: &str) -> Result<Medium, DriverError> {
    let name: Arc<str> = format!("the temporary file of {what}").into();
    let file = tempfile::tempfile().map_err(|e| cannot("create", &name, &e, 0))?;
    Ok(Medium {
        file: Arc::new(file),
        name,
    })
}

/// Sends a temporary file from its beginning.
pub(crate) async fn send_whole(
    call: &Call,
    lane: &Lane,
    file: Arc<File>,
    download: rigd_driver::Download,
) -> Result<(), DriverError> {
    let medium = Medium {
        file,
        name: "the temporary file".into(),
    };
    let name = medium.name.clone();
    (&*medium.file)
        .seek(SeekFrom::Start(0))
        .map_err(|e| cannot("read", &name, &e, 0))?;
    transfer::send(call, lane, &medium, download).await?;
    Ok(())
}

/// Closes temporary files, which gives back their space and may take the kernel a moment.
pub(crate) async fn forget(files: Vec<Arc<File>>) -> Result<(), DriverError> {
    let job = move || {
        drop(files);
        Ok(())
    };
    on_own_thread("remove temporary files", FORGET_LIMIT, job).await
}
