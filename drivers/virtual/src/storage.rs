//! `virtual.board.storage`: the mux between lab host, card and board.

use std::sync::Arc;

use bytes::BytesMut;
use rigd_driver::{Call, Driver, DriverError, Interface, Mode, OpenCx, OpenError, ResourceHandle};

use crate::{Board, PartConfig, machine::Mux, rig::Rig};

/// Piece in which the card is read for a client, the frame size of peers.
const READ_PIECE: usize = 64 * 1024;
/// For the log, as the tools of cards count.
const MB: u64 = 1_000_000;

/// The card of a [`Board`] and who has it.
///
/// `write` and `read` take the card to the lab host and leave it there. `write` starts at the
/// beginning of the card, `read` gives the whole card. A card whose write did not finish can be
/// given to the board, which then says so and does not boot.
#[derive(Debug)]
pub struct BoardStorage {
    rig: Arc<Rig>,
}

impl BoardStorage {
    async fn host(self: Arc<Self>, _call: Call) -> Result<(), DriverError> {
        self.rig.switch(Mux::Host);
        Ok(())
    }

    async fn dut(self: Arc<Self>, _call: Call) -> Result<(), DriverError> {
        self.rig.switch(Mux::Dut);
        Ok(())
    }

    async fn off(self: Arc<Self>, _call: Call) -> Result<(), DriverError> {
        self.rig.switch(Mux::Off);
        Ok(())
    }

    async fn write(self: Arc<Self>, call: Call, handle: ResourceHandle) -> Result<(), DriverError> {
        // Before the card is touched: a handle that is no good costs nothing.
        let mut upload = call.upload(handle).await?;
        let rig = self.rig.clone();
        call.blocking(move |call| {
            rig.switch(Mux::Host);
            let wanted = || call.check();
            let mut write = rig.card.begin_write()?;
            while let Some(bytes) = upload.blocking_next()? {
                call.check()?;
                write.write(&bytes, &wanted)?;
            }
            call.check()?;
            let length = write.finish()?;
            tracing::info!("written {} MB to the virtual card", length.0 / MB);
            Ok(())
        })
        .await
    }

    async fn read(self: Arc<Self>, call: Call, handle: ResourceHandle) -> Result<(), DriverError> {
        let mut download = call.download(handle).await?;
        let rig = self.rig.clone();
        let job = move |call: &Call| {
            rig.switch(Mux::Host);
            let wanted = || call.check();
            let mut offset = 0;
            while offset < rig.card.size().0 {
                call.check()?;
                let mut buffer = BytesMut::zeroed(READ_PIECE);
                let len = rig.card.read(offset, &mut buffer, &wanted)?;
                buffer.truncate(len);
                download.blocking_write(buffer.freeze())?;
                offset += len as u64;
            }
            tracing::info!("read {} MB from the virtual card", offset / MB);
            Ok(download)
        };
        call.blocking(job).await?.finish().await
    }
}

impl Driver for BoardStorage {
    const TYPE: &'static str = "virtual.board.storage";
    const CLIENT: &'static str = "jumpstarter_driver_opendal.client.StorageMuxFlasherClient";
    const CATEGORY: &'static str = "storage";

    type Config = PartConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("host", Mode::Exclusive, Self::host)
            .call("dut", Mode::Exclusive, Self::dut)
            .call("off", Mode::Exclusive, Self::off)
            .call("write", Mode::Transfer, Self::write)
            .call("read", Mode::Transfer, Self::read)
            .switches("host", Mux::Host.word())
            .switches("dut", Mux::Dut.word())
            .switches("off", Mux::Off.word())
            .passes("write", const { &[Mux::Host.word()] })
            .passes("read", const { &[Mux::Host.word()] })
    }

    fn state(&self) -> Option<&'static str> {
        Some(self.rig.mux().word())
    }

    async fn open(_: &PartConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let rig = cx.parent::<Board>()?.rig();
        Ok(Self { rig })
    }
}
