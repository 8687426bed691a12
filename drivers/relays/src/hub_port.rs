//! The power of a port of a USB hub, by the requests that every hub knows.
//!
//! ```text
//!   off: the hub driver is told to leave the port alone ──> CLEAR_FEATURE(PORT_POWER) ──> GET_STATUS
//!   on:  the port is given back ──> SET_FEATURE(PORT_POWER) ──> GET_STATUS
//! ```
//!
//! Without the first step Linux switches a port on again as soon as it notices that what was plugged
//! in is gone (`hub_port_connect` in drivers/usb/core/hub.c). A USB 3 socket is a port of two hubs,
//! and has power as long as one of them gives it: both are switched.

mod hub;
mod topology;

use std::{marker::PhantomData, time::Duration};

use rigd_device::{Class, Found, UsbId, UsbMatch, wake_on};
use rigd_driver::{ConfigError, DriverError, HealthHandle, OpenCx, OpenError};
use rigd_drivers_power::{Outlet, Switch, Switching};
use rigd_usb::{Bus, HostBus, reported};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::hid_relay::check_usb;
use hub::{Hub, PowerSwitching};
use topology::Socket;

/// The most ports that a hub can have: `MaxChild` of USB 2.0, 11.23.2.1 is 255, Linux allows 31.
const MOST_PORTS: u8 = 31;

/// The power of one port of a USB hub that can switch its ports one by one. Few hubs can; `rigd status` says of
/// yours whether it can.
///
/// Wiring: the board, or a stick that it boots from, is plugged into that port and fed by it. Many hubs say that they switch and
/// have no transistor for it: try with a load. A USB 3 socket is two ports, one of the USB 2 hub and one of the USB 3 hub in the
/// same case; both are switched.
///
/// The hub's device file in `/dev/bus/usb` belongs to root: a rule of your own lets the daemon's group write to it. It may then
/// switch all ports of that hub, so hubs are not in the rules that come with rigd.
///
/// The state is what the hub reports. Needs no other program. Unverified on hardware.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HubPortConfig {
    /// The port by its place, as the kernel names what is plugged in there: `1-1.4` is port 4 of the hub in port 1 of bus 1, `1-2` is
    /// port 2 of the root hub of bus 1.
    pub port: Option<String>,
    /// The hub, in place of `port`: by its vendor, product and serial number, or by where it is plugged in.
    pub hub: Option<UsbMatch>,
    /// The port of `hub`, from 1. Numbers on the case often differ.
    pub hub_port: Option<u8>,
    /// Limits that all power switches have.
    #[serde(default)]
    pub switching: Switching,
}

/// A port of a hub on a bus `B`.
pub type HubPortPower<B = HostBus> = Switch<HubPortOutlet<B>>;

/// The requests of a [`HubPortPower`].
pub struct HubPortOutlet<B = HostBus> {
    /// The port, and its companion if it has one.
    ports: Vec<(Hub, u8)>,
    health: HealthHandle,
    bus: PhantomData<fn() -> B>,
}

impl<B: Bus> Outlet for HubPortOutlet<B> {
    const TYPE: &'static str = "power.usb-hub-port";
    type Config = HubPortConfig;

    fn switching(config: &HubPortConfig) -> &Switching {
        &config.switching
    }

    fn check(config: &HubPortConfig) -> Result<(), ConfigError> {
        match (&config.port, &config.hub, config.hub_port) {
            (Some(port), None, None) => Socket::parse(port)
                .map(drop)
                .map_err(|text| ConfigError::new("port", text)),
            (None, Some(hub), Some(port)) => {
                if !(1..=MOST_PORTS).contains(&port) {
                    let text = format!("{port} is not within 1 to {MOST_PORTS}");
                    return Err(ConfigError::new("hubPort", text));
                }
                check_usb(hub).map_err(|error| {
                    let key = error.key.trim_start_matches("usb").trim_start_matches('.');
                    let key = format!("hub.{key}");
                    ConfigError::new(key.trim_end_matches('.'), error.message)
                })
            }
            _ => {
                let text = "write either `port`, or `hub` and `hubPort`";
                Err(ConfigError::new("", text))
            }
        }
    }

    async fn open(config: &HubPortConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        wake_on(cx, &[Class::Usb]);
        let config = config.clone();
        let sockets = cx.blocking(move || sockets::<B>(&config)).await?;
        let mut ports = Vec::new();
        for (found, port) in sockets {
            let device = rigd_usb::open_found::<B>(&found, cx).await?;
            let hub = Hub::read(device).await?;
            hub.can_switch(port)?;
            ports.push((hub, port));
        }
        let outlet = Self {
            ports,
            health: cx.health().clone(),
            bus: PhantomData,
        };
        outlet.keep_off().await?;
        Ok(outlet)
    }

    // Ports of a hub are switched one after another; companions always meet at this one.
    fn address(&self) -> String {
        let first = self.ports.first();
        first.map_or_else(String::new, |(hub, _)| hub.place().to_string())
    }

    fn limit(&self) -> Duration {
        hub::LIMIT * 8
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        // All of them, also when the first one fails: better half of an off than none.
        let mut outcome = Ok(());
        for (hub, port) in &self.ports {
            let done = hub.switch(*port, on).await;
            outcome = outcome.and(done.map_err(|error| reported(error, &self.health)));
        }
        outcome?;
        self.get().await
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        let mut states = Vec::new();
        for (hub, port) in &self.ports {
            let on = hub.is_on(*port).await;
            states.push((
                hub,
                *port,
                on.map_err(|error| reported(error, &self.health))?,
            ));
        }
        let first = states.first().map(|(.., on)| *on);
        if states.iter().all(|(.., on)| Some(*on) == first) {
            return Ok(first);
        }
        let words = states.iter().map(|(hub, port, on)| {
            let state = if *on { "on" } else { "off" };
            format!("port {port} of {} is {state}", hub.place())
        });
        let text = words.collect::<Vec<_>>().join(", ");
        Err(DriverError::Device(format!("neither on nor off: {text}")))
    }
}

impl<B> HubPortOutlet<B> {
    /// What was off before the daemon came stays off.
    async fn keep_off(&self) -> Result<(), OpenError> {
        for (hub, port) in &self.ports {
            if !hub.is_on(*port).await? {
                hub.hold(*port).await?;
            }
        }
        Ok(())
    }
}

/// The hub and the number of the port, and the same of its companion.
fn sockets<B: Bus>(config: &HubPortConfig) -> Result<Vec<(Found, u8)>, OpenError> {
    let all = B::list(&UsbMatch::default())?;
    let named = |name: &str| all.iter().find(|found| found.name == name).cloned();
    let (hub, port) = match (&config.port, &config.hub) {
        (Some(port), _) => {
            let socket = Socket::parse(port).map_err(OpenError::Faulty)?;
            let absent = || OpenError::Absent(format!("there is no hub {}", socket.hub));
            (named(&socket.hub).ok_or_else(absent)?, socket.port)
        }
        (None, hub) => (
            B::find(&hub.clone().unwrap_or_default())?,
            config.hub_port.unwrap_or(0),
        ),
    };
    if hub_class(&hub) != Some(UsbId(9)) {
        return Err(OpenError::Faulty(format!("{hub} is no hub")));
    }
    let mut sockets = vec![(hub.clone(), port)];
    if let Some(companion) = topology::companion(&hub, port) {
        let absent = || {
            let (hub, port) = (&companion.hub, companion.port);
            OpenError::Absent(format!(
                "the other half of the socket, port {port} of {hub}, is not there"
            ))
        };
        sockets.push((named(&companion.hub).ok_or_else(absent)?, companion.port));
        // Whichever of the two was named, the same one is first.
        sockets.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    }
    Ok(sockets)
}

fn hub_class(found: &Found) -> Option<UsbId> {
    let sysfs = &found.usb.as_ref()?.sysfs;
    let text = std::fs::read_to_string(sysfs.join("bDeviceClass")).ok()?;
    text.trim().parse().ok()
}

impl From<PowerSwitching> for &'static str {
    fn from(switching: PowerSwitching) -> Self {
        match switching {
            PowerSwitching::Individual => "switches its ports one by one",
            PowerSwitching::Ganged => {
                "switches all of its ports together, which would take the others down as well"
            }
            PowerSwitching::None => "cannot switch the power of its ports",
        }
    }
}
