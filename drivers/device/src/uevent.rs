//! What the kernel says about a device: one message of its uevent socket.
//!
//! A message is `ACTION@DEVPATH` and a list of `KEY=value`, each ended by a zero byte
//! (lib/kobject_uevent.c of the kernel).

use std::sync::Arc;

use crate::Class;

/// Something happened to a device, or to who knows which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uevent {
    /// To this device.
    Device(Arc<DeviceEvent>),
    /// Events were lost: everything may have changed.
    Overflow,
}

/// What happened to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceEvent {
    /// What happened.
    pub action: Action,
    /// Its directory below `/sys`, with a slash at the start.
    pub devpath: String,
    /// Its subsystem: `tty`, `block`, `usb`.
    pub subsystem: String,
    /// Its kind within the subsystem: `usb_device`, `disk`.
    pub devtype: Option<String>,
    /// Its file below `/dev`: `ttyUSB0`, `bus/usb/001/004`.
    pub devname: Option<String>,
}

/// What can happen to a device (`enum kobject_action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is there.
    Add,
    /// It is gone.
    Remove,
    /// Something of it changed, for instance the medium of a disk.
    Change,
    /// It has another name.
    Move,
    /// It can be used.
    Online,
    /// It cannot be used.
    Offline,
    /// It has a driver.
    Bind,
    /// It lost its driver.
    Unbind,
}

impl Action {
    fn parse(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"add" => Self::Add,
            b"remove" => Self::Remove,
            b"change" => Self::Change,
            b"move" => Self::Move,
            b"online" => Self::Online,
            b"offline" => Self::Offline,
            b"bind" => Self::Bind,
            b"unbind" => Self::Unbind,
            _ => return None,
        })
    }
}

impl Uevent {
    /// Whether a device of this kind may be there now that was not.
    pub fn may_bring(&self, class: Class) -> bool {
        match self {
            Self::Overflow => true,
            Self::Device(event) => event.subsystem == class.subsystem() && event.brings(),
        }
    }
}

impl DeviceEvent {
    /// Reads a message; none when it is not one of the kernel's.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let mut fields = message.split(|byte| *byte == 0);
        let head = fields.next()?;
        let at = head.iter().position(|byte| *byte == b'@')?;
        let (action, devpath) = (head.get(..at)?, head.get(at + 1..)?);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut event = Self {
            action: Action::parse(action)?,
            devpath: text(devpath.starts_with(b"/").then_some(devpath)?),
            subsystem: String::new(),
            devtype: None,
            devname: None,
        };
        for field in fields {
            let value = |key: &[u8]| field.strip_prefix(key).map(text);
            if let Some(subsystem) = value(b"SUBSYSTEM=") {
                event.subsystem = subsystem;
            } else if let Some(devtype) = value(b"DEVTYPE=") {
                event.devtype = Some(devtype);
            } else if let Some(devname) = value(b"DEVNAME=") {
                event.devname = Some(devname);
            }
        }
        Some(event)
    }

    fn brings(&self) -> bool {
        match self.action {
            Action::Add | Action::Change | Action::Move | Action::Online | Action::Bind => true,
            Action::Remove | Action::Offline | Action::Unbind => false,
        }
    }
}

#[cfg(test)]
mod tests;
