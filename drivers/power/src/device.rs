//! Devices by their address, and whose turn it is to talk to one.
//!
//! Firmware of PDUs copes with one request at a time, and the outlets of one device may belong to
//! several exporters of this process. So each request takes a turn:
//!
//! ```text
//!   free ──turn──> held ──dropped──> the next urgent one, else the next ordinary one, else free
//! ```
//!
//! A turn lasts for one request and its answer, never for a pause. An `off` is urgent: it waits for
//! the request under way and for nothing else.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use rigd_driver::DriverError;
use tokio::{sync::oneshot, time::timeout};

/// Requests that may wait for one device; more come from a loop, not from people.
const MAX_WAITING: usize = 64;
/// How long one waits: as long as a call waits for the one before it.
const MAX_WAIT: Duration = Duration::from_secs(30);

static DEVICES: Mutex<BTreeMap<String, Weak<Device>>> = Mutex::new(BTreeMap::new());

/// Who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Ordinary,
    Urgent,
}

#[derive(Debug, Default)]
struct Line {
    held: bool,
    urgent: VecDeque<oneshot::Sender<Turn>>,
    ordinary: VecDeque<oneshot::Sender<Turn>>,
}

/// A device that several instances may share.
#[derive(Debug)]
pub(crate) struct Device {
    address: String,
    line: Mutex<Line>,
}

/// The right to send one request; the next one gets it when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Device>);

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut line = self.0.line();
            let next = loop {
                let next = line.urgent.pop_front();
                match next.or_else(|| line.ordinary.pop_front()) {
                    Some(gone) if gone.is_closed() => {}
                    other => break other,
                }
            };
            line.held = next.is_some();
            next
        };
        if let Some(next) = next {
            // One that left in this moment drops the turn, which comes here again.
            drop(next.send(Turn(self.0.clone())));
        }
    }
}

impl Device {
    /// The device at this address; the same one for all who ask while one of them is there.
    pub(crate) fn at(address: &str) -> Arc<Self> {
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        devices.retain(|_, device| device.strong_count() > 0);
        if let Some(found) = devices.get(address).and_then(Weak::upgrade) {
            return found;
        }
        let device = Arc::new(Self {
            address: address.to_owned(),
            line: Mutex::default(),
        });
        devices.insert(address.to_owned(), Arc::downgrade(&device));
        device
    }

    /// What it is known by.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits for a turn. Cancel-safe: who leaves is passed over.
    pub(crate) async fn turn(self: &Arc<Self>, urgency: Urgency) -> Result<Turn, DriverError> {
        let coming = {
            let mut line = self.line();
            if !line.held {
                line.held = true;
                return Ok(Turn(self.clone()));
            }
            let queue = match urgency {
                Urgency::Urgent => &mut line.urgent,
                Urgency::Ordinary => &mut line.ordinary,
            };
            queue.retain(|waiting| !waiting.is_closed());
            if queue.len() >= MAX_WAITING {
                return Err(DriverError::Exhausted(format!(
                    "{MAX_WAITING} requests wait for {} already; it answers too slowly, or something asks in a loop",
                    self.address
                )));
            }
            let (sender, coming) = oneshot::channel();
            queue.push_back(sender);
            coming
        };
        match timeout(MAX_WAIT, coming).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(DriverError::Timeout(format!(
                "{} was busy with other requests for {} s",
                self.address,
                MAX_WAIT.as_secs()
            ))),
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, poll};
    use std::pin::pin;

    #[tokio::test]
    async fn an_address_is_one_device_while_somebody_uses_it() {
        let first = Device::at("pdu-1");
        assert!(Arc::ptr_eq(&first, &Device::at("pdu-1")));
        assert!(!Arc::ptr_eq(&first, &Device::at("pdu-2")));
    }

    #[tokio::test]
    async fn an_urgent_one_goes_before_all_that_wait() {
        let device = Device::at("urgent");
        let held = device.turn(Urgency::Ordinary).await.unwrap();
        let mut ordinary = pin!(device.turn(Urgency::Ordinary));
        let mut urgent = pin!(device.turn(Urgency::Urgent));
        assert!(poll!(&mut ordinary).is_pending());
        assert!(poll!(&mut urgent).is_pending());
        drop(held);
        assert!(poll!(&mut ordinary).is_pending());
        let turn = urgent.await.unwrap();
        assert!(poll!(&mut ordinary).is_pending());
        drop(turn);
        ordinary.await.unwrap();
    }

    #[tokio::test]
    async fn who_left_is_passed_over() {
        let device = Device::at("left");
        let held = device.turn(Urgency::Ordinary).await.unwrap();
        let mut left = Box::pin(device.turn(Urgency::Ordinary));
        let mut got = Box::pin(device.turn(Urgency::Ordinary));
        let mut stays = pin!(device.turn(Urgency::Ordinary));
        assert!(poll!(&mut left).is_pending());
        assert!(poll!(&mut got).is_pending());
        assert!(poll!(&mut stays).is_pending());
        drop(left);
        drop(held);
        // It was handed the turn and leaves without having looked.
        drop(got);
        stays.await.unwrap();
        assert!(
            device
                .turn(Urgency::Ordinary)
                .now_or_never()
                .unwrap()
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_and_a_queue_have_bounds() {
        let device = Device::at("bounds");
        let _held = device.turn(Urgency::Ordinary).await.unwrap();
        let mut waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| Box::pin(device.turn(Urgency::Ordinary)))
            .collect();
        for one in &mut waiting {
            assert!(poll!(one).is_pending());
        }
        let refused = device.turn(Urgency::Ordinary).await.unwrap_err();
        assert!(matches!(refused, DriverError::Exhausted(_)), "{refused}");
        let late = waiting.swap_remove(0).await.unwrap_err();
        assert_eq!(
            late.to_string(),
            "bounds was busy with other requests for 30 s"
        );
    }
}
