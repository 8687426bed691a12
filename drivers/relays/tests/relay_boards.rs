//! The reports of relay boards that are HIDs, byte by byte, on boards that the test plays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod bench;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use bench::{Open, answers, refused};
use rigd_driver::{DriverError, Health, contract};
use rigd_drivers_relays::{HidRelay, NoyitoHidPower, Ykush};
use rigd_usb::{
    Operation, Setup,
    simulated::{Answers, Record, Shown, SimulatedBus, SimulatedHost, hid, hid_without_output},
};
use rustix::io::Errno;
use serde_json::{Value, json};

/// Bytes that were sent to an endpoint or in a report since the last look.
fn sent(record: &Record) -> Vec<Vec<u8>> {
    let asked = record.take().into_iter();
    asked
        .filter_map(|operation| match operation {
            Operation::Out(_, data) | Operation::ControlOut(_, data) => Some(data),
            _ => None,
        })
        .collect()
}

// --- YKUSH ---

/// A board that knows its commands, as Yepkit's own tool expects it to.
fn ykush_board() -> Answers {
    let state = Mutex::new(([true; 3], Vec::new()));
    answers(move |operation| {
        let (on, next) = &mut *state.lock().unwrap();
        match operation {
            Operation::Out(_, report) => {
                let mut answer = vec![0; 64];
                let (command, port) = (report[0] >> 4, usize::from(report[0] & 0x0f));
                answer[0] = 1;
                answer[1] = report[0];
                match (command, port) {
                    (0 | 1, 0x0a) => *on = [command == 1; 3],
                    (0 | 1, 1..=3) => on[port - 1] = command == 1,
                    (2, 1..=3) => answer[1] = u8::from(on[port - 1]) << 4 | report[0] & 0x0f,
                    _ => answer[0] = 0xff,
                }
                next.push(answer);
                Ok(Vec::new())
            }
            Operation::In(..) if next.is_empty() => Err(Errno::TIMEDOUT.into()),
            Operation::In(..) => Ok(next.remove(0)),
            _ => Ok(Vec::new()),
        }
    })
}

fn plug_ykush(host: &SimulatedHost, name: &str, serial: &str, answers: Answers) -> Record {
    let shown = Shown {
        name,
        number: 7,
        ids: [0x04d8, 0xf2f7],
        serial: Some(serial),
        product: Some("YKUSH"),
        ..Shown::default()
    };
    host.plug_in(&shown, hid(64), answers).unwrap()
}

type TestYkush = Ykush<SimulatedBus>;

fn commands(record: &Record) -> Vec<u8> {
    let reports = sent(record).into_iter();
    reports
        .map(|report| {
            assert_eq!(report.len(), 64);
            assert!(report[1..].iter().all(|byte| *byte == 0), "{report:?}");
            report[0]
        })
        .collect()
}

#[tokio::test]
async fn ykush_ports_are_switched_and_read_back() {
    let host = SimulatedHost::new().unwrap();
    let record = plug_ykush(&host, "1-1", "YK1", ykush_board());
    for (port, on, off, status) in [
        (json!("1"), 0x11, 0x01, vec![0x21]),
        (json!(2), 0x12, 0x02, vec![0x22]),
        (json!("3"), 0x13, 0x03, vec![0x23]),
        (json!("all"), 0x1a, 0x0a, vec![0x21, 0x22, 0x23]),
    ] {
        let config = json!({"serial": "YK1", "port": port, "switching": {"minOffTime": 0}});
        let open = Open::new::<TestYkush>(config).await;
        record.take();
        for (method, command, state) in [("off", off, false), ("on", on, true)] {
            assert_eq!(open.call(method).await.unwrap(), Value::Null);
            let mut expected = vec![command];
            expected.extend(&status);
            assert_eq!(commands(&record), expected, "{method} {port}");
            let told = json!({"on": state, "source": "device"});
            assert_eq!(open.call("state").await.unwrap(), told);
            assert_eq!(commands(&record), status);
        }
        open.instance.close().await;
    }
}

#[tokio::test]
async fn a_ykush_is_off_at_the_start_of_a_lease_unless_told_otherwise() {
    let host = SimulatedHost::new().unwrap();
    let record = plug_ykush(&host, "1-2", "YK2", ykush_board());
    for (default, expected) in [
        (json!("off"), vec![0x01, 0x21]),
        (json!(true), vec![0x11, 0x21]),
        (json!("keep"), vec![]),
        (Value::Null, vec![0x01, 0x21]),
    ] {
        let mut config = json!({"serial": "YK2", "port": "1", "default": default});
        if default.is_null() {
            config.as_object_mut().unwrap().remove("default");
        }
        let open = Open::new::<TestYkush>(config).await;
        record.take();
        open.instance.lease_start().await;
        assert_eq!(commands(&record), expected, "{default}");
        open.instance.lease_end().await;
        assert_eq!(commands(&record), [0; 0], "{default}");
        open.instance.close().await;
    }
}

#[tokio::test]
async fn instances_of_several_exporters_share_a_board_and_take_turns() {
    let host = SimulatedHost::new().unwrap();
    let record = plug_ykush(&host, "1-3", "YK3", ykush_board());
    let config = |port: &str| json!({"serial": "YK3", "port": port});
    let one = Open::new::<TestYkush>(config("1")).await;
    let other = Open::new::<TestYkush>(config("2")).await;
    let claims = |record: &Record| {
        let asked = record.take();
        asked
            .iter()
            .filter(|o| matches!(o, Operation::Claim(_)))
            .count()
    };
    assert_eq!(claims(&record), 1);
    let (first, second) = tokio::join!(one.call("off"), other.call("off"));
    first.and(second).unwrap();
    // Whole conversations: a command and the look at its port, then those of the other one.
    let both = commands(&record);
    assert!(
        both == [0x01, 0x21, 0x02, 0x22] || both == [0x02, 0x22, 0x01, 0x21],
        "{both:02x?}"
    );
    one.instance.close().await;
    other.call("on").await.unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_fetched_is_thrown_away() {
    let host = SimulatedHost::new().unwrap();
    let board = ykush_board();
    // Of a program that left in the middle: the board has its answer ready.
    let old = board.clone();
    let mut report = vec![0; 64];
    report[0] = 0x13;
    old(&Operation::Out(1, report)).unwrap();
    plug_ykush(&host, "1-4", "YK4", board);
    let open = Open::new::<TestYkush>(json!({"serial": "YK4", "port": "1"})).await;
    open.call("off").await.unwrap();
    let told = json!({"on": false, "source": "device"});
    assert_eq!(open.call("state").await.unwrap(), told);
}

#[tokio::test]
async fn a_board_that_does_what_it_likes_is_an_error() {
    let host = SimulatedHost::new().unwrap();
    let stuck = answers(|operation| match operation {
        Operation::In(..) => {
            let mut answer = vec![0; 64];
            // On, whatever it was told.
            answer[..2].copy_from_slice(&[1, 0x12]);
            Ok(answer)
        }
        _ => Ok(Vec::new()),
    });
    plug_ykush(&host, "1-5", "YK5", stuck);
    let open = Open::new::<TestYkush>(json!({"serial": "YK5", "port": "2"})).await;
    let error = open.error("off").await;
    assert!(matches!(&error, DriverError::Device(_)), "{error}");
    assert!(
        error
            .to_string()
            .ends_with("told to switch off and reports that it is on")
    );
}

#[tokio::test]
async fn read_is_unimplemented_and_not_missing() {
    use futures::StreamExt;
    let host = SimulatedHost::new().unwrap();
    plug_ykush(&host, "1-6", "YK6", ykush_board());
    let open = Open::new::<TestYkush>(json!({"serial": "YK6"})).await;
    let owner = rigd_driver::KeyOwner::issue(rigd_driver::KeyKind::Client);
    let items = open
        .instance
        .streaming_call(&owner.key(), None, "read", vec![]);
    let first = Box::pin(items.unwrap()).next().await.unwrap();
    assert!(
        matches!(first, Err(DriverError::Unimplemented(_))),
        "{first:?}"
    );
}

#[test]
fn what_a_ykush_cannot_be_told_is_refused() {
    let of = refused::<TestYkush>;
    let words = "expected `1`, `2`, `3` or `all`";
    for port in [json!("a"), json!(0), json!(4), json!("4"), json!(-1)] {
        let text = of(json!({"port": port}));
        assert!(text.contains(words), "{text}");
    }
    let text = of(json!({"default": "maybe"}));
    assert!(text.contains("expected `keep`, `off` or `on`"), "{text}");
    let text = of(json!({"serial": "A", "usb": {"serial": "B"}}));
    assert!(text.starts_with("usb.serial: another one"), "{text}");
}

#[tokio::test]
async fn a_ykush_keeps_the_contract() {
    let host = SimulatedHost::new().unwrap();
    plug_ykush(&host, "1-7", "YK7", ykush_board());
    let config = json!({"serial": "YK7", "port": "1"});
    contract::check::<TestYkush>(serde_json::from_value(config).unwrap()).await;
}

// --- When it goes wrong ---

#[tokio::test]
async fn a_board_that_is_not_there_is_absent_and_found_when_it_comes() {
    let host = SimulatedHost::new().unwrap();
    let open = Open::new::<TestYkush>(json!({"serial": "YK10", "port": "1"})).await;
    let Health::Absent(why) = open.instance.health() else {
        panic!("{:?}", open.instance.health());
    };
    let error = open.error("on").await;
    assert!(matches!(error, DriverError::Unavailable(_)), "{error}");
    assert!(
        why.contains("04d8:f2f7") || why.contains("no simulated device"),
        "{why}"
    );
    plug_ykush(&host, "1-10", "YK10", ykush_board());
    open.until(|health| *health == Health::Ready).await;
    open.call("on").await.unwrap();
}

#[tokio::test]
async fn a_board_that_is_unplugged_in_a_call_is_unavailable_and_comes_back() {
    let host = Arc::new(SimulatedHost::new().unwrap());
    let board = ykush_board();
    let pulled = Arc::new(AtomicBool::new(false));
    let (is_pulled, behind) = (pulled.clone(), board.clone());
    let pull = answers(move |operation| {
        // Between the command and its answer.
        if matches!(operation, Operation::In(..)) && is_pulled.load(Ordering::Relaxed) {
            return Err(Errno::NODEV.into());
        }
        behind(operation)
    });
    plug_ykush(&host, "1-11", "YK11", pull);
    let open = Open::new::<TestYkush>(json!({"serial": "YK11", "port": "1"})).await;
    open.call("on").await.unwrap();
    pulled.store(true, Ordering::Relaxed);
    let error = open.error("off").await;
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert!(
        error.to_string().contains("USB device 04d8:f2f7 at 1-11"),
        "{error}"
    );
    host.unplug("1-11").unwrap();
    open.until(|health| matches!(health, Health::Absent(_)))
        .await;
    plug_ykush(&host, "1-11", "YK11", board);
    open.until(|health| *health == Health::Ready).await;
    open.call("off").await.unwrap();
}

#[tokio::test]
async fn a_board_that_another_program_holds_is_faulty() {
    let host = SimulatedHost::new().unwrap();
    let held = Arc::new(AtomicBool::new(true));
    let (is_held, board) = (held.clone(), ykush_board());
    let busy = answers(move |operation| match operation {
        Operation::Claim(_) if is_held.load(Ordering::Relaxed) => Err(Errno::BUSY.into()),
        other => board(other),
    });
    plug_ykush(&host, "1-12", "YK12", busy);
    let open = Open::new::<TestYkush>(json!({"serial": "YK12", "port": "1"})).await;
    let Health::Faulty(why) = open.instance.health() else {
        panic!("{:?}", open.instance.health());
    };
    assert!(why.ends_with("it is in use by another program"), "{why}");
    held.store(false, Ordering::Relaxed);
    open.until(|health| *health == Health::Ready).await;
}

#[tokio::test]
async fn a_board_whose_request_never_returns_costs_its_instance_alone() {
    let host = SimulatedHost::new().unwrap();
    let (free, hanging) = mpsc::channel::<()>();
    let hanging = Mutex::new(hanging);
    let hangs = answers(move |operation| match operation {
        Operation::Out(..) => {
            hanging.lock().unwrap().recv().ok();
            Ok(Vec::new())
        }
        Operation::In(..) => Err(Errno::TIMEDOUT.into()),
        _ => Ok(Vec::new()),
    });
    plug_ykush(&host, "1-13", "YK13", hangs);
    plug_ykush(&host, "1-14", "YK14", ykush_board());
    let stuck = Open::new::<TestYkush>(json!({"serial": "YK13", "port": "1"})).await;
    let other = Open::new::<TestYkush>(json!({"serial": "YK14", "port": "1"})).await;
    let (error, on) = tokio::join!(stuck.error("on"), other.call("on"));
    on.unwrap();
    assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
    let faulty = |health: &Health| matches!(health, Health::Faulty(why) if why.contains("has not come back from the kernel"));
    stuck.until(faulty).await;
    let error = stuck.error("off").await;
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    drop(free);
    stuck.until(|health| *health == Health::Ready).await;
}

// --- 16c0:05df ---

fn relay_board(number: &str, reports: impl Fn(u8) -> u8 + Send + Sync + 'static) -> Answers {
    let on = Mutex::new(0_u8);
    let number = number.as_bytes().to_owned();
    answers(move |operation| {
        let mut on = on.lock().unwrap();
        match operation {
            Operation::ControlOut(setup, data) => {
                assert_eq!((setup.request_type, setup.request), (0x21, 0x09));
                assert_eq!((setup.value, setup.index), (0x0300, 0));
                let bit = 1_u8 << data[1].saturating_sub(1);
                match data[0] {
                    0xff => *on |= bit,
                    0xfd => *on &= !bit,
                    0xfe => *on = 0xff,
                    0xfc => *on = 0,
                    _ => return Err(Errno::PIPE.into()),
                }
                Ok(Vec::new())
            }
            Operation::ControlIn(setup, 8) => {
                assert_eq!((setup.request_type, setup.request), (0xa1, 0x01));
                assert_eq!((setup.value, setup.index), (0x0301, 0));
                let mut report = number.clone();
                report.extend([0, 0, reports(*on)]);
                Ok(report)
            }
            Operation::Claim(0) | Operation::Release(..) => Ok(Vec::new()),
            other => panic!("{other:?}"),
        }
    })
}

fn plug_relays(host: &SimulatedHost, name: &str, product: &str, answers: Answers) -> Record {
    let shown = Shown {
        name,
        number: 3,
        ids: [0x16c0, 0x05df],
        product: Some(product),
        ..Shown::default()
    };
    host.plug_in(&shown, hid_without_output(), answers).unwrap()
}

type TestRelay = HidRelay<SimulatedBus>;

/// All of it in one test: which boards there are is common to the whole program.
#[tokio::test]
async fn hid_relays_are_found_by_the_number_in_their_report() {
    let host = SimulatedHost::new().unwrap();
    let none = Open::new::<TestRelay>(json!({"serial": "AAAAA"})).await;
    assert!(matches!(none.instance.health(), Health::Absent(_)));
    none.instance.close().await;

    let first = plug_relays(&host, "3-1", "USBRelay2", relay_board("AAAAA", |on| on));
    let alone = Open::new::<TestRelay>(json!({})).await;
    alone.call("on").await.unwrap();
    assert_eq!(sent(&first), [[0xff, 1, 0, 0, 0, 0, 0, 0]]);
    alone.instance.close().await;

    let second = plug_relays(&host, "3-2", "USBRelay8", relay_board("BBBBB", |on| on));
    // Something else that was built on V-USB is asked nothing.
    let keyboard = plug_relays(
        &host,
        "3-3",
        "Clavier",
        answers(|_| Err(Errno::PIPE.into())),
    );
    let several = Open::new::<TestRelay>(json!({})).await;
    assert_eq!(
        several.instance.health(),
        Health::Faulty(
            "several relay boards: AAAAA at 3-1; BBBBB at 3-2; `serial` or `usb.port` tells them apart"
                .into()
        )
    );
    let wrong = Open::new::<TestRelay>(json!({"serial": "CCCCC"})).await;
    assert_eq!(
        wrong.instance.health(),
        Health::Absent(
            "no relay board has the number CCCCC; there are: AAAAA at 3-1; BBBBB at 3-2".into()
        )
    );
    for open in [several, wrong] {
        open.instance.close().await;
    }
    first.take();
    second.take();

    let relay = Open::new::<TestRelay>(json!({"serial": "BBBBB", "relay": 3})).await;
    relay.call("on").await.unwrap();
    relay.call("off").await.unwrap();
    let all = Open::new::<TestRelay>(json!({"usb": {"port": "3-2"}, "relay": "all"})).await;
    all.call("on").await.unwrap();
    let told = json!({"on": true, "source": "device"});
    assert_eq!(relay.call("state").await.unwrap(), told);
    all.call("off").await.unwrap();
    assert_eq!(
        sent(&second),
        [
            [0xff, 3, 0, 0, 0, 0, 0, 0],
            [0xfd, 3, 0, 0, 0, 0, 0, 0],
            [0xfe, 0, 0, 0, 0, 0, 0, 0],
            [0xfc, 0, 0, 0, 0, 0, 0, 0],
        ]
    );
    assert_eq!(sent(&first), [[0; 8]; 0]);
    assert_eq!(keyboard.take(), []);

    relay.call("on").await.unwrap();
    let mixed = all.error("state").await;
    assert_eq!(
        mixed.to_string(),
        "neither on nor off: 1 off, 2 off, 3 on, 4 off, 5 off, 6 off, 7 off, 8 off"
    );
    let high = Open::new::<TestRelay>(json!({"serial": "AAAAA", "relay": 3})).await;
    let text = "there is no relay 3 on a board with 2";
    assert_eq!(high.instance.health(), Health::Faulty(text.into()));
    high.instance.close().await;

    let config = json!({"serial": "AAAAA", "relay": 2, "inverted": true});
    let inverted = Open::new::<TestRelay>(config.clone()).await;
    sent(&first);
    inverted.call("on").await.unwrap();
    assert_eq!(sent(&first), [[0xfd, 2, 0, 0, 0, 0, 0, 0]]);
    contract::check::<TestRelay>(serde_json::from_value(config).unwrap()).await;

    // A relay that sticks, and a report that is none.
    plug_relays(&host, "3-4", "USBRelay1", relay_board("DDDDD", |_| 1));
    let stuck = Open::new::<TestRelay>(json!({"serial": "DDDDD"})).await;
    let text = stuck.error("off").await.to_string();
    assert!(
        text.ends_with("was told to switch off and reports that it is on"),
        "{text}"
    );
}

#[test]
fn what_a_hid_relay_cannot_be_told_is_refused() {
    let of = refused::<TestRelay>;
    let text = of(json!({"serial": "TOOLONG"}));
    assert!(
        text.starts_with("serial: a board's number has 5 letters"),
        "{text}"
    );
    let text = of(json!({"relay": 9}));
    assert!(
        text.contains("expected a number from 1 to 8, or `all`"),
        "{text}"
    );
    let text = of(json!({"relay": 3, "relays": 2}));
    assert_eq!(text, "relay: there is no relay 3 on a board with 2");
    let text = of(json!({"usb": {"port": "left"}}));
    assert!(text.starts_with("usb.port: "), "{text}");
}

// --- NOYITO, HID ---

/// Answers to questions with the lines of its channels, in reports of that length.
fn noyito_board(channels: usize, packet: usize) -> Answers {
    let state = Mutex::new((vec![false; channels], Vec::new()));
    answers(move |operation| {
        let (on, next) = &mut *state.lock().unwrap();
        match operation {
            Operation::Out(_, frame) if frame[..] == [0xa0, 0x0f, 0x02, 0xb1] => {
                let lines = on.iter().enumerate().map(|(index, on)| {
                    let word = if *on { "ON " } else { "OFF" };
                    format!("CH{}:{word}\r\n", index + 1)
                });
                let text = lines.collect::<String>();
                for part in text.as_bytes().chunks(packet) {
                    let mut report = part.to_vec();
                    report.resize(packet, 0);
                    next.push(report);
                }
                Ok(Vec::new())
            }
            Operation::Out(_, frame) => {
                on[usize::from(frame[1]) - 1] = frame[2] == 1;
                Ok(Vec::new())
            }
            Operation::In(..) if next.is_empty() => Err(Errno::TIMEDOUT.into()),
            Operation::In(..) => Ok(next.remove(0)),
            _ => Ok(Vec::new()),
        }
    })
}

fn plug_noyito(host: &SimulatedHost, name: &str, serial: &str, answers: Answers) -> Record {
    let shown = Shown {
        name,
        number: 5,
        ids: [0x140b, 0x07d7],
        serial: Some(serial),
        ..Shown::default()
    };
    host.plug_in(&shown, hid(64), answers).unwrap()
}

type TestNoyito = NoyitoHidPower<SimulatedBus>;

#[tokio::test]
async fn noyito_frames_have_their_sum_and_their_channels() {
    let host = SimulatedHost::new().unwrap();
    let record = plug_noyito(&host, "4-1", "N1", noyito_board(4, 64));
    for (channel, on, off) in [
        (1, [0xa0, 1, 1, 0xa2], [0xa0, 1, 0, 0xa1]),
        (2, [0xa0, 2, 1, 0xa3], [0xa0, 2, 0, 0xa2]),
        (4, [0xa0, 4, 1, 0xa5], [0xa0, 4, 0, 0xa4]),
    ] {
        let config = json!({"channel": channel, "usb": {"serial": "N1"}});
        let open = Open::new::<TestNoyito>(config).await;
        open.call("off").await.unwrap();
        open.call("on").await.unwrap();
        assert_eq!(sent(&record), [off, on]);
        assert_eq!(open.call("status").await.unwrap(), json!("on"));
        assert_eq!(sent(&record), [[0xa0, 0x0f, 0x02, 0xb1]]);
        open.instance.close().await;
    }
    let config = json!({"all_channels": true, "usb": {"serial": "N1"}});
    let all = Open::new::<TestNoyito>(config.clone()).await;
    assert_eq!(all.call("status").await.unwrap(), json!("partial"));
    let text = all.error("state").await.to_string();
    assert_eq!(text, "neither on nor off: 1 on, 2 on, 3 off, 4 on");
    sent(&record);
    all.call("off").await.unwrap();
    let frames: Vec<_> = (1..=4)
        .map(|channel| vec![0xa0, channel, 0, 0xa0 + channel])
        .collect();
    assert_eq!(sent(&record), frames);
    assert_eq!(all.call("status").await.unwrap(), json!("off"));
    contract::check::<TestNoyito>(serde_json::from_value(config).unwrap()).await;
}

#[tokio::test]
async fn noyito_answers_come_in_as_many_reports_as_the_board_likes() {
    let host = SimulatedHost::new().unwrap();
    // 72 bytes are more than one report of 64 holds, and 8 is what some boards have.
    for (name, serial, packet) in [("4-2", "N2", 64), ("4-3", "N3", 8)] {
        plug_noyito(&host, name, serial, noyito_board(8, packet));
        let config = json!({"num_channels": 8, "channel": 8, "usb": {"serial": serial}});
        let open = Open::new::<TestNoyito>(config).await;
        open.call("on").await.unwrap();
        let told = json!({"on": true, "source": "device"});
        assert_eq!(open.call("state").await.unwrap(), told, "{packet}");
    }
}

#[tokio::test]
async fn a_noyito_board_that_does_not_tell_its_channel_is_an_invalid_argument() {
    let host = SimulatedHost::new().unwrap();
    plug_noyito(&host, "4-4", "N4", noyito_board(2, 64));
    plug_noyito(
        &host,
        "4-5",
        "N5",
        answers(|operation| match operation {
            Operation::In(..) => Err(Errno::TIMEDOUT.into()),
            _ => Ok(Vec::new()),
        }),
    );
    for (serial, text) in [
        (
            "N4",
            r#"channel 4 is not in the status response "CH1:OFF\r\nCH2:OFF""#,
        ),
        ("N5", r#"channel 4 is not in the status response """#),
    ] {
        let open = Open::new::<TestNoyito>(json!({"channel": 4, "usb": {"serial": serial}})).await;
        let error = open.error("status").await;
        assert!(matches!(&error, DriverError::InvalidArgument(_)), "{error}");
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn a_noyito_board_without_an_endpoint_for_frames_gets_them_as_requests() {
    let host = SimulatedHost::new().unwrap();
    let shown = Shown {
        name: "4-6",
        number: 6,
        ids: [0x140b, 0x07d7],
        serial: Some("N6"),
        ..Shown::default()
    };
    let nothing = answers(|_| Ok(Vec::new()));
    let record = host.plug_in(&shown, hid_without_output(), nothing).unwrap();
    let open = Open::new::<TestNoyito>(json!({"usb": {"serial": "N6"}})).await;
    record.take();
    open.call("on").await.unwrap();
    let setup = Setup {
        request_type: 0x21,
        request: 0x09,
        value: 0x0200,
        index: 0,
    };
    let frame = vec![0xa0, 1, 1, 0xa2];
    assert_eq!(record.take(), [Operation::ControlOut(setup, frame)]);
}

#[test]
fn what_a_noyito_board_cannot_be_told_is_refused() {
    let of = refused::<TestNoyito>;
    let text = of(json!({"num_channels": 6}));
    assert_eq!(text, "num_channels: num_channels must be 4 or 8, got 6");
    for channel in [0, 5] {
        let text = of(json!({"channel": channel}));
        assert_eq!(
            text,
            format!("channel: channel must be 1 to 4, got {channel}")
        );
    }
}
