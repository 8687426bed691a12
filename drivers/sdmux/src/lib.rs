//! Muxes that give a card, or a stick, to the board or to the host.
//!
//! [`SdMux`] is the driver of all of them: it knows where the card is, lets go of it in order before it
//! goes to the board, and flashes it. What differs is a [`Mux`]: how the hardware is told and asked.

mod card;
mod config;
mod driver;
mod gadget;
mod mux;
mod sdwire;
mod sdwire3;
mod sg;
mod switch;
mod usbsdmux;
mod worker;

pub use card::CardSettings;
pub use driver::SdMux;
pub use gadget::{GadgetConfig, GadgetMux};
pub use mux::{FindDisk, Mux, Side};
pub use sdwire::{SdWire, SdWireConfig};
pub use sdwire3::{SdWire3, SdWire3Config};
pub use sg::{Kernel, Scsi};
pub use switch::{SwitchMux, SwitchMuxConfig};
pub use usbsdmux::{UsbSdMux, UsbSdMuxConfig};
