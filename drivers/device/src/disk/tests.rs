use crate::{Class, DeviceMatch, FindError, simulated::*};

const CHIP: Says = Says {
    ids: ("04e8", "6001"),
    serial: "sd-1",
    product: "sd-wire",
};
const READER: Says = Says {
    ids: ("0424", "4050"),
    serial: "",
    product: "Ultra Fast Media Reader",
};

fn behind(host: &Simulated, port: &str) -> Result<String, FindError> {
    let mut wanted = DeviceMatch::default();
    wanted.usb.port = Some(port.into());
    let usb = host.host.find(&wanted, Class::Usb)?.usb.unwrap();
    Ok(host.host.disk_behind(&usb)?.name)
}

#[test]
fn a_mux_has_the_disk_beside_it_in_its_own_hub() {
    let host = Simulated::new();
    for (hub, name) in [("1-1", "sda"), ("1-2", "sdb")] {
        host.usb(&format!("{hub}.1"), 4, CHIP);
        let reader = host.usb(&format!("{hub}.2"), 5, READER);
        let disk = host.disk(&host.interface(&reader, 0), name, 1);
        host.partition(&disk, &format!("{name}1"));
    }
    // A stick elsewhere on the bus.
    let stick = host.usb("1-3", 9, READER);
    host.disk(&host.interface(&stick, 0), "sdc", 1);
    assert_eq!(behind(&host, "1-1.1"), Ok("sda".into()));
    assert_eq!(behind(&host, "1-2.1"), Ok("sdb".into()));
}

#[test]
fn a_composite_device_has_its_own_disk() {
    let host = Simulated::new();
    let board = host.usb("1-1.1", 4, CHIP);
    host.disk(&host.interface(&board, 2), "sda", 1);
    let other = host.usb("1-1.2", 5, READER);
    host.disk(&host.interface(&other, 0), "sdb", 1);
    assert_eq!(behind(&host, "1-1.1"), Ok("sda".into()));
}

#[test]
fn several_disks_in_the_hub_are_told_and_none_is_taken() {
    let host = Simulated::new();
    host.usb("1-1.1", 4, CHIP);
    assert!(
        matches!(behind(&host, "1-1.1"), Err(FindError::Absent(text)) if text.contains("1-1.1"))
    );
    for (port, name) in [("1-1.2", "sda"), ("1-1.3", "sdb")] {
        let reader = host.usb(port, 5, READER);
        host.disk(&host.interface(&reader, 0), name, 1);
    }
    let Err(FindError::Ambiguous(text)) = behind(&host, "1-1.1") else {
        panic!("one was taken");
    };
    assert!(
        text.starts_with("there are 2 disks beside 1-1.1 in its hub: "),
        "{text}"
    );
    assert!(
        text.ends_with("; `usb.port` would tell them apart"),
        "{text}"
    );
}
