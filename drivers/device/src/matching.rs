//! How a configuration names a device, and whether a device fits.

use std::path::PathBuf;

use rigd_driver::ConfigError;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Found, UsbId, UsbIdentity};

/// Which device of the host: every key that is given must match, and exactly one device must.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DeviceMatch {
    /// Path of the device file or of a link to it, such as `/dev/ttyUSB0`. Numbers change with each plug, a link of udev's
    /// does not.
    pub path: Option<PathBuf>,
    /// Name of the link in `/dev/serial/by-id` or `/dev/disk/by-id`, for serial ports and disks. Needs udev.
    pub by_id: Option<String>,
    /// Name of the link in `/dev/serial/by-path` or `/dev/disk/by-path`, for serial ports and disks. Needs udev.
    pub by_path: Option<String>,
    /// The USB device it is, or is behind. Needs no udev.
    #[serde(default)]
    pub usb: UsbMatch,
}

/// Which USB device: every key that is given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UsbMatch {
    /// Vendor as `lsusb` prints it, in quotes: `"0403"`.
    pub vendor: Option<UsbId>,
    /// Product as `lsusb` prints it, in quotes: `"6010"`.
    pub product: Option<UsbId>,
    /// Serial number that the device tells. Many cheap ones have none, or all the same.
    pub serial: Option<String>,
    /// The interface, for one of several ports of an adapter: `0`, `1`, …
    pub interface: Option<u8>,
    /// The port of one interface, where an interface has several of them: `0`, `1`, …
    pub port_number: Option<u8>,
    /// The socket it is plugged into, by the ports of all hubs on the way: `1-1.4` is port 4 of the hub in port 1 of bus 1.
    /// Tells devices apart that say the same of themselves.
    pub port: Option<String>,
    /// Product name that the device tells, the whole of it.
    pub product_name: Option<String>,
}

impl DeviceMatch {
    /// A match by path alone.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self {
            path: Some(path.into()),
            ..Self::default()
        }
    }

    /// Whether no key is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what types cannot say. Keys of the error are relative to this map.
    ///
    /// # Errors
    /// No key at all, an empty one, or one of another form.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.is_empty() {
            let text = "names no device: write `path`, `byId`, `byPath`, or some of `usb`: `vendor`, `product`, `serial`, `interface`, `port`";
            return Err(ConfigError::new("", text));
        }
        if let Some(path) = &self.path
            && !path.is_absolute()
        {
            let text = format!("{} does not start with /dev/", path.display());
            return Err(ConfigError::new("path", text));
        }
        for (key, link) in [("byId", &self.by_id), ("byPath", &self.by_path)] {
            let Some(link) = link else { continue };
            if link.is_empty() || link.contains('/') {
                let text = format!("{link:?} is no link's name: write it without the directory");
                return Err(ConfigError::new(key, text));
            }
        }
        self.usb.check("usb")
    }
}

impl UsbMatch {
    /// No key: every device fits.
    pub const ANY: Self = Self {
        vendor: None,
        product: None,
        serial: None,
        interface: None,
        port_number: None,
        port: None,
        product_name: None,
    };

    /// Checks what types cannot say. The map is under the key `at`.
    ///
    /// # Errors
    /// An empty key, or one of another form.
    pub fn check(&self, at: &str) -> Result<(), ConfigError> {
        let texts = [
            ("serial", &self.serial),
            ("productName", &self.product_name),
        ];
        for (key, text) in texts {
            if text.as_deref().is_some_and(|text| text.trim().is_empty()) {
                let text = "is empty; leave the key out when it does not matter";
                return Err(ConfigError::new(format!("{at}.{key}"), text));
            }
        }
        match &self.port {
            Some(port) if !is_port(port) => {
                let text = format!(
                    "{port:?} is no place on a bus: write its number, a dash, and the ports on the way with dots between them, `1-1.4`"
                );
                Err(ConfigError::new(format!("{at}.port"), text))
            }
            _ => Ok(()),
        }
    }

    /// Whether no key is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::ANY
    }

    /// Whether a USB device fits.
    pub fn fits(&self, usb: &UsbIdentity) -> bool {
        fn same<T: PartialEq>(wanted: Option<&T>, there: Option<&T>) -> bool {
            wanted.is_none() || wanted == there
        }
        let trimmed = |text: &Option<String>| text.as_deref().map(|text| text.trim().to_owned());
        same(self.vendor.as_ref(), Some(&usb.vendor))
            && same(self.product.as_ref(), Some(&usb.product))
            && same(trimmed(&self.serial).as_ref(), usb.serial.as_ref())
            && same(self.interface.as_ref(), usb.interface.as_ref())
            && same(self.port_number.as_ref(), usb.port_number.as_ref())
            && same(self.port.as_ref(), Some(&usb.port))
            && same(
                trimmed(&self.product_name).as_ref(),
                usb.product_name.as_ref(),
            )
    }

    /// Whether the USB part of a device fits.
    pub(crate) fn fits_found(&self, found: &Found) -> bool {
        self.is_empty() || found.usb.as_ref().is_some_and(|usb| self.fits(usb))
    }
}

/// The kernel's name of a USB device, or of a root hub: `1-1.4`, `usb1`.
fn is_port(text: &str) -> bool {
    let numbers = |text: &str| text.split('.').all(is_number);
    match text.split_once('-') {
        Some((bus, ports)) => is_number(bus) && numbers(ports),
        None => text.strip_prefix("usb").is_some_and(is_number),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> DeviceMatch {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_key_is_read() {
        let all = read(
            r#"{"path": "/dev/ttyUSB0", "byId": "usb-FTDI-if00-port0", "byPath": "pci-0000:00:14.0-usb-0:2:1.0-port0",
                "usb": {"vendor": "0403", "product": 24592, "serial": "A1", "interface": 1, "portNumber": 0, "port": "1-1.4", "productName": "Dual"}}"#,
        );
        all.check().unwrap();
        assert_eq!(all.usb.product, Some(UsbId(0x6010)));
        assert!(serde_json::from_str::<DeviceMatch>(r#"{"usb": {"vid": 1}}"#).is_err());
    }

    #[test]
    fn mistakes_name_their_key() {
        for (json, key, word) in [
            ("{}", "", "names no device"),
            (r#"{"usb": {}}"#, "", "names no device"),
            (r#"{"path": "ttyUSB0"}"#, "path", "/dev/"),
            (r#"{"byId": "/dev/serial/by-id/x"}"#, "byId", "directory"),
            (r#"{"byPath": ""}"#, "byPath", "directory"),
            (r#"{"usb": {"port": "1.4"}}"#, "usb.port", "1-1.4"),
            (r#"{"usb": {"port": "1-"}}"#, "usb.port", "1-1.4"),
            (
                r#"{"usb": {"serial": " "}}"#,
                "usb.serial",
                "leave the key out",
            ),
        ] {
            let error = read(json).check().unwrap_err();
            assert_eq!(error.key, key, "{json}");
            assert!(error.message.contains(word), "{json}: {error}");
        }
        for json in [
            r#"{"usb": {"port": "usb1"}}"#,
            r#"{"usb": {"port": "1-1.4.2"}}"#,
        ] {
            read(json).check().unwrap();
        }
    }
}
