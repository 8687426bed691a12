//! NOYITO relay boards: the same frames over a serial port, or in the reports of a HID.
//!
//! A frame is `A0 CHANNEL STATE SUM`, the sum of the three before it. The answer to a question for
//! the state is text, a line for each relay: `CH1:ON`.

mod hid;
mod serial;
mod tty;

use rigd_driver::{Call, DriverError, Interface, Mode, Value};
use rigd_drivers_power::{Outlet, Switch};

pub use hid::{NoyitoHidConfig, NoyitoHidOutlet, NoyitoHidPower};
pub use serial::{NoyitoSerialConfig, NoyitoSerialOutlet, NoyitoSerialPower};

/// Client class path: a power switch with `status`.
const CLIENT: &str = "jumpstarter_driver_noyito_relay.client.NoyitoPowerClient";
/// First byte of each frame.
const HEAD: u8 = 0xa0;

/// The frame that switches a channel.
fn frame(channel: u8, on: bool) -> [u8; 4] {
    checked([HEAD, channel, u8::from(on)])
}

/// A frame with its sum.
fn checked([head, channel, state]: [u8; 3]) -> [u8; 4] {
    let sum = head.wrapping_add(channel).wrapping_add(state);
    [head, channel, state, sum]
}

/// What an answer says of these channels, in their order.
fn states(answer: &[u8], channels: &[u8]) -> Result<Vec<(u8, bool)>, DriverError> {
    let text = String::from_utf8_lossy(answer);
    let told: Vec<_> = text.lines().filter_map(line).collect();
    let state = |channel: &u8| {
        let found = told.iter().find(|(of, _)| of == channel).copied();
        found.ok_or_else(|| {
            DriverError::InvalidArgument(format!(
                "channel {channel} is not in the status response {:?}",
                text.trim_matches(['\0', '\r', '\n', ' '])
            ))
        })
    };
    channels.iter().map(state).collect()
}

/// `CH1:ON`, in any case, between whatever pads it.
fn line(line: &str) -> Option<(u8, bool)> {
    let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let (channel, state) = line.split_once(':')?;
    let channel = channel.trim().to_ascii_uppercase();
    let channel = channel.strip_prefix("CH")?.parse().ok()?;
    match state.trim().to_ascii_uppercase().as_str() {
        "ON" => Some((channel, true)),
        "OFF" => Some((channel, false)),
        _ => None,
    }
}

/// What `status` answers.
fn word(states: &[(u8, bool)]) -> &'static str {
    let on = states.iter().filter(|(_, on)| *on).count();
    match on {
        0 => "off",
        all if all == states.len() => "on",
        _ => "partial",
    }
}

/// A NOYITO board, whatever carries its frames.
trait Asked: Outlet {
    /// Asks the board for the states of the instance's channels.
    fn ask(&self) -> impl Future<Output = Result<Vec<(u8, bool)>, DriverError>> + Send;
}

/// Adds `status` to what every switch exports.
fn with_status<O: Asked>(interface: Interface<Switch<O>>) -> Interface<Switch<O>> {
    interface.call("status", Mode::Shared, status::<O>)
}

async fn status<O: Asked>(
    switch: std::sync::Arc<Switch<O>>,
    _: Call,
) -> Result<Value, DriverError> {
    let states = switch.inquire(|outlet| outlet.ask()).await?;
    Ok(Value::from(word(&states)))
}

/// The channels of an instance.
fn channels(all: bool, channel: u8, count: u8) -> Vec<u8> {
    if all {
        (1..=count).collect()
    } else {
        vec![channel]
    }
}

#[cfg(test)]
mod tests;
