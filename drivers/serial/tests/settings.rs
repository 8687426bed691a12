//! What a lease may set of a line, and what is set back. A pty has a speed, flow control, and no
//! more: formats, breaks and modem lines are shown on a USB adapter in the guest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use rig::{Board, Console, Jack, expect};
use rigd_driver::{DriverError, Health};
use rustix::termios::{ControlModes, InputModes};
use serde_json::json;

#[tokio::test]
async fn the_configuration_is_what_a_lease_begins_with() {
    let board = Board::new();
    let config = json!({"url": board.path, "baudrate": 250_000, "flowControl": "xonxoff"});
    let mut console = Console::new(config).await;
    assert_eq!(console.instance.health(), Health::Ready);
    let line = board.line();
    assert_eq!(line.output_speed(), 250_000, "no standard speed");
    assert!(
        line.input_modes
            .contains(InputModes::IXON | InputModes::IXOFF)
    );
    console.begin_lease().await;
    let call = async |method, value| console.call(method, vec![value]).await.unwrap();
    call("set_baudrate", json!(1_500_000)).await;
    call("set_flow_control", json!("rtscts")).await;
    let line = board.line();
    assert_eq!(line.output_speed(), 1_500_000);
    assert!(line.control_modes.contains(ControlModes::CRTSCTS));
    assert!(
        !line
            .input_modes
            .intersects(InputModes::IXON | InputModes::IXOFF)
    );
    let settings = console.call("get_settings", vec![]).await.unwrap();
    let wanted = json!({
        "baudrate": 1_500_000, "format": "8N1", "flow_control": "rtscts", "dtr": true, "rts": true
    });
    assert_eq!(settings, wanted);
    console.end_lease().await;
    let line = board.line();
    assert_eq!(line.output_speed(), 250_000);
    assert!(!line.control_modes.contains(ControlModes::CRTSCTS));
    assert!(
        line.input_modes
            .contains(InputModes::IXON | InputModes::IXOFF)
    );
}

#[tokio::test]
async fn what_a_device_refuses_is_an_error_and_changes_nothing() {
    let board = Board::new();
    let console = Console::on(&board.path).await;
    console
        .call("set_baudrate", vec![json!(9600)])
        .await
        .unwrap();
    // Ptys have 8N1 only, and say yes to everything.
    let error = console
        .call("set_format", vec![json!("7E1")])
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    let path = board.path.display();
    assert_eq!(error.to_string(), format!("{path} does not do 7 data bits"));
    let settings = console.call("get_settings", vec![]).await.unwrap();
    assert_eq!(settings["format"], "8N1");
    assert_eq!(board.line().output_speed(), 9600);
    let mut stream = console.connect().await;
    board.print(b"still here").await;
    expect(&mut stream, "still here").await;
}

#[tokio::test]
async fn settings_that_no_line_has_are_refused() {
    let board = Board::new();
    let console = Console::on(&board.path).await;
    for (method, value) in [
        ("set_baudrate", json!(0)),
        ("set_baudrate", json!(-1)),
        ("set_format", json!("9N1")),
        ("set_flow_control", json!("dtrdsr")),
        ("send_break", json!(5001)),
    ] {
        let error = console.call(method, vec![value]).await.unwrap_err();
        assert!(
            matches!(error, DriverError::InvalidArgument(_)),
            "{method}: {error:?}"
        );
    }
    console.call("send_break", vec![]).await.unwrap();
    console.call("send_break", vec![json!(0)]).await.unwrap();
}

#[tokio::test]
async fn a_format_that_the_device_does_not_do_leaves_it_faulty() {
    let jack = Jack::new();
    let _board = jack.plug();
    let config = json!({"url": jack.link, "dataBits": 7, "parity": "even"});
    let console = Console::new(config).await;
    let reason = format!("{} does not do 7 data bits", jack.link.display());
    assert_eq!(console.instance.health(), Health::Faulty(reason));
}

#[tokio::test]
async fn a_loop_remembers_what_is_set_until_the_lease_ends() {
    let mut console = Console::new(json!({"url": "loop://"})).await;
    console.begin_lease().await;
    console
        .call("set_format", vec![json!("7e2")])
        .await
        .unwrap();
    console.call("send_break", vec![json!(1)]).await.unwrap();
    let settings = console.call("get_settings", vec![]).await.unwrap();
    assert_eq!(settings["format"], "7E2");
    console.new_lease().await;
    let settings = console.call("get_settings", vec![]).await.unwrap();
    assert_eq!(settings["format"], "8N1");
}
