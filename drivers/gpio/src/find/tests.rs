use std::io::ErrorKind;

use rigd_driver::OpenError;

use super::*;
use crate::simulated::{Host, behind, plug, refuse};

/// No key of `usb` is given.
const ANY: UsbMatch = UsbMatch::ANY;

fn offset(offset: u32) -> LineName {
    LineName::Offset(offset)
}

fn name(name: &str) -> LineName {
    LineName::Name(name.into())
}

/// A host with a relay board and the pins of the computer.
fn plug_two(host: u32) {
    plug(
        host,
        "gpiochip0",
        "pinctrl",
        &["ID_SD", "", "GPIO17", "SHARED"],
    );
    plug(host, "gpiochip1", "relays", &["relay1", "relay2", "SHARED"]);
}

fn absent(error: &OpenError) -> String {
    assert!(matches!(error, OpenError::Absent(_)), "{error:?}");
    error.to_string()
}

fn faulty(error: &OpenError) -> String {
    assert!(matches!(error, OpenError::Faulty(_)), "{error:?}");
    error.to_string()
}

#[test]
fn a_chip_goes_by_label_name_or_path_and_a_line_by_offset_or_name() {
    plug_two(1);
    let wanted = Found {
        chip: "/dev/gpiochip1".into(),
        offset: 1,
        name: Some("relay2".into()),
        device: None,
        place: "line 1 (\"relay2\") of gpiochip1 (relays)".into(),
    };
    for device in ["relays", "gpiochip1", "/dev/gpiochip1"] {
        for line in [offset(1), name("relay2")] {
            assert_eq!(find::<Host<1>>(Some(device), &ANY, &line).unwrap(), wanted);
        }
    }
    assert_eq!(
        find::<Host<1>>(None, &ANY, &name("relay2")).unwrap(),
        wanted
    );
    let unnamed = find::<Host<1>>(None, &ANY, &offset(1)).unwrap();
    assert_eq!(unnamed.place, "line 1 of gpiochip0 (pinctrl)");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    plug_two(2);
    let find = |device, line: LineName| find::<Host<2>>(device, &ANY, &line).unwrap_err();
    assert_eq!(
        absent(&find(Some("relais"), offset(0))),
        "no GPIO chip has the label or name \"relais\" (did you mean \"relays\"?); \
         there are gpiochip0 (pinctrl), gpiochip1 (relays)"
    );
    assert_eq!(
        absent(&find(Some("/dev/gpiochip7"), offset(0))),
        "there is no /dev/gpiochip7; there are gpiochip0 (pinctrl), gpiochip1 (relays)"
    );
    assert_eq!(
        faulty(&find(Some("relays"), offset(3))),
        "gpiochip1 (relays) has no line 3: it has 3, from 0 to 2"
    );
    assert_eq!(
        faulty(&find(Some("relays"), name("Relay_2"))),
        "gpiochip1 (relays) has no line called \"Relay_2\" (did you mean \"relay2\"?); \
         its lines are \"relay1\", \"relay2\", \"SHARED\""
    );
    assert_eq!(
        absent(&find(None, name("GPIO71"))),
        "no GPIO chip has a line called \"GPIO71\" (did you mean \"GPIO17\"?); \
         there are gpiochip0 (pinctrl), gpiochip1 (relays)"
    );
}

#[test]
fn nothing_is_offered_that_is_not_alike() {
    plug(3, "gpiochip0", "pinctrl", &["", ""]);
    let find = |device, line: LineName| {
        find::<Host<3>>(device, &ANY, &line)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        find(Some("zzz"), offset(0)),
        "no GPIO chip has the label or name \"zzz\"; there are gpiochip0 (pinctrl)"
    );
    assert_eq!(
        find(Some("pinctrl"), name("relay")),
        "gpiochip0 (pinctrl) has no line called \"relay\"; none of its lines has a name"
    );
}

#[test]
fn two_that_fit_are_listed_with_the_key_that_tells_them_apart() {
    plug_two(4);
    let error = find::<Host<4>>(None, &ANY, &name("SHARED")).unwrap_err();
    assert_eq!(
        faulty(&error),
        "the line name \"SHARED\" is not enough to tell the line: name its chip with `device` (label, name or path) or `usb`; \
         there are line 3 (\"SHARED\") of gpiochip0 (pinctrl), line 2 (\"SHARED\") of gpiochip1 (relays)"
    );
    let found = find::<Host<4>>(Some("relays"), &ANY, &name("SHARED")).unwrap();
    assert_eq!(found.chip, Path::new("/dev/gpiochip1"));
}

#[test]
fn the_same_label_twice_needs_a_path() {
    plug(5, "gpiochip0", "mcp2221", &["a"]);
    plug(5, "gpiochip1", "mcp2221", &["a", "b"]);
    let find = |device, line: LineName| find::<Host<5>>(Some(device), &ANY, &line);
    let error = faulty(&find("mcp2221", offset(0)).unwrap_err());
    assert!(
        error.contains("line 0 (\"a\") of gpiochip0 (mcp2221), line 0 (\"a\") of gpiochip1"),
        "{error}"
    );
    // Only one of the two has it.
    assert_eq!(
        find("mcp2221", name("b")).unwrap().chip,
        Path::new("/dev/gpiochip1")
    );
    assert_eq!(
        find("/dev/gpiochip1", offset(0)).unwrap().chip,
        Path::new("/dev/gpiochip1")
    );
    let error = faulty(&find("mcp2221", offset(9)).unwrap_err());
    assert_eq!(
        error,
        "several GPIO chips fit, write a path or a key of `usb` that tells them apart: \
         gpiochip0 (mcp2221) at /dev/gpiochip0, gpiochip1 (mcp2221) at /dev/gpiochip1"
    );
}

#[test]
fn a_missing_permission_names_the_rule_and_the_group() {
    plug_two(6);
    refuse(6, "gpiochip1", ErrorKind::PermissionDenied);
    let find = |device| find::<Host<6>>(Some(device), &ANY, &offset(0));
    for device in ["/dev/gpiochip1", "relays"] {
        let error = faulty(&find(device).unwrap_err());
        assert!(
            error.starts_with("cannot open /dev/gpiochip1: permission denied"),
            "{error}"
        );
        assert!(
            error.contains("systemd/60-rigd.rules") && error.contains("group gpio"),
            "{error}"
        );
    }
    // The other chip is none of its business.
    assert_eq!(find("pinctrl").unwrap().offset, 0);
}

#[test]
fn a_host_without_chips() {
    let find = |device, line: LineName| find::<Host<7>>(device, &ANY, &line).unwrap_err();
    assert_eq!(
        absent(&find(None, offset(0))),
        "there is no /dev/gpiochip0; this host has no GPIO chip"
    );
    assert_eq!(
        absent(&find(None, name("relay1"))),
        "no GPIO chip can be opened: this host has none"
    );
}

/// The chip of an adapter in a port, as sysfs shows it.
fn adapter(root: &Path, port: &str, name: &str) -> rigd_device::Found {
    let sys = root.join("sys");
    let usb = sys.join("devices/usb1").join(port);
    let chip = usb.join(format!("{port}:1.2/{name}"));
    let listed = sys.join("bus/gpio/devices");
    std::fs::create_dir_all(&chip).unwrap();
    std::fs::create_dir_all(&listed).unwrap();
    for (attribute, text) in [
        ("idVendor", "04d8"),
        ("idProduct", "00dd"),
        ("busnum", "1"),
        ("devnum", "7"),
    ] {
        std::fs::write(usb.join(attribute), text).unwrap();
    }
    std::os::unix::fs::symlink(&chip, listed.join(name)).unwrap();
    let all = rigd_device::Host::at(root).all(rigd_device::Class::Gpio);
    let mut found = all.unwrap().into_iter();
    found.find(|found| found.name == name).unwrap()
}

#[test]
fn chips_with_the_same_label_go_by_their_usb_device() {
    let root = tempfile::tempdir().unwrap();
    let label = "mcp2221_gpio";
    for (name, port) in [("gpiochip1", "1-1"), ("gpiochip2", "1-2")] {
        plug(8, name, label, &["", "", "", ""]);
        behind(8, name, adapter(root.path(), port, name));
    }
    let usb = |port: &str| UsbMatch {
        port: Some(port.into()),
        ..UsbMatch::ANY
    };
    let find = |device, usb| find::<Host<8>>(device, &usb, &offset(3));
    for device in [None, Some(label)] {
        let found = find(device, usb("1-2")).unwrap();
        assert_eq!(found.chip, Path::new("/dev/gpiochip2"));
    }
    let error = faulty(&find(Some(label), ANY).unwrap_err());
    assert!(error.contains("(label, name or path) or `usb`"), "{error}");
    assert!(
        error.contains("gpiochip2 (mcp2221_gpio, 04d8:00dd, port 1-2)"),
        "{error}"
    );
    let error = absent(&find(None, usb("1-3")).unwrap_err());
    let text = "no GPIO chip is behind a USB device with port 1-3; there are gpiochip1 (mcp2221_gpio, 04d8:00dd, port 1-1)";
    assert!(error.starts_with(text), "{error}");
}
