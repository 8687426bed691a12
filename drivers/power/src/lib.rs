//! Power switches.
//!
//! All of them present the client class `PowerClient`: `on`, `off` and the streaming call `read`,
//! whose items are [`Reading`]s. A power cycle is made by the client of `off`, a pause and `on`.

mod mock;
mod reading;

pub use mock::{MockPower, MockPowerConfig};
pub use reading::Reading;

/// Client class path of everything that switches power.
pub const POWER_CLIENT: &str = "jumpstarter_driver_power.client.PowerClient";
