//! What a handle of a USB device promises, on a device that the test plays: one for all, nothing on
//! another device, and a request that never returns costs only that device.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use rigd_device::{DeviceMatch, UsbMatch};
use rigd_driver::{DriverError, OpenError};
use rigd_usb::{
    Bus, Operation, Setup, UsbDevice, UsbError,
    simulated::{Answers, Shown, SimulatedBus, SimulatedHost, hid},
};
use rustix::{
    io::Errno,
    process::geteuid,
    thread::{Uid, set_thread_res_uid},
};

const LIMIT: Duration = Duration::from_millis(50);
const SETUP: Setup = Setup {
    request_type: 0x41,
    request: 1,
    value: 2,
    index: 3,
};

fn answers(answer: impl Fn(&Operation) -> io::Result<Vec<u8>> + Send + Sync + 'static) -> Answers {
    Arc::new(answer)
}

fn shown(name: &str, number: u16) -> Shown<'_> {
    Shown {
        name,
        number,
        ids: [0x2b23, 0x1012],
        ..Shown::default()
    }
}

async fn open(host: &SimulatedHost, name: &str) -> Result<Arc<UsbDevice>, UsbError> {
    SimulatedBus::open(&host.place(name)?).await
}

fn failing(errno: Errno) -> Answers {
    answers(move |_| Err(errno.into()))
}

#[tokio::test]
async fn all_who_open_a_device_share_one_handle() {
    let host = SimulatedHost::new().unwrap();
    let nothing = answers(|_| Ok(Vec::new()));
    let record = host.plug_in(&shown("1-1", 4), hid(64), nothing).unwrap();
    let (one, other) = tokio::join!(open(&host, "1-1"), open(&host, "1-1"));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(Arc::ptr_eq(&one, &other));

    let (first, second) = (one.claim(0).await.unwrap(), other.claim(0).await.unwrap());
    one.control_out(SETUP, &[7], LIMIT).await.unwrap();
    drop(first);
    second.write(0x01, &[1, 2], LIMIT).await.unwrap();
    drop((second, one, other));
    // The next handle comes after the thread of the last one is done.
    let again = open(&host, "1-1").await.unwrap();
    again.reset().await.unwrap();
    assert_eq!(
        record.take(),
        [
            Operation::Claim(0),
            Operation::ControlOut(SETUP, vec![7]),
            Operation::Out(0x01, vec![1, 2]),
            Operation::Release(0, false),
            Operation::Reset,
        ]
    );
}

#[tokio::test]
async fn reads_ask_for_whole_packets() {
    let host = SimulatedHost::new().unwrap();
    let answer = answers(|operation| match operation {
        Operation::In(_, length) => Ok(vec![5; *length]),
        _ => Ok(Vec::new()),
    });
    let record = host.plug_in(&shown("1-2", 5), hid(64), answer).unwrap();
    let device = open(&host, "1-2").await.unwrap();
    let claim = device.claim(0).await.unwrap();
    record.take();
    assert_eq!(claim.read(0x81, 9, LIMIT).await.unwrap(), [5; 9]);
    assert_eq!(claim.read(0x81, 65, LIMIT).await.unwrap(), [5; 65]);
    let asked = [Operation::In(0x81, 64), Operation::In(0x81, 128)];
    assert_eq!(record.take(), asked);
}

#[tokio::test]
async fn an_interface_goes_back_to_the_driver_it_was_taken_from() {
    let host = SimulatedHost::new().unwrap();
    let nothing = answers(|_| Ok(Vec::new()));
    let record = host.plug_in(&shown("1-3", 6), hid(64), nothing).unwrap();
    let interface = host.sysfs("1-3").join("1-3:1.0");
    std::fs::create_dir(&interface).unwrap();
    std::os::unix::fs::symlink("/sys/bus/usb/drivers/usbhid", interface.join("driver")).unwrap();
    let device = open(&host, "1-3").await.unwrap();
    drop(device.claim(0).await.unwrap());
    device.reset().await.unwrap();
    let release = Operation::Release(0, true);
    assert_eq!(
        record.take(),
        [Operation::Claim(0), release, Operation::Reset]
    );
}

#[tokio::test]
async fn a_handle_never_acts_on_the_device_that_came_after() {
    let host = SimulatedHost::new().unwrap();
    let gone = failing(Errno::NODEV);
    host.plug_in(&shown("1-4", 7), hid(64), gone).unwrap();
    let old = host.place("1-4").unwrap();
    let device = SimulatedBus::open(&old).await.unwrap();
    host.unplug("1-4").unwrap();
    let fine = answers(|_| Ok(Vec::new()));
    let record = host.plug_in(&shown("1-4", 8), hid(64), fine).unwrap();

    let error = device.control_out(SETUP, &[], LIMIT).await.unwrap_err();
    assert!(
        matches!(error, UsbError::Gone(_)) && error.is_final(),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "control request 0x41/0x01 of USB device 2b23:1012 at 1-4: it was unplugged"
    );
    // The place of the old one is not that of the new one.
    let error = SimulatedBus::open(&old).await.unwrap_err();
    assert!(matches!(error, UsbError::Gone(_)), "{error}");
    assert!(matches!(OpenError::from(error), OpenError::Absent(_)));
    let new = open(&host, "1-4").await.unwrap();
    assert!(!Arc::ptr_eq(&new, &device));
    new.control_out(SETUP, &[], LIMIT).await.unwrap();
    assert_eq!(record.take().len(), 1);
}

#[tokio::test]
async fn a_number_that_is_used_again_is_another_device() {
    let host = SimulatedHost::new().unwrap();
    let first = answers(|_| Ok(Vec::new()));
    host.plug_in(&shown("1-5", 9), hid(64), first).unwrap();
    let old = open(&host, "1-5").await.unwrap();
    host.unplug("1-5").unwrap();
    host.plug_in(&shown("1-5", 9), hid(64), failing(Errno::PIPE))
        .unwrap();
    // The kernel refuses the old one; what it says otherwise is not believed either.
    assert!(!old.place().is_current());
    let new = open(&host, "1-5").await.unwrap();
    assert!(!Arc::ptr_eq(&new, &old));
}

#[tokio::test]
async fn errors_say_what_they_mean() {
    let host = SimulatedHost::new().unwrap();
    for (number, errno, code, text) in [
        (20, Errno::PIPE, "Device", "the device refused it (stall)"),
        (21, Errno::TIMEDOUT, "Timeout", "no answer in time"),
        (
            22,
            Errno::PROTO,
            "Unavailable",
            "a loose cable, a hub without power",
        ),
        (23, Errno::BUSY, "Device", "it is in use by another program"),
        (24, Errno::NODEV, "Unavailable", "it was unplugged"),
        (25, Errno::INVAL, "Device", "no such interface or endpoint"),
    ] {
        let name = format!("2-{number}");
        host.plug_in(&shown(&name, number), hid(64), failing(errno))
            .unwrap();
        let device = open(&host, &name).await.unwrap();
        let error = device.control_in(SETUP, 8, LIMIT).await.unwrap_err();
        let error = DriverError::from(error);
        let debug = format!("{error:?}");
        assert!(debug.starts_with(code) && debug.contains(text), "{debug}");
        assert!(
            debug.contains(&format!("USB device 2b23:1012 at {name}")),
            "{debug}"
        );
    }
}

/// Opened for real, by a thread that is nobody: a simulated host has an ordinary file there.
#[tokio::test]
async fn a_file_without_permission_names_the_rule() {
    let host = SimulatedHost::new().unwrap();
    let nothing = answers(|_| Ok(Vec::new()));
    host.plug_in(&shown("1-6", 10), hid(64), nothing).unwrap();
    let place = host.place("1-6").unwrap();
    let (root, nobody) = (Uid::ROOT, Uid::from_raw(65534));
    if geteuid() == root {
        // Of this thread alone, and of those that it starts.
        set_thread_res_uid(root, nobody, root).unwrap();
    } else {
        std::fs::set_permissions(place.node(), Permissions::from_mode(0o000)).unwrap();
    }
    let error = UsbDevice::open(&place).await.unwrap_err();
    if geteuid() == nobody {
        set_thread_res_uid(root, root, root).unwrap();
    }
    let text = error.to_string();
    assert!(text.contains("permission denied on "), "{text}");
    assert!(text.contains("/dev/bus/usb/001/010"), "{text}");
    assert!(
        text.contains("idVendor 2b23, idProduct 1012 (60-rigd.rules"),
        "{text}"
    );
    assert!(matches!(OpenError::from(error), OpenError::Faulty(_)));
}

#[tokio::test]
async fn a_request_that_never_returns_costs_its_device_alone() {
    let host = SimulatedHost::new().unwrap();
    let (free, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let hangs = answers(move |_| {
        held.lock().unwrap().recv().ok();
        Ok(Vec::new())
    });
    let opened = Arc::new(AtomicUsize::new(0));
    host.plug_in(&shown("1-7", 11), hid(64), hangs).unwrap();
    let counted = opened.clone();
    let fine = answers(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(Vec::new())
    });
    host.plug_in(&shown("1-8", 12), hid(64), fine).unwrap();
    let (stuck, other) = (
        open(&host, "1-7").await.unwrap(),
        open(&host, "1-8").await.unwrap(),
    );

    let error = stuck.control_out(SETUP, &[], LIMIT).await.unwrap_err();
    assert!(
        matches!(error, UsbError::Wedged(_)) && error.is_final(),
        "{error}"
    );
    let text = "control request 0x41/0x01 of USB device 2b23:1012 at 1-7 has not come back from the kernel";
    assert!(error.to_string().starts_with(text), "{error}");
    // At once from now on.
    let error = stuck.reset().await.unwrap_err();
    assert!(matches!(error, UsbError::Wedged(_)), "{error}");
    other.control_out(SETUP, &[], LIMIT).await.unwrap();
    assert_eq!(opened.load(Ordering::Relaxed), 1);

    // No second thread hangs in the same device.
    drop(stuck);
    let error = open(&host, "1-7").await.unwrap_err();
    assert!(matches!(error, UsbError::Wedged(_)), "{error}");
    free.send(()).unwrap();
    drop(free);
    let back = open(&host, "1-7").await.unwrap();
    back.control_out(SETUP, &[], LIMIT).await.unwrap();
}

#[tokio::test]
async fn what_is_looked_for_is_named_when_it_is_not_there() {
    let wanted = UsbMatch {
        serial: Some("YK-NONE".into()),
        ..UsbMatch::default()
    };
    let error = SimulatedBus::find(&wanted).unwrap_err();
    assert!(matches!(&error, OpenError::Absent(_)), "{error}");
    let host = SimulatedHost::new().unwrap();
    host.plug_in(&shown("1-9", 13), hid(64), failing(Errno::PIPE))
        .unwrap();
    let error = SimulatedBus::find(&wanted).unwrap_err();
    assert!(error.to_string().contains("YK-NONE"), "{error}");
    assert!(DeviceMatch::default().is_empty());
}
