//! Ports: their kinds, their absence and loss, and their settings.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use rig::{Board, Console, SOON, config, expect, read_to, send};
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
    console.until(|health| *health == Health::Ready).await;
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
    // The next lease has nothing to restore.
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
    let lost = format!("{url} was lost: the other side is gone");
    let marker = format!("\r\n[rigd: {lost}; what is sent now is discarded]\r\n");
    expect(&mut stream, &marker).await;
    let health = console.until(|health| *health != Health::Ready).await;
    assert_eq!(health, Health::Absent(lost));
    let (mut server, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    let marker = read_to(&mut stream, "]\r\n").await;
    assert!(
        marker.starts_with(&format!("\r\n[rigd: {url} is back after ")),
        "{marker}"
    );
    server.write_all(b"again").await.unwrap();
    expect(&mut stream, "again").await;
}

#[test]
fn configs_that_cannot_be_right_are_found_without_hardware() {
    let check = |value| Serial::check(&config(value)).map_err(|e| format!("{}: {e}", e.key));
    assert_eq!(check(json!({"url": "/dev/ttyUSB0"})), Ok(()));
    let text = check(json!({"url": "tcp://h:1"})).unwrap_err();
    assert!(text.starts_with("url: tcp:// is not known"), "{text}");
    let text = check(json!({"url": "loop://", "baudrate": 0})).unwrap_err();
    assert!(text.starts_with("baudrate: "), "{text}");
    for (key, value) in [
        ("cps", json!(1e-300)),
        ("dataBits", json!(9)),
        ("stopBits", json!(3)),
        ("history", json!(1024 * 1024 + 1)),
        ("capture", json!({"directory": "logs"})),
    ] {
        let mut config = json!({"url": "loop://"});
        config[key] = value;
        let text = check(config).unwrap_err();
        assert!(text.starts_with(key), "{text}");
    }
    let text = check(json!({"url": "loop://", "flowControl": "rtscts", "rts": false})).unwrap_err();
    assert!(text.starts_with("rts: "), "{text}");
    let defaults = config(json!({"url": "loop://"}));
    assert_eq!((defaults.baudrate, defaults.cps), (115_200, None));
    assert!(defaults.check_present && !defaults.disable_hupcl);
    for (config, text) in [
        (json!({"baudrate": 9600}), "url: is missing"),
        (
            json!({"url": "loop://", "device": {"byId": "usb-FTDI"}}),
            "device: stands beside",
        ),
        (json!({"device": {}}), "device: names no device"),
        (
            json!({"device": {"usb": {"port": "x"}}}),
            "device.usb.port: ",
        ),
    ] {
        let found = check(config).unwrap_err();
        assert!(found.starts_with(text), "{found}");
    }
    assert!(serde_json::from_value::<SerialConfig>(json!({"uri": "loop://"})).is_err());
}
