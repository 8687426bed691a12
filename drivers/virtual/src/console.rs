//! `virtual.board.console`: the serial adapter at the board's UART.

use std::sync::Arc;

use bytes::Bytes;
use rigd_driver::{
    ByteRing, ByteSink, ByteStream, Call, ConsoleTap, Driver, DriverError, Interface, Mode, OpenCx,
    OpenError, async_trait,
};

use crate::{Board, PartConfig, rig::Rig};

/// Why an unplugged console is not there.
const LOST: &str = "the console is unplugged (injected fault console_lost)";

/// The console of a [`Board`].
///
/// Any number of clients share it: each reads what is printed from its start on, what any of
/// them types goes to the board. A client that reads too slowly finds a line
/// `[console: N bytes lost]` in place of what it missed; the others do not notice. `close` ends all
/// streams; `set_dtr` and `set_rts` are accepted, the board has these lines not wired.
#[derive(Debug)]
pub struct BoardConsole {
    rig: Arc<Rig>,
}

impl BoardConsole {
    async fn connect(self: Arc<Self>, _call: Call) -> Result<ByteStream, DriverError> {
        let reader = self.rig.console.reader()?;
        let typist = Typist {
            rig: self.rig.clone(),
            id: reader.id(),
        };
        let output = futures::stream::unfold(reader, async |mut reader| {
            let item = reader.next().await?;
            Some((item, reader))
        });
        Ok(ByteStream::new(output, typist))
    }

    async fn close_streams(self: Arc<Self>, _call: Call) -> Result<(), DriverError> {
        self.rig.console.end_all(None);
        Ok(())
    }

    async fn set_line(self: Arc<Self>, _call: Call, _level: bool) -> Result<(), DriverError> {
        Ok(())
    }
}

/// The direction from a client to the board.
struct Typist {
    rig: Arc<Rig>,
    id: u64,
}

#[async_trait]
impl ByteSink for Typist {
    async fn send(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        self.rig.console.check(self.id)?;
        self.rig.type_in(&bytes).await;
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), DriverError> {
        self.rig.console.half_close(self.id);
        Ok(())
    }
}

/// The console as a person on the lab host has it.
struct Tap(Arc<Rig>);

#[async_trait]
impl ConsoleTap for Tap {
    fn record(&self) -> &ByteRing {
        self.0.console.record()
    }

    async fn send(&self, frame: Bytes) -> Result<(), DriverError> {
        self.0.type_in(&frame).await;
        Ok(())
    }
}

impl Driver for BoardConsole {
    const TYPE: &'static str = "virtual.board.console";
    const CLIENT: &'static str = "jumpstarter_driver_pyserial.client.PySerialClient";
    const CATEGORY: &'static str = "serial";

    type Config = PartConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .stream("connect", Self::connect)
            .call("close", Mode::Preempting, Self::close_streams)
            .call("set_dtr", Mode::Exclusive, Self::set_line)
            .call("set_rts", Mode::Exclusive, Self::set_line)
    }

    async fn open(_: &PartConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let rig = cx.parent::<Board>()?.rig();
        let mut faults = rig.faults.watch();
        if faults.borrow_and_update().console_lost {
            return Err(OpenError::Absent(LOST.into()));
        }
        let health = cx.health().clone();
        let console = rig.console.clone();
        cx.tasks().spawn(async move {
            // The sender is gone when the board is; the console goes with it.
            if faults.wait_for(|faults| faults.console_lost).await.is_ok() {
                let lost = DriverError::Unavailable(LOST.into());
                console.end_all(Some(&lost));
                health.lost(LOST);
            }
        });
        Ok(Self { rig })
    }

    async fn lease_end(&self) -> Result<(), DriverError> {
        self.rig.console.end_all(None);
        Ok(())
    }

    fn console(&self) -> Option<Arc<dyn ConsoleTap>> {
        Some(Arc::new(Tap(self.rig.clone())))
    }

    async fn close(&self) {
        self.rig.console.end_all(None);
    }
}
