//! Power switches.
//!
//! All of them present the client class `PowerClient`: `on`, `off` and the streaming call `read`,
//! whose items are [`Reading`]s. The client makes a power cycle out of `off`, a pause and `on`.
//!
//! [`Switch`] holds what switches over a network have in common; an [`Outlet`] is one protocol.

mod budget;
mod command;
mod device;
mod energenie;
mod http;
mod json;
mod mock;
mod mqtt;
mod outlet;
mod reading;
mod settings;
mod shelly;
mod snmp;
mod switch;
mod tasmota;
mod tasmota_http;
mod web;

pub use command::{CommandConfig, CommandOutlet, CommandPower};
pub use energenie::{EnergenieConfig, EnergenieOutlet, EnergeniePower};
pub use http::{BasicAuth, Endpoint, HttpAuth, HttpConfig, HttpOutlet, HttpPower};
pub use mock::{MockPower, MockPowerConfig};
pub use outlet::Outlet;
pub use reading::Reading;
pub use settings::{AtLease, Secret, Switching};
pub use shelly::{ShellyConfig, ShellyOutlet, ShellyPower};
pub use snmp::{AuthProtocol, PrivProtocol, SnmpConfig, SnmpOutlet, SnmpPower, Version};
pub use switch::Switch;
pub use tasmota::{TasmotaConfig, TasmotaOutlet, TasmotaPower, Transport};
pub use tasmota_http::{TasmotaHttpConfig, TasmotaHttpOutlet, TasmotaHttpPower};

/// Client class path of everything that switches power.
pub const POWER_CLIENT: &str = "jumpstarter_driver_power.client.PowerClient";
