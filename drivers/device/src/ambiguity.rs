//! Which keys would tell devices apart that all match.

use std::collections::HashSet;

use crate::Found;

/// A key of the configuration, and what it is for a device.
type Key = (&'static str, fn(&Found) -> Option<String>);

/// In the order in which they are offered. What is fixed in a device comes before the socket that
/// it is in today; a serial number comes after both, since whole batches have the same.
const KEYS: [Key; 7] = [
    ("usb.interface", |f| {
        f.usb.as_ref()?.interface.map(|i| i.to_string())
    }),
    ("usb.portNumber", |f| {
        f.usb.as_ref()?.port_number.map(|i| i.to_string())
    }),
    ("usb.port", |f| Some(f.usb.as_ref()?.port.clone())),
    ("usb.serial", |f| f.usb.as_ref()?.serial.clone()),
    ("usb.vendor", |f| Some(f.usb.as_ref()?.vendor.to_string())),
    ("usb.product", |f| Some(f.usb.as_ref()?.product.to_string())),
    ("usb.productName", |f| f.usb.as_ref()?.product_name.clone()),
];

/// The end of the message about several devices.
pub(crate) fn tell_apart(devices: &[&Found]) -> String {
    for size in 1..=3 {
        let found: Vec<_> = subsets(size)
            .into_iter()
            .filter(|keys| distinct(devices, keys))
            .map(|keys| joined(&keys))
            .collect();
        match &found[..] {
            [] => {}
            [one] => return format!("{one} would tell them apart"),
            // With several keys at once one way to do it is enough.
            [first, ..] if size > 1 => return format!("{first} would tell them apart"),
            several => return format!("each of {} would tell them apart", several.join(", ")),
        }
    }
    "nothing that they tell differs: only `path`, `byId` or `byPath` would tell them apart".into()
}

/// Whether the values differ for each pair of devices. A device without a value cannot be named.
fn distinct(devices: &[&Found], keys: &[Key]) -> bool {
    let mut seen = HashSet::new();
    devices.iter().all(|device| {
        let values: Option<Vec<_>> = keys.iter().map(|(_, value)| value(device)).collect();
        values.is_some_and(|values| seen.insert(values))
    })
}

fn subsets(size: usize) -> Vec<Vec<Key>> {
    fn extend(from: usize, left: usize, chosen: &mut Vec<Key>, out: &mut Vec<Vec<Key>>) {
        if left == 0 {
            out.push(chosen.clone());
            return;
        }
        for (index, key) in KEYS.iter().enumerate().skip(from) {
            chosen.push(*key);
            extend(index + 1, left - 1, chosen, out);
            chosen.pop();
        }
    }
    let mut out = Vec::new();
    extend(0, size, &mut Vec::new(), &mut out);
    out
}

fn joined(keys: &[Key]) -> String {
    let names: Vec<_> = keys.iter().map(|(name, _)| format!("`{name}`")).collect();
    names.join(" with ")
}
