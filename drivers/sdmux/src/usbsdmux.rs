//! `sdmux.usbsdmux`: the USB-SD-Mux of Linux Automation, whose mux hangs on an I2C bus of its reader.
//!
//! ```text
//!   /dev/sg* ──SCSI──> USB2642 (0424:4041) ──I2C──> expander ──pins──> mux, supply of the card
//! ```
//!
//! Facts. The bridge: Microchip DS50002283A, "USB82642/2642 I2C Over USB User's Guide", and AN1630A: a
//! command of 16 bytes, CFh, 23h to write or 22h to write and then read; the address shifted by one with
//! the direction in its lowest bit; lengths with the high byte first; data in a whole sector. Expanders:
//! PCA9536 at 41h (NXP), on the Fast model TCA6408A at 20h (TI, SCPS192): registers 1 output and 3
//! configuration, whose bits are 1 for inputs. Which pin does what is read from the maker's tool
//! `usbsdmux`. The Fast model is at the board until its pins are outputs. Unverified on hardware.

use std::{io, path::Path, time::Duration};

use rigd_device::{Class, UsbId, UsbIdentity, wake_on};
use rigd_driver::{Call, ConfigError, DriverError, OpenCx, OpenError};
use tokio::time::sleep;

use crate::{
    CardSettings, Mux, Side,
    config::{Ids, check_usb, mux_config, on_usb},
    mux::FindDisk,
    sdwire::disk_behind,
    sg::{COMMAND, DATA, Kernel, Scsi},
    worker::Worker,
};

/// The reader's ids.
const IDS: Ids = (UsbId(0x0424), UsbId(0x4041));
/// Some commands of at most 3 s each, one behind the other.
const LIMIT: Duration = Duration::from_secs(15);
/// How long the supply of the card takes to go down, by the maker's tool.
const DISCHARGE: Duration = Duration::from_secs(1);

const OUTPUT: u8 = 1;
const CONFIGURATION: u8 = 3;

mux_config! {
    /// A card behind a USB-SD-Mux of Linux Automation, both models.
    ///
    /// `off` connects the card to neither side. A switch takes a second, in which the card is without power.
    ///
    /// It is told through `/dev/sg*` (the kernel's module `sg`) with commands of the reader's maker. For those the kernel wants
    /// CAP_SYS_RAWIO, beside the permission on the node: for the service a drop-in with `AmbientCapabilities=CAP_SYS_RAWIO`
    /// and `CapabilityBoundingSet=CAP_SYS_RAWIO`.
    ///
    /// **Unverified on hardware**: bytes are from the chips' data sheets, pins from the maker's tool.
    pub struct UsbSdMuxConfig {
        /// Serial number of the mux. Without it the only one of the host.
        pub serial: Option<String>,
        /// The socket that it is in, by the ports of all hubs on the way: `1-1.4`.
        pub port: Option<String>,
    }
}

/// The expander of a model: its address, and its pins as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expander {
    address: u8,
    /// High: the card's data lines are cut.
    data: u8,
    /// High: the card has no power.
    power: u8,
    /// High: the board, low: the host.
    select: u8,
    /// High: the reader sees no card.
    detect: u8,
    /// Where the card is while the pins are inputs.
    by_itself: Option<Side>,
}

const CLASSIC: Expander = Expander {
    address: 0x41,
    data: 0x01,
    power: 0x02,
    select: 0x04,
    detect: 0x08,
    by_itself: None,
};

const FAST: Expander = Expander {
    address: 0x20,
    data: 0x04,
    power: 0x02,
    select: 0x01,
    detect: 0x08,
    by_itself: Some(Side::Dut),
};

impl Expander {
    fn pins(self) -> u8 {
        self.data | self.power | self.select | self.detect
    }

    /// Cut off, with the mux at a side already, so that nothing glitches.
    fn cut(self, side: Side) -> u8 {
        let select = if side == Side::Dut { self.select } else { 0 };
        self.data | self.power | self.detect | select
    }

    fn connected(self, side: Side) -> u8 {
        match side {
            Side::Host => 0,
            Side::Dut => self.select | self.detect,
            Side::Off => self.cut(Side::Off),
        }
    }

    fn write<S: Scsi>(self, scsi: &S, register: u8, value: u8) -> io::Result<()> {
        let mut command = [0; COMMAND];
        command[..6].copy_from_slice(&[0xcf, 0x23, self.address << 1, 0, 0, 2]);
        let mut data = [0; DATA];
        data[..2].copy_from_slice(&[register, value]);
        scsi.send(&command, &data)
    }

    fn read<S: Scsi>(self, scsi: &S, register: u8) -> io::Result<u8> {
        let (write, read) = (self.address << 1, (self.address << 1) | 1);
        let mut command = [0; COMMAND];
        command[..8].copy_from_slice(&[0xcf, 0x22, write, read, 0, 1, 1, register]);
        Ok(scsi.receive(&command)?[0])
    }

    /// Sets the pins of the mux; others are a user's.
    fn set<S: Scsi>(self, scsi: &S, levels: u8) -> io::Result<()> {
        let others = self.read(scsi, OUTPUT)? & !self.pins();
        self.write(scsi, OUTPUT, others | levels)
    }

    /// Drives the pins, with the levels that were set before.
    fn drive<S: Scsi>(self, scsi: &S) -> io::Result<()> {
        let inputs = self.read(scsi, CONFIGURATION)?;
        match inputs & self.pins() {
            0 => Ok(()),
            _ => self.write(scsi, CONFIGURATION, inputs & !self.pins()),
        }
    }

    fn side<S: Scsi>(self, scsi: &S) -> io::Result<Option<Side>> {
        if self.read(scsi, CONFIGURATION)? & self.pins() != 0 {
            return Ok(self.by_itself);
        }
        let levels = self.read(scsi, OUTPUT)?;
        Ok(Some(match (levels & self.power, levels & self.select) {
            (0, 0) => Side::Host,
            (0, _) => Side::Dut,
            _ => Side::Off,
        }))
    }

    /// Which of the models answers.
    fn of<S: Scsi>(scsi: &S) -> io::Result<Self> {
        CLASSIC
            .read(scsi, CONFIGURATION)
            .map(|_| CLASSIC)
            .or_else(|error| match FAST.read(scsi, CONFIGURATION) {
                Ok(_) => Ok(FAST),
                Err(_) => Err(error),
            })
    }
}

/// A USB-SD-Mux through `S`.
pub struct UsbSdMux<S = Kernel> {
    worker: Worker<S>,
    expander: Expander,
    usb: Option<UsbIdentity>,
    name: String,
}

impl<S: Scsi> Mux for UsbSdMux<S> {
    const TYPE: &'static str = "sdmux.usbsdmux";
    const OFF: Side = Side::Off;
    type Config = UsbSdMuxConfig;

    fn card(config: &UsbSdMuxConfig) -> CardSettings {
        config.card()
    }

    fn check(config: &UsbSdMuxConfig) -> Result<(), ConfigError> {
        check_usb(&on_usb(IDS, &config.serial, &config.port))
    }

    async fn open(config: &UsbSdMuxConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        wake_on(cx, &[Class::ScsiGeneric]);
        let wanted = on_usb(IDS, &config.serial, &config.port);
        // A device that hangs here holds the instance's one thread, and no new one each time.
        let open = move || {
            let found = S::find(&wanted)?;
            let node = found.node()?;
            let scsi = S::open(node).map_err(|error| cannot("open", node, &error))?;
            let expander = Expander::of(&scsi).map_err(|error| cannot("ask", node, &error))?;
            match found.is_current() {
                true => Ok((found, scsi, expander)),
                false => Err(OpenError::Absent(format!("{found} was unplugged"))),
            }
        };
        let (found, scsi, expander) = cx.blocking(open).await?;
        let (name, health) = (found.to_string(), cx.health().clone());
        let worker = Worker::start("rigd:usbsdmux", name.clone(), scsi, LIMIT, health)?;
        found.report_loss(cx);
        Ok(Self {
            worker,
            expander,
            name,
            usb: found.usb,
        })
    }

    fn disk(&self) -> FindDisk {
        match self.usb.clone() {
            Some(usb) => disk_behind(usb),
            None => {
                let text = format!("{} is not behind USB", self.name);
                std::sync::Arc::new(move || Err(DriverError::Unavailable(text.clone())))
            }
        }
    }

    async fn set(&self, _: &Call, side: Side) -> Result<(), DriverError> {
        let expander = self.expander;
        let cut = move |scsi: &S| {
            // Levels first: pins that become outputs have the right ones.
            expander.set(scsi, expander.cut(Side::Off))?;
            expander.drive(scsi)
        };
        self.ask("cut the card off", cut).await?;
        sleep(DISCHARGE).await;
        let connect = move |scsi: &S| {
            expander.set(scsi, expander.cut(side))?;
            expander.set(scsi, expander.connected(side))
        };
        self.ask("connect the card", connect).await
    }

    async fn get(&self) -> Result<Option<Side>, DriverError> {
        let expander = self.expander;
        let side = move |scsi: &S| expander.side(scsi);
        self.ask("ask where the card is", side).await
    }
}

impl<S: Scsi> UsbSdMux<S> {
    async fn ask<T: Send + 'static>(
        &self,
        what: &str,
        job: impl FnOnce(&S) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DriverError> {
        let about = format!("cannot {what}: {}", self.name);
        let job = move |scsi: &S| job(scsi).map_err(|error| DriverError::io(about, &error));
        self.worker.ask(what, job).await
    }
}

fn cannot(what: &str, node: &Path, error: &io::Error) -> OpenError {
    use rustix::io::Errno;
    let node = node.display();
    let text = format!("cannot {what} {node}: {error}");
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS) => OpenError::Faulty(format!(
            "{text}; rigd's udev rules (systemd/60-rigd.rules) give it to the group rigd, which the user of the daemon must be in"
        )),
        Some(Errno::PERM) => OpenError::Faulty(format!(
            "{text}; commands of the reader's maker need CAP_SYS_RAWIO, see the driver's page"
        )),
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => OpenError::Absent(text),
        _ => OpenError::Faulty(text),
    }
}

#[cfg(test)]
mod tests;
