use super::*;

fn event(action: &str, devname: &str) -> Uevent {
    let text = format!("{action}@/devices/x/{devname}\0SUBSYSTEM=gpio\0DEVNAME={devname}\0");
    Uevent::Device(Arc::new(DeviceEvent::parse(text.as_bytes()).unwrap()))
}

#[tokio::test]
async fn the_kernel_lets_everybody_listen() {
    open().unwrap();
    let (mut one, mut other) = (Uevents::subscribe(), Uevents::subscribe());
    let hub = HUB.lock().unwrap().clone().unwrap();
    hub.announce(event("add", "gpiochip7"));
    // Devices of this host may be announced meanwhile.
    while one.next().await != event("add", "gpiochip7") {}
    while other.next().await != event("add", "gpiochip7") {}
}

/// Root may have the kernel announce a device anew, here one that does nothing.
#[tokio::test]
async fn what_the_kernel_announces_arrives() {
    let mut events = Uevents::subscribe();
    if let Err(error) = std::fs::write("/sys/class/mem/null/uevent", "change") {
        eprintln!("SKIPPED: cannot have the kernel announce /dev/null: {error}");
        return;
    }
    let arrives = async {
        loop {
            if let Uevent::Device(event) = events.next().await
                && event.devname.as_deref() == Some("null")
            {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(Duration::from_secs(10), arrives)
        .await
        .unwrap();
    assert_eq!(
        (event.action, &*event.subsystem),
        (crate::Action::Change, "mem")
    );
    assert_eq!(event.devpath, "/devices/virtual/mem/null");
}

#[tokio::test]
async fn who_falls_behind_is_told_that_everything_may_have_changed() {
    let hub = Uevents::silent();
    let mut slow = hub.listener();
    for _ in 0..=BACKLOG {
        hub.announce(event("add", "gpiochip0"));
    }
    assert_eq!(slow.next().await, Uevent::Overflow);
    // And gets what is there still.
    assert_eq!(slow.next().await, event("add", "gpiochip0"));
}

#[tokio::test(start_paused = true)]
async fn where_nobody_may_listen_no_events_come() {
    let mut events = Uevents::silent().listener();
    let next = tokio::time::timeout(Duration::from_secs(3600), events.next());
    assert!(next.await.is_err());
}
