//! The DUTLink board (2b23:1012): one USB device that feeds a board under test. Here is its power output;
//! its console is a serial port as any other.

mod board;
mod config;
mod power;
mod reading;

pub use config::DutlinkPowerConfig;
pub use power::{DutlinkPower, DutlinkPowerOutlet};
