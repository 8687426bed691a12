//! Reports of a HID, over the claimed interface: what hidraw does, with a time limit for each.
//!
//! Requests are those of the HID class (Device Class Definition for HID 1.11, 7.2). Devices here
//! number no reports, so a report is its bytes alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rigd_driver::{DriverError, HealthHandle, OpenCx, OpenError};
use rigd_usb::{Claim, Direction, Endpoint, Setup, UsbDevice, UsbError, reported};

/// `bInterfaceClass` of a HID.
const HID: u8 = 3;
const SET_REPORT: u8 = 0x09;
const GET_REPORT: u8 = 0x01;
/// High byte of `wValue`: the type of the report.
const OUTPUT: u16 = 0x0200;
const FEATURE: u16 = 0x0300;
/// How long an old answer may take that nobody fetched: the device has it ready.
const OLD_ANSWER: Duration = Duration::from_millis(20);
/// Old answers that are thrown away at most.
const OLD_ANSWERS: usize = 8;

/// A HID in use.
#[derive(Debug)]
pub(crate) struct Hid {
    claim: Claim,
    input: Option<Endpoint>,
    output: Option<Endpoint>,
    health: HealthHandle,
    /// Whether an exchange was left in the middle, so that its answer may come next.
    unread: AtomicBool,
}

impl Hid {
    /// Takes the first HID interface of a device.
    pub(crate) async fn take(device: &Arc<UsbDevice>, cx: &OpenCx) -> Result<Self, OpenError> {
        let interface = device.interfaces().iter().find(|one| one.class[0] == HID);
        let Some(interface) = interface else {
            let text = format!("{} is no HID; is it another product?", device.place());
            return Err(OpenError::Faulty(text));
        };
        Ok(Self {
            input: interface.interrupt(Direction::In),
            output: interface.interrupt(Direction::Out),
            claim: device.claim(interface.number).await?,
            health: cx.health().clone(),
            // Of who used it before.
            unread: AtomicBool::new(true),
        })
    }

    /// The device.
    pub(crate) fn device(&self) -> &Arc<UsbDevice> {
        self.claim.device()
    }

    /// Sends an output report: through the endpoint for it, else as a request.
    pub(crate) async fn send(&self, report: &[u8], limit: Duration) -> Result<(), DriverError> {
        let sent = match self.output {
            Some(output) => self.claim.write(output.address, report, limit).await,
            None => {
                let setup = self.request(0x21, SET_REPORT, OUTPUT);
                self.device().control_out(setup, report, limit).await
            }
        };
        self.heard(sent)
    }

    /// Receives an input report of at most `length` bytes.
    pub(crate) async fn receive(
        &self,
        length: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, DriverError> {
        let Some(input) = self.input else {
            let text = format!("{} has no endpoint for answers", self.device().place());
            return Err(DriverError::Device(text));
        };
        let received = self.claim.read(input.address, length, limit).await;
        self.heard(received)
    }

    /// Sends a report, then does what fetches its answer. Answers to earlier ones are thrown away
    /// first.
    pub(crate) async fn exchange<T>(
        &self,
        report: &[u8],
        limit: Duration,
        fetch: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        if self.unread.swap(true, Ordering::Relaxed) {
            self.throw_away().await?;
        }
        self.send(report, limit).await?;
        let answer = fetch.await?;
        // Not reached when the future is dropped in between.
        self.unread.store(false, Ordering::Relaxed);
        Ok(answer)
    }

    /// Sets a feature report.
    pub(crate) async fn set_feature(
        &self,
        report: &[u8],
        limit: Duration,
    ) -> Result<(), DriverError> {
        let setup = self.request(0x21, SET_REPORT, FEATURE);
        let set = self.device().control_out(setup, report, limit).await;
        self.heard(set)
    }

    /// Gets feature report `id`.
    pub(crate) async fn feature(
        &self,
        id: u8,
        length: u16,
        limit: Duration,
    ) -> Result<Vec<u8>, DriverError> {
        let setup = self.request(0xa1, GET_REPORT, FEATURE | u16::from(id));
        let got = self.device().control_in(setup, length, limit).await;
        self.heard(got)
    }

    async fn throw_away(&self) -> Result<(), DriverError> {
        let Some(input) = self.input else {
            return Ok(());
        };
        let packet = usize::from(input.max_packet);
        for _ in 0..OLD_ANSWERS {
            match self.claim.read(input.address, packet, OLD_ANSWER).await {
                Ok(_) => {}
                Err(UsbError::Timeout(_)) => break,
                Err(error) => return self.heard(Err(error)),
            }
        }
        Ok(())
    }

    fn request(&self, request_type: u8, request: u8, value: u16) -> Setup {
        Setup {
            request_type,
            request,
            value,
            index: self.claim.interface().into(),
        }
    }

    fn heard<T>(&self, outcome: Result<T, UsbError>) -> Result<T, DriverError> {
        outcome.map_err(|error| reported(error, &self.health))
    }
}
