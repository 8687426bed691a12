//! A match as it is written in messages: `usb.vendor 0403, usb.serial "A1"`.

use std::fmt;

use crate::{DeviceMatch, UsbId, UsbMatch};

impl fmt::Display for DeviceMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_ref().map(|path| path.display().to_string());
        let mut keys = Vec::new();
        keys.extend(path.map(|path| format!("path {path}")));
        keys.extend(self.by_id.as_ref().map(|link| format!("byId {link}")));
        keys.extend(self.by_path.as_ref().map(|link| format!("byPath {link}")));
        keys.extend(self.usb.keys().map(|key| format!("usb.{key}")));
        f.write_str(&keys.join(", "))
    }
}

/// Without the map it is in: `vendor 0403, serial "A1"`.
impl fmt::Display for UsbMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.keys().collect::<Vec<_>>().join(", "))
    }
}

impl UsbMatch {
    fn keys(&self) -> impl Iterator<Item = String> {
        let quoted = |text: &Option<String>| text.as_ref().map(|text| format!("{text:?}"));
        let id = |id: Option<UsbId>| id.map(|id| id.to_string());
        let number = |number: Option<u8>| number.map(|number| number.to_string());
        let keys = [
            ("vendor", id(self.vendor)),
            ("product", id(self.product)),
            ("serial", quoted(&self.serial)),
            ("interface", number(self.interface)),
            ("portNumber", number(self.port_number)),
            ("port", self.port.clone()),
            ("productName", quoted(&self.product_name)),
        ];
        let given = keys
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        given.map(|(key, value)| format!("{key} {value}"))
    }
}
