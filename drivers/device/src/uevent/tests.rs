use proptest::prelude::*;

use super::*;

const ADD: &[u8] =
    b"add@/devices/platform/dummy_hcd.0/usb1/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0\0ACTION=add\0\
    DEVPATH=/devices/platform/dummy_hcd.0/usb1/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0\0SUBSYSTEM=tty\0\
    MAJOR=188\0MINOR=0\0DEVNAME=ttyUSB0\0SEQNUM=812\0";

#[test]
fn a_message_of_the_kernel_is_read() {
    let event = DeviceEvent::parse(ADD).unwrap();
    assert_eq!(event.action, Action::Add);
    assert_eq!(event.subsystem, "tty");
    assert_eq!(event.devname.as_deref(), Some("ttyUSB0"));
    assert!(event.devpath.ends_with("/tty/ttyUSB0"), "{event:?}");
    assert_eq!(event.devtype, None);
}

#[test]
fn only_what_brings_a_device_of_the_kind_counts() {
    let told = |action: &str, subsystem: &str| {
        let text = format!("{action}@/devices/x\0SUBSYSTEM={subsystem}\0");
        Uevent::Device(Arc::new(DeviceEvent::parse(text.as_bytes()).unwrap()))
    };
    assert!(told("add", "tty").may_bring(Class::Tty));
    assert!(told("bind", "usb").may_bring(Class::Usb));
    assert!(told("change", "block").may_bring(Class::Block));
    assert!(!told("remove", "tty").may_bring(Class::Tty));
    assert!(!told("add", "usb").may_bring(Class::Tty));
    assert!(Uevent::Overflow.may_bring(Class::Gpio));
}

#[test]
fn what_is_not_of_the_kernel_is_no_event() {
    for message in [
        b"".as_slice(),
        b"libudev\0\xfe\xed\xca\xfe",
        b"add",
        b"add@",
        b"add@relative",
        b"explode@/devices/x",
        b"@/devices/x",
    ] {
        assert_eq!(DeviceEvent::parse(message), None, "{message:?}");
    }
}

proptest! {
    #[test]
    fn foreign_bytes_do_no_harm(message in proptest::collection::vec(any::<u8>(), 0..4096)) {
        DeviceEvent::parse(&message);
    }

    #[test]
    fn what_is_read_was_written(
        devpath in "/[a-z0-9:/]{1,40}",
        keys in proptest::collection::vec(("[A-Z]{1,12}", "[^\0]{0,20}"), 0..8),
        cut in 0_usize..200,
    ) {
        let mut message = format!("remove@{devpath}\0").into_bytes();
        for (key, value) in &keys {
            message.extend(format!("{key}={value}\0").as_bytes());
        }
        let event = DeviceEvent::parse(&message).unwrap();
        prop_assert_eq!(&event.devpath, &devpath);
        let last = |wanted: &str| keys.iter().rfind(|(key, _)| key == wanted).map(|(_, v)| v.clone());
        prop_assert_eq!(event.devname, last("DEVNAME"));
        // Cut anywhere: whatever is read is a prefix.
        let part = message.get(..cut.min(message.len())).unwrap();
        if let Some(event) = DeviceEvent::parse(part) {
            prop_assert!(devpath.starts_with(&event.devpath));
        }
    }
}
