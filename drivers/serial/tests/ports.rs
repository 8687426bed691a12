//! Ports: their kinds, their absence and loss, and their settings.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use bytes::Bytes;
use rig::{Board, Console, SOON, config, expect, next, send};
use rigd_driver::{Driver, DriverError, Health, contract};
use rigd_drivers_serial::{Serial, SerialConfig};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

#[tokio::test]
async fn keeps_the_contract_on_every_kind_of_port() {
    contract::check::<Serial>(config(json!({"url": "loop://"}))).await;
    let board = Board::new();
    contract::check::<Serial>(config(json!({"url": board.path, "cps": 100}))).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("socket://{}", listener.local_addr().unwrap());
    contract::check::<Serial>(config(json!({"url": url}))).await;
}

#[tokio::test]
async fn a_lost_port_ends_streams_with_the_reason() {
    let board = Board::new();
    let path = board.path.clone();
    let console = Console::on(&path).await;
    let mut stream = console.connect().await;
    board.print(b"last words").await;
    expect(&mut stream, "last words").await;
    drop(board);
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    let text = format!("{} was lost: ", path.display());
    assert!(error.to_string().starts_with(&text), "{error}");
    assert!(next(&mut stream).await.is_none());
    let error = stream
        .writer
        .send(Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    let Health::Absent(reason) = console.instance.health() else {
        panic!("{:?}", console.instance.health());
    };
    assert!(reason.starts_with(&text), "{reason}");
}

#[tokio::test]
async fn an_absent_port_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("ttyBoard");
    let console = Console::new(json!({"url": link})).await;
    let reason = format!("{} does not exist", link.display());
    assert_eq!(console.instance.health(), Health::Absent(reason));
    let error = console
        .instance
        .stream(&console.owner.key(), "connect")
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    let board = Board::new();
    std::os::unix::fs::symlink(&board.path, &link).unwrap();
    let ready = async {
        // Instances tell their health only when asked.
        while console.instance.health() != Health::Ready {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, ready).await.expect("it is tried again");
    let mut stream = console.connect().await;
    board.print(b"here").await;
    expect(&mut stream, "here").await;
}

#[tokio::test]
async fn a_port_belongs_to_one_instance() {
    let board = Board::new();
    let first = Console::on(&board.path).await;
    let second = Console::new(json!({"url": board.path})).await;
    let reason = format!("{} is in use by another program", board.path.display());
    assert_eq!(second.instance.health(), Health::Faulty(reason));
    let mut stream = first.connect().await;
    send(&mut stream, "mine").await;
    assert_eq!(board.hear(4).await, b"mine");
}

#[tokio::test]
async fn modem_lines_that_a_pty_lacks_are_an_error_in_known_words() {
    let board = Board::new();
    let mut console = Console::on(&board.path).await;
    for method in ["set_dtr", "set_rts"] {
        let error = console.call(method, vec![json!(true)]).await.unwrap_err();
        assert!(matches!(error, DriverError::Device(_)), "{error:?}");
        assert_eq!(
            error.to_string(),
            "[Errno 25] Inappropriate ioctl for device"
        );
        let error = console.call(method, vec![json!("high")]).await.unwrap_err();
        assert!(
            matches!(error, DriverError::InvalidArgument(_)),
            "{error:?}"
        );
    }
    // The next lease tries to raise them, fails the same way, and works.
    console.new_lease().await;
    console.connect().await;
}

#[tokio::test]
async fn a_terminal_server_is_a_port_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("socket://{}", listener.local_addr().unwrap());
    let console = Console::new(json!({"url": url})).await;
    let (mut server, _) = listener.accept().await.unwrap();
    let mut stream = console.connect().await;
    send(&mut stream, "hi").await;
    let mut buffer = [0; 2];
    server.read_exact(&mut buffer).await.unwrap();
    server.write_all(b"login: ").await.unwrap();
    expect(&mut stream, "login: ").await;
    let error = console
        .call("set_dtr", vec![json!(true)])
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Unimplemented(_)), "{error:?}");
    drop(server);
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{url} was lost: the other side is gone")
    );
}

#[test]
fn configs_that_cannot_be_right_are_found_without_hardware() {
    let check = |value| Serial::check(&config(value)).map_err(|e| format!("{}: {e}", e.key));
    assert_eq!(check(json!({"url": "/dev/ttyUSB0"})), Ok(()));
    let text = check(json!({"url": "rfc2217://h:1"})).unwrap_err();
    assert!(
        text.starts_with("url: rfc2217:// does not work yet; a device path"),
        "{text}"
    );
    let text = check(json!({"url": "loop://", "baudrate": 0})).unwrap_err();
    assert!(text.starts_with("baudrate: "), "{text}");
    let text = check(json!({"url": "loop://", "cps": 1e-300})).unwrap_err();
    assert!(text.starts_with("cps: "), "{text}");
    let defaults = config(json!({"url": "loop://"}));
    assert_eq!((defaults.baudrate, defaults.cps), (115_200, None));
    assert!(defaults.check_present && !defaults.disable_hupcl);
    assert!(serde_json::from_value::<SerialConfig>(json!({"baudrate": 9600})).is_err());
}
