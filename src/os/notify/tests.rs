use std::{process, time::Instant};

use tempfile::TempDir;

use super::*;

/// A manager that listens.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

fn manager() -> Manager {
    let dir = TempDir::new().unwrap();
    let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    let soon = Some(Duration::from_secs(5));
    socket.set_read_timeout(soon).unwrap();
    Manager { socket, dir }
}

impl Manager {
    fn address(&self) -> String {
        self.dir.path().join("notify").to_str().unwrap().to_owned()
    }

    fn notify(&self, more: &[(&str, &str)]) -> Notify {
        let address = self.address();
        Notify::new(&|name| match name {
            "NOTIFY_SOCKET" => Some(address.clone()),
            _ => value(more, name),
        })
    }

    fn heard(&self) -> String {
        let mut buffer = [0; 4096];
        let count = self.socket.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }
}

fn value(table: &[(&str, &str)], name: &str) -> Option<String> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| (*value).to_owned())
}

#[test]
fn each_message_is_one_datagram() {
    let manager = manager();
    let notify = manager.notify(&[]);
    notify.ready();
    assert_eq!(manager.heard(), "READY=1");
    notify.status("2 exporters, 1 lease");
    assert_eq!(manager.heard(), "STATUS=2 exporters, 1 lease");
    notify.stopping();
    assert_eq!(manager.heard(), "STOPPING=1");
    notify.extend(Duration::from_millis(1500));
    assert_eq!(manager.heard(), "EXTEND_TIMEOUT_USEC=1500000");
    notify.extend(Duration::MAX);
    assert_eq!(manager.heard(), format!("EXTEND_TIMEOUT_USEC={}", u32::MAX));
    notify.alive();
    assert_eq!(manager.heard(), "WATCHDOG=1");
}

#[test]
fn a_reload_comes_with_the_time_of_the_monotonic_clock() {
    let manager = manager();
    let notify = manager.notify(&[]);
    let mut times = Vec::new();
    for _ in 0..2 {
        notify.reloading();
        let text = manager.heard();
        let (first, second) = text.split_once('\n').expect("both in one message");
        assert_eq!(first, "RELOADING=1");
        let micros = second.strip_prefix("MONOTONIC_USEC=").expect("the time");
        times.push(micros.parse::<u64>().unwrap());
    }
    assert!(times[0] > 0 && times[0] <= times[1], "{times:?}");
}

#[test]
fn a_status_cannot_smuggle_in_a_message_nor_be_too_long_for_one() {
    let manager = manager();
    let notify = manager.notify(&[]);
    notify.status("lease a\nREADY=1\r\tb");
    assert_eq!(manager.heard(), "STATUS=lease a READY=1  b");
    // Two bytes each: the limit falls into the middle of one.
    notify.status(&format!("x{}", "ä".repeat(MAX_STATUS)));
    let heard = manager.heard();
    assert_eq!(heard.len(), "STATUS=".len() + MAX_STATUS - 1);
    assert!(heard.ends_with('ä'));
}

#[test]
fn an_abstract_address_is_one() {
    let name = format!("rigd-notify-{}", process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let address = format!("@{name}");
    let notify = Notify::new(&|name| value(&[("NOTIFY_SOCKET", &address)], name));
    notify.ready();
    let mut buffer = [0; 64];
    let count = socket.recv(&mut buffer).expect("a message");
    assert_eq!(&buffer[..count], b"READY=1");
}

#[test]
fn without_a_manager_nothing_happens() {
    let usec = ("WATCHDOG_USEC", "30000000");
    for table in [
        vec![usec],
        vec![("NOTIFY_SOCKET", ""), usec],
        vec![("NOTIFY_SOCKET", "/nowhere/notify"), usec],
    ] {
        let notify = Notify::new(&|name| value(&table, name));
        notify.ready();
        notify.reloading();
        notify.alive();
        assert_eq!(notify.watchdog(), None, "{table:?}");
    }
}

#[test]
fn a_manager_that_went_away_or_is_stuck_costs_a_moment() {
    let gone = manager();
    let notify = gone.notify(&[]);
    drop(gone);
    notify.ready();
    assert!(notify.told.load(Ordering::Relaxed));

    // Nobody reads: the queue of a datagram socket is short.
    let stuck = manager();
    let notify = stuck.notify(&[]);
    let began = Instant::now();
    while !notify.told.load(Ordering::Relaxed) {
        assert!(began.elapsed() < 30 * SEND_LIMIT, "the queue has no end");
        notify.alive();
    }
    assert!(began.elapsed() >= SEND_LIMIT);
}

#[test]
fn the_watchdog_is_that_of_this_process() {
    let manager = manager();
    let me = process::id().to_string();
    let half_minute = Some(Duration::from_secs(30));
    for (usec, pid, wanted) in [
        (Some("30000000"), None, half_minute),
        (Some("30000000"), Some(me.as_str()), half_minute),
        (Some("30000000"), Some("1"), None),
        (Some("30000000"), Some("me"), None),
        (Some("0"), None, None),
        (Some("soon"), None, None),
        (None, Some(me.as_str()), None),
    ] {
        let usec = usec.map(|usec| ("WATCHDOG_USEC", usec));
        let pid = pid.map(|pid| ("WATCHDOG_PID", pid));
        let table: Vec<_> = usec.into_iter().chain(pid).collect();
        assert_eq!(manager.notify(&table).watchdog(), wanted, "{table:?}");
    }
}
