use std::sync::Arc;

use super::*;
use crate::{DeviceEvent, UsbMatch, simulated::*};

fn told(action: &str, devpath: &str, subsystem: &str) -> Uevent {
    let text = format!("{action}@{devpath}\0SUBSYSTEM={subsystem}\0");
    Uevent::Device(Arc::new(DeviceEvent::parse(text.as_bytes()).unwrap()))
}

fn port(host: &Simulated, port: &str) -> Found {
    let usb = UsbMatch {
        port: Some(port.into()),
        ..UsbMatch::default()
    };
    let wanted = DeviceMatch {
        usb,
        ..DeviceMatch::default()
    };
    host.host.find(&wanted, Class::Tty).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_link_that_comes_late_is_waited_for() {
    let host = Simulated::new();
    let link = host.dev("serial/by-id/usb-x");
    let hub = Uevents::silent();
    let began = Instant::now();
    let waiting = appears(hub.listener(), Class::Tty, vec![link.clone()]);
    hub.announce(told("add", "/devices/x", "usb"));
    hub.announce(told("add", "/devices/x/tty/ttyUSB0", "tty"));
    let udev = async {
        sleep(Duration::from_millis(700)).await;
        host.node("ttyUSB0");
        host.link("serial/by-id/usb-x", "ttyUSB0");
    };
    tokio::join!(waiting, udev);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(700) && took < Duration::from_secs(1),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_link_that_never_comes_costs_two_seconds() {
    let hub = Uevents::silent();
    let began = Instant::now();
    let waiting = appears(hub.listener(), Class::Tty, vec!["/nowhere/at/all".into()]);
    hub.announce(Uevent::Overflow);
    waiting.await;
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_links_the_event_is_enough() {
    let hub = Uevents::silent();
    let mut waiting = std::pin::pin!(appears(hub.listener(), Class::Tty, Vec::new()));
    hub.announce(told("remove", "/devices/x", "tty"));
    hub.announce(told("add", "/devices/x", "block"));
    let early = tokio::time::timeout(Duration::from_secs(60), &mut waiting).await;
    assert!(early.is_err());
    hub.announce(told("add", "/devices/x", "tty"));
    waiting.await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_heard_before_sysfs_shows_it() {
    let host = Simulated::new();
    host.adapter("1-1", 4, DUAL, 0, 1);
    host.adapter("1-2", 5, DUAL, 1, 1);
    let (found, other) = (port(&host, "1-1"), port(&host, "1-2"));
    let hub = Uevents::silent();
    let mut gone = std::pin::pin!(found.removed_as_heard_by(hub.listener()));
    let devpath = |found: &Found| {
        let sysfs = found.sysfs.clone().unwrap();
        format!(
            "/{}",
            sysfs.strip_prefix(host.path("sys")).unwrap().display()
        )
    };
    hub.announce(told("remove", &devpath(&other), "tty"));
    hub.announce(told("change", &devpath(&found), "tty"));
    hub.announce(Uevent::Overflow);
    let early = tokio::time::timeout(Duration::from_secs(60), &mut gone).await;
    assert!(early.is_err());
    // The directory is there still.
    hub.announce(told("remove", &devpath(&found), "tty"));
    gone.await;
}

#[tokio::test(start_paused = true)]
async fn lost_events_and_a_quick_replug_are_noticed() {
    let host = Simulated::new();
    host.adapter("1-1", 4, DUAL, 0, 1);
    let found = port(&host, "1-1");
    let hub = Uevents::silent();
    let mut gone = std::pin::pin!(found.removed_as_heard_by(hub.listener()));
    let early = tokio::time::timeout(Duration::from_secs(60), &mut gone).await;
    assert!(early.is_err());
    host.unplug("1-1");
    host.adapter("1-1", 6, DUAL, 0, 1);
    hub.announce(Uevent::Overflow);
    gone.await;
}
