//! Relay boards and switched hubs on USB, each as a power switch.
//!
//! All of them are [`Switch`](rigd_drivers_power::Switch)es: turns at a board that several instances
//! share, off time, budget, state and what a lease does are the same as everywhere. A file here is
//! what one kind of board is told, and by which bytes.

mod hid;
mod hid_relay;
mod hub_port;
mod noyito;
mod ykush;

pub use hid_relay::{HidRelay, HidRelayConfig, HidRelayOutlet, Relay};
pub use hub_port::{HubPortConfig, HubPortOutlet, HubPortPower};
pub use noyito::{
    NoyitoHidConfig, NoyitoHidOutlet, NoyitoHidPower, NoyitoSerialConfig, NoyitoSerialOutlet,
    NoyitoSerialPower,
};
pub use ykush::{Downstream, Ykush, YkushConfig, YkushDefault, YkushOutlet};
