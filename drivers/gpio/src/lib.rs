//! Relays, outputs and inputs on GPIO lines, through the kernel's character device.
//!
//! A line is requested once, when its instance opens, and held until the daemon stops: other
//! programs find it busy, and no lease can release it. All lines of the host go through [`Kernel`];
//! nothing else knows the library below.

mod config;
mod driven;
mod find;
mod input;
mod kernel;
mod line;
mod output;
mod readable;
mod relay;
#[cfg(test)]
mod simulated;

pub use config::{Bias, Drive, InitialValue, LineName, OnLeaseStart};
pub use input::{GpioInput, GpioInputConfig};
pub use kernel::Kernel;
pub use line::Chips;
pub use output::{GpioOutput, GpioOutputConfig};
pub use relay::{GpioOutlet, GpioRelay, GpioRelayConfig};
