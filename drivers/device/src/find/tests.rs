use super::*;
use crate::{UsbId, UsbMatch, simulated::*};

fn wanted(json: &str) -> DeviceMatch {
    let wanted: DeviceMatch = serde_json::from_str(json).unwrap();
    wanted.check().unwrap();
    wanted
}

fn find(host: &Simulated, json: &str) -> Result<Found, FindError> {
    host.host.find(&wanted(json), Class::Tty)
}

fn name(found: Result<Found, FindError>) -> String {
    found.map_or_else(|error| error.to_string(), |found| found.name)
}

#[test]
fn two_ports_behind_one_serial_number_differ_in_their_interface() {
    let host = Simulated::new();
    host.mainboard();
    host.adapter("1-1.4", 7, DUAL, 0, 2);
    let dev = host.host.dev.display();
    let error = find(&host, r#"{"usb": {"serial": "FT1"}}"#).unwrap_err();
    let device = r#"0403:6010 "Dual RS232-HS", serial "FT1""#;
    let text = format!(
        r#"usb.serial "FT1" matches 2 serial ports: {dev}/ttyUSB0 ({device}, interface 0, port 1-1.4), {dev}/ttyUSB1 ({device}, interface 1, port 1-1.4); `usb.interface` would tell them apart"#
    );
    assert_eq!(error, FindError::Ambiguous(text));
    let found = find(&host, r#"{"usb": {"serial": "FT1", "interface": 1}}"#).unwrap();
    assert_eq!(found.node, Some(host.dev("ttyUSB1")));
    let usb = found.usb.unwrap();
    assert_eq!((usb.busnum, usb.devnum, usb.interface), (1, 7, Some(1)));
    assert_eq!((usb.vendor, usb.product), (UsbId(0x0403), UsbId(0x6010)));
    assert_eq!(usb.port, "1-1.4");
}

#[test]
fn several_ports_of_one_interface_differ_in_their_number() {
    let host = Simulated::new();
    let usb = host.usb(
        "1-2",
        3,
        Says {
            ids: ("110a", "1410"),
            serial: "M",
            product: "UPort",
        },
    );
    let interface = host.interface(&usb, 0);
    host.tty(&interface, "ttyUSB0", Some(0));
    host.tty(&interface, "ttyUSB1", Some(1));
    let error = find(&host, r#"{"usb": {"vendor": "110a"}}"#)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("interface 0, portNumber 1, port 1-2"),
        "{error}"
    );
    assert!(
        error.ends_with("; `usb.portNumber` would tell them apart"),
        "{error}"
    );
    assert_eq!(
        name(find(&host, r#"{"usb": {"portNumber": 1}}"#)),
        "ttyUSB1"
    );
}

#[test]
fn two_of_a_kind_differ_in_their_sockets() {
    let host = Simulated::new();
    let cheap = Says {
        ids: ("1a86", "7523"),
        serial: "",
        product: "USB Serial",
    };
    host.adapter("1-1.1", 4, cheap, 0, 1);
    host.adapter("1-1.2", 5, cheap, 1, 1);
    let error = find(&host, r#"{"usb": {"vendor": "1a86"}}"#)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("; `usb.port` would tell them apart"),
        "{error}"
    );
    assert_eq!(
        name(find(&host, r#"{"usb": {"port": "1-1.2"}}"#)),
        "ttyUSB1"
    );
}

#[test]
fn several_keys_are_named_when_one_is_not_enough() {
    let host = Simulated::new();
    host.adapter("1-1", 4, DUAL, 0, 2);
    host.adapter("1-2", 5, DUAL, 2, 2);
    let error = find(&host, r#"{"usb": {"vendor": "0403"}}"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("matches 4 serial ports"), "{error}");
    assert!(
        error.ends_with("; `usb.interface` with `usb.port` would tell them apart"),
        "{error}"
    );
}

#[test]
fn a_serial_number_that_differs_is_offered_after_the_socket() {
    let host = Simulated::new();
    host.adapter("1-1", 4, DUAL, 0, 1);
    host.adapter(
        "1-2",
        5,
        Says {
            serial: "FT2",
            ..DUAL
        },
        1,
        1,
    );
    let error = find(&host, r#"{"usb": {"product": "6010"}}"#)
        .unwrap_err()
        .to_string();
    let end = "; each of `usb.port`, `usb.serial` would tell them apart";
    assert!(error.ends_with(end), "{error}");
}

#[test]
fn many_candidates_are_counted() {
    let host = Simulated::new();
    for number in 1..=12 {
        host.adapter(&format!("1-{number}"), number, DUAL, number as u8, 1);
    }
    let error = find(&host, r#"{"usb": {"vendor": "0403"}}"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("matches 12 serial ports"), "{error}");
    assert!(error.contains(" and 4 more;"), "{error}");
    let (second, tenth) = (error.find("ttyUSB2 "), error.find("ttyUSB10 "));
    assert!(second.is_some() && tenth.is_none(), "{error}");
}

#[test]
fn a_path_is_a_match_and_never_a_hint() {
    let host = Simulated::new();
    host.adapter("1-1", 4, DUAL, 0, 1);
    let missing = host.dev("ttyUSB1");
    let error = find(&host, &format!(r#"{{"path": {missing:?}}}"#)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, FindError::Absent(_)));
    assert!(
        text.starts_with(&format!("there is no {}; there are ", missing.display())),
        "{text}"
    );
    assert!(text.contains("ttyUSB0 (0403:6010"), "{text}");
    // There, and another device than the rest says.
    let there = host.dev("ttyUSB0");
    let mix = format!(r#"{{"path": {there:?}, "usb": {{"serial": "FT9"}}}}"#);
    let error = find(&host, &mix).unwrap_err();
    assert!(matches!(error, FindError::Absent(_)));
    assert!(error.to_string().contains(r#"ttyUSB0 (0403:6010 "Dual RS232-HS", serial "FT1", interface 0, port 1-1) does not match path"#), "{error}");
}

#[test]
fn links_of_udev_are_followed() {
    let host = Simulated::new();
    host.adapter("1-1", 4, DUAL, 0, 2);
    let json = r#"{"byId": "usb-FTDI_Dual_FT1-if01-port0"}"#;
    let error = find(&host, json).unwrap_err().to_string();
    let folder = host.dev("serial/by-id");
    assert!(
        error.contains(&format!("nor a {}: udev makes it", folder.display())),
        "{error}"
    );
    host.link("serial/by-id/usb-FTDI_Dual_FT1-if01-port0", "ttyUSB1");
    host.link(
        "serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0",
        "ttyUSB0",
    );
    assert_eq!(name(find(&host, json)), "ttyUSB1");
    let by_path = r#"{"byPath": "pci-0000:00:14.0-usb-0:1:1.0-port0"}"#;
    assert_eq!(name(find(&host, by_path)), "ttyUSB0");
    // As a plain path, and in a mix.
    let link = host.dev("serial/by-id/usb-FTDI_Dual_FT1-if01-port0");
    assert_eq!(
        name(find(
            &host,
            &format!(r#"{{"path": {link:?}, "usb": {{"interface": 1}}}}"#)
        )),
        "ttyUSB1"
    );
    let both = r#"{"byId": "usb-FTDI_Dual_FT1-if01-port0", "byPath": "pci-0000:00:14.0-usb-0:1:1.0-port0"}"#;
    let error = find(&host, both).unwrap_err().to_string();
    assert!(error.contains("names both"), "{error}");
    let gpio = host.host.find(&wanted(json), Class::Gpio).unwrap_err();
    assert!(gpio.to_string().contains("use `path` or `usb`"), "{gpio}");
}

#[test]
fn nothing_that_matches_is_told_with_what_there_is() {
    let host = Simulated::new();
    host.mainboard();
    let error = find(&host, r#"{"usb": {"vendor": "0403", "serial": "X"}}"#)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        r#"no serial port matches usb.vendor 0403, usb.serial "X"; this host has no serial ports on USB"#
    );
    host.adapter("1-1", 4, DUAL, 0, 1);
    let error = find(&host, r#"{"usb": {"serial": "X"}}"#)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("there are ") && error.contains("ttyUSB0 (0403:6010"),
        "{error}"
    );
    assert!(!error.contains("ttyS0"), "{error}");
    assert_eq!(
        name(find(
            &host,
            &format!(r#"{{"path": {:?}}}"#, host.dev("ttyS0"))
        )),
        "ttyS0"
    );
}

#[test]
fn forgotten_quotes_are_noticed() {
    let host = Simulated::new();
    host.adapter("1-1", 4, DUAL, 0, 1);
    // `vendor: 0403` as YAML reads it.
    let error = find(&host, r#"{"usb": {"vendor": 259}}"#)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("; for 0403 write `vendor: \"0403\"`, with the quotes"),
        "{error}"
    );
    let error = find(&host, r#"{"usb": {"product": 6010}}"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`product: \"6010\"`"), "{error}");
}

#[test]
fn what_is_no_such_device_is_refused() {
    let host = Simulated::new();
    let usb = host.usb("1-1", 4, DUAL);
    let interface = host.interface(&usb, 0);
    host.disk(&interface, "sda", 1);
    let error = find(&host, &format!(r#"{{"path": {:?}}}"#, host.dev("sda"))).unwrap_err();
    assert!(matches!(error, FindError::Unusable(_)));
    assert!(
        error.to_string().ends_with("sda is no serial port"),
        "{error}"
    );
    let error = Host::default()
        .find(&DeviceMatch::path("/dev/null"), Class::Tty)
        .unwrap_err();
    assert_eq!(
        error,
        FindError::Unusable("/dev/null is no serial port".into())
    );
}

#[test]
fn a_pseudo_terminal_has_a_generation_though_sysfs_does_not_know_it() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let dir = tempfile::tempdir().unwrap();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let link = dir.path().join("console");
    std::os::unix::fs::symlink(&slave, &link).unwrap();
    let found = DeviceMatch::path(&link).find(Class::Tty).unwrap();
    assert_eq!(found.node.as_deref(), Some(Path::new(&slave)));
    assert!(found.is_current());
    let mut usb = DeviceMatch::path(&link);
    usb.usb = UsbMatch {
        port: Some("1-1".into()),
        ..UsbMatch::default()
    };
    assert!(matches!(usb.find(Class::Tty), Err(FindError::Absent(_))));
    drop(master);
    assert!(!found.is_current());
}

#[test]
fn disks_are_whole_unless_a_path_says_so() {
    let host = Simulated::new();
    let usb = host.usb("1-1", 4, DUAL);
    let interface = host.interface(&usb, 0);
    let disk = host.disk(&interface, "sda", 12);
    host.partition(&disk, "sda1");
    let find = |json: &str| host.host.find(&wanted(json), Class::Block);
    let found = find(r#"{"usb": {"port": "1-1"}}"#).unwrap();
    assert_eq!(
        (&*found.name, found.generation.diskseq()),
        ("sda", Some(12))
    );
    let partition = find(&format!(r#"{{"path": {:?}}}"#, host.dev("sda1"))).unwrap();
    assert_eq!(
        (&*partition.name, partition.generation.diskseq()),
        ("sda1", Some(12))
    );
    assert_eq!(host.host.all(Class::Block).unwrap().len(), 1);
    // Another medium in the same reader.
    fs::write(disk.join("diskseq"), "13\n").unwrap();
    assert!(!found.is_current() && !partition.is_current());
}

#[test]
fn usb_devices_are_named_without_their_interfaces() {
    let host = Simulated::new();
    let usb = host.usb("1-1.4", 4, DUAL);
    host.interface(&usb, 0);
    let found = host
        .host
        .find(&wanted(r#"{"usb": {"vendor": "0403"}}"#), Class::Usb)
        .unwrap();
    assert_eq!(found.node, Some(host.dev("bus/usb/001/004")));
    assert_eq!(found.usb.unwrap().interface, None);
}

#[test]
fn an_entry_that_vanishes_hides_no_other() {
    let host = Simulated::new();
    host.adapter("1-1", 4, DUAL, 0, 1);
    // Listed, and gone when it is looked at; gone in the middle of being looked at.
    let listed = host.path("sys/class/tty");
    std::os::unix::fs::symlink("../../devices/nowhere", listed.join("ttyUSB9")).unwrap();
    let usb = host.usb("1-3", 5, DUAL);
    let interface = host.interface(&usb, 0);
    host.tty(&interface, "ttyUSB3", None);
    fs::remove_file(usb.join("devnum")).unwrap();
    assert!(host.host.scan(Class::Tty).unwrap().vanished);
    assert_eq!(
        name(find(&host, r#"{"usb": {"vendor": "0403"}}"#)),
        "ttyUSB0"
    );
}

#[test]
fn what_came_back_while_it_was_looked_for_is_found() {
    let host = Simulated::new();
    let dangling = host.path("sys/class/tty/ttyUSB9");
    std::os::unix::fs::symlink("../../devices/nowhere", &dangling).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| host.adapter("1-1", 4, DUAL, 0, 1));
        let mut found = find(&host, r#"{"usb": {"serial": "FT1"}}"#);
        for _ in 0..10_000 {
            if found.is_ok() {
                break;
            }
            // Whatever is half there meanwhile, nothing fails.
            assert!(matches!(found, Err(FindError::Absent(_))), "{found:?}");
            found = find(&host, r#"{"usb": {"serial": "FT1"}}"#);
        }
        assert_eq!(name(found), "ttyUSB0");
    });
}

#[test]
fn another_device_under_the_same_name_is_another_generation() {
    let host = Simulated::new();
    host.adapter("1-1", 4, DUAL, 0, 1);
    let found = find(&host, r#"{"usb": {"port": "1-1"}}"#).unwrap();
    assert!(found.is_current());
    host.unplug("1-1");
    assert!(!found.is_current());
    host.adapter("1-1", 5, DUAL, 0, 1);
    assert!(!found.is_current());
    let again = find(&host, r#"{"usb": {"port": "1-1"}}"#).unwrap();
    assert_eq!(again.node, found.node);
    assert!(again.is_current() && again.generation != found.generation);
}

#[test]
fn this_host_can_be_read() {
    for class in [
        Class::Tty,
        Class::Block,
        Class::Hidraw,
        Class::Usb,
        Class::Gpio,
        Class::ScsiGeneric,
    ] {
        for found in Host::default().all(class).unwrap() {
            assert!(found.is_current(), "{found:?}");
        }
    }
}
