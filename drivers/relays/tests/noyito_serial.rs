//! The frames of NOYITO boards with a serial port, byte by byte over a pty.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod bench;

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bench::{Open, refused};
use rigd_driver::{DriverError, Health, contract};
use rigd_drivers_relays::NoyitoSerialPower;
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::{Errno, dup},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::tcgetattr,
};
use serde_json::{Value, json};

/// A board behind a pty, which answers `FF` with a text.
struct Board {
    path: PathBuf,
    heard: Arc<Mutex<Vec<u8>>>,
    /// Keeps the board's end from hearing a hang-up between two commands.
    slave: Option<File>,
    master: Option<OwnedFd>,
    reader: Option<JoinHandle<()>>,
}

impl Board {
    fn new(answer: &'static [u8]) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(&path)
            .unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut board = File::from(dup(&master).unwrap());
        let told = heard.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = board.read(&mut bytes) {
                told.lock().unwrap().extend(&bytes[..count]);
                if bytes[..count].contains(&0xff) {
                    board.write_all(answer).unwrap();
                }
            }
        });
        Self {
            path,
            heard,
            slave: Some(slave),
            master: Some(master),
            reader: Some(reader),
        }
    }

    fn config(&self, rest: Value) -> Value {
        let mut config = json!({"port": self.path, "switching": {"minOffTime": 0}});
        let rest = rest.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(rest);
        config
    }

    /// Waits for that many bytes, and that no more come.
    fn heard(&self, count: usize) -> Vec<u8> {
        let end = Instant::now() + Duration::from_secs(10);
        while self.heard.lock().unwrap().len() < count && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // The last end of the slave: the reader hears of it and ends.
        drop((self.slave.take(), self.master.take()));
        if let Some(reader) = self.reader.take() {
            reader.join().ok();
        }
    }
}

const QUIET: &[u8] = b"";

#[tokio::test(flavor = "multi_thread")]
async fn frames_have_their_channel_and_their_sum() {
    let board = Board::new(QUIET);
    for (rest, method, bytes) in [
        (json!({}), "on", &[0xa0, 1, 1, 0xa2][..]),
        (json!({}), "off", &[0xa0, 1, 0, 0xa1]),
        (json!({"channel": 1}), "on", &[0xa0, 1, 1, 0xa2]),
        (json!({"channel": 2}), "on", &[0xa0, 2, 1, 0xa3]),
        (json!({"channel": 2}), "off", &[0xa0, 2, 0, 0xa2]),
        (
            json!({"all_channels": true}),
            "on",
            &[0xa0, 1, 1, 0xa2, 0xa0, 2, 1, 0xa3],
        ),
        (
            json!({"all_channels": true, "channel": 2}),
            "off",
            &[0xa0, 1, 0, 0xa1, 0xa0, 2, 0, 0xa2],
        ),
    ] {
        let open = Open::new::<NoyitoSerialPower>(board.config(rest.clone())).await;
        assert_eq!(open.call(method).await.unwrap(), Value::Null);
        assert_eq!(board.heard(bytes.len()), bytes, "{rest} {method}");
        let settings = tcgetattr(board.slave.as_ref().unwrap()).unwrap();
        assert_eq!(settings.output_speed(), 9600);
        open.instance.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_channels_of_one_board_have_two_instances() {
    let board = Board::new(b"CH1:ON\r\nCH2:OFF\r\n");
    let one = Open::new::<NoyitoSerialPower>(board.config(json!({"channel": 1}))).await;
    let two = Open::new::<NoyitoSerialPower>(board.config(json!({"channel": 2}))).await;
    let (a, b) = tokio::join!(one.call("on"), two.call("off"));
    a.and(b).unwrap();
    let heard = board.heard(8);
    let (on, off) = ([0xa0, 1, 1, 0xa2], [0xa0, 2, 0, 0xa2]);
    // One whole frame after the other.
    assert!(
        heard == [on, off].concat() || heard == [off, on].concat(),
        "{heard:02x?}"
    );
    assert_eq!(one.call("status").await.unwrap(), json!("on"));
    assert_eq!(two.call("status").await.unwrap(), json!("off"));
    assert_eq!(board.heard(2), [0xff, 0xff]);
}

/// What the board says, and what is made of it: of channel 1, 2, and both.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_read_as_the_boards_write_them() {
    let none = "INVALID";
    for (answer, words) in [
        (&b"CH1:ON\r\nCH2:ON\r\n"[..], ["on", "on", "on"]),
        (b"CH1:OFF\r\nCH2:OFF\r\n", ["off", "off", "off"]),
        (b"CH1:ON\r\nCH2:OFF\r\n", ["on", "off", "partial"]),
        (b"ch1:off\nch2:on\n", ["off", "on", "partial"]),
        (b"Ch1: On \r\nCh2: oFF", ["on", "off", "partial"]),
        (b"CH1:ON\r\n", ["on", none, none]),
        (b"CH1:ON\r\nCH2:?\r\n", ["on", none, none]),
        (b"\xff\xfegarbage\r\nCH2:ON\r\n", [none, "on", none]),
        (b"", [none, none, none]),
    ] {
        let board = Board::new(answer);
        let all = [
            json!({"channel": 1}),
            json!({"channel": 2}),
            json!({"all_channels": true}),
        ];
        for (rest, word) in all.into_iter().zip(words) {
            let open = Open::new::<NoyitoSerialPower>(board.config(rest)).await;
            let shown = String::from_utf8_lossy(answer);
            match open.call("status").await {
                Ok(told) => assert_eq!(told, word, "{shown:?}"),
                Err(error) => {
                    assert_eq!(word, none, "{shown:?}: {error}");
                    assert!(
                        matches!(error, DriverError::InvalidArgument(_)),
                        "{error:?}"
                    );
                }
            }
            open.instance.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_board_is_listened_to_for_two_seconds() {
    let board = Board::new(QUIET);
    let open = Open::new::<NoyitoSerialPower>(board.config(json!({}))).await;
    let began = Instant::now();
    let error = open.error("status").await;
    let took = began.elapsed().as_secs_f64();
    assert!((1.9..4.0).contains(&took), "{took}");
    assert_eq!(
        error.to_string(),
        "channel 1 is not in the status response \"\""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_what_was_commanded_or_what_the_board_says() {
    let board = Board::new(b"CH1:OFF\r\nCH2:ON\r\n");
    let open = Open::new::<NoyitoSerialPower>(board.config(json!({"channel": 2}))).await;
    let told = json!({"on": true, "source": "device"});
    assert_eq!(open.call("state").await.unwrap(), told);
    let both = Open::new::<NoyitoSerialPower>(board.config(json!({"all_channels": true}))).await;
    let text = both.error("state").await.to_string();
    assert_eq!(text, "neither on nor off: 1 off, 2 on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_program_has_is_waited_for_and_named() {
    let board = Board::new(QUIET);
    let open = Open::new::<NoyitoSerialPower>(board.config(json!({}))).await;
    let other = File::open(&board.path).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    let error = open.error("on").await;
    let path = board.path.display();
    assert_eq!(
        error.to_string(),
        format!("cannot speak to {path}: another program uses it")
    );
    assert!(board.heard(0).is_empty());
    let on = tokio::spawn(async move {
        open.call("on").await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    flock(&other, FlockOperation::Unlock).unwrap();
    on.await.unwrap();
    assert_eq!(board.heard(4), [0xa0, 1, 1, 0xa2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_goes_away_is_unavailable() {
    let missing = json!({"port": "/dev/rigd-no-such-port"});
    let open = Open::new::<NoyitoSerialPower>(missing).await;
    let Health::Absent(why) = open.instance.health() else {
        panic!("{:?}", open.instance.health());
    };
    assert!(why.contains("/dev/rigd-no-such-port"), "{why}");

    let board = Board::new(QUIET);
    let open = Open::new::<NoyitoSerialPower>(board.config(json!({}))).await;
    open.call("on").await.unwrap();
    drop(board);
    let error = open.error("on").await;
    assert!(matches!(&error, DriverError::Unavailable(_)), "{error:?}");
    let io = std::io::Error::from(Errno::IO).to_string();
    assert!(error.to_string().contains("it is not there") || error.to_string().contains(&io));
}

#[test]
fn what_the_board_cannot_be_told_is_refused() {
    let of = refused::<NoyitoSerialPower>;
    for channel in [0, 3, 255] {
        let text = of(json!({"port": "/dev/x", "channel": channel}));
        assert_eq!(
            text,
            format!("channel: channel must be 1 or 2, got {channel}")
        );
    }
    let text = of(json!({}));
    assert!(text.starts_with("port: names no device"), "{text}");
    let text = of(json!({"port": "ttyUSB0"}));
    assert_eq!(text, "port: ttyUSB0 does not start with /dev/");
    let text = of(json!({"usb": {"port": "x"}}));
    assert!(text.starts_with("usb.port: "), "{text}");
    let text = of(json!({"port": "/dev/x", "chanel": 1}));
    assert!(text.contains("unknown field `chanel`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_noyito_board_keeps_the_contract() {
    let board = Board::new(QUIET);
    let config = serde_json::from_value(board.config(json!({}))).unwrap();
    contract::check::<NoyitoSerialPower>(config).await;
}
