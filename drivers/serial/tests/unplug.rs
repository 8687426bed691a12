//! A port that is lost and comes back while clients are attached.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use rig::{Console, Jack, expect, read_to, send};
use rigd_driver::{DriverError, Health, KeyKind, KeyOwner};
use serde_json::json;

#[tokio::test]
async fn clients_stay_attached_see_a_marked_gap_and_go_on() {
    let jack = Jack::new();
    let board = jack.plug();
    let link = jack.link.display();
    let console = Console::on(&jack.link).await;
    let (mut one, mut two) = (console.connect().await, console.connect().await);
    board.print(b"last words").await;
    expect(&mut one, "last words").await;
    drop(board);
    let lost = format!("{link} was lost: ");
    for stream in [&mut one, &mut two] {
        let text = read_to(stream, "; what is sent now is discarded]\r\n").await;
        let at = text.find("\r\n[rigd: ").expect("a marker");
        assert!(
            text[at..].starts_with(&format!("\r\n[rigd: {lost}")),
            "{text}"
        );
    }
    let health = console.until(|health| *health != Health::Ready).await;
    assert!(
        matches!(&health, Health::Absent(reason) if reason.starts_with(&lost)),
        "{health:?}"
    );
    // Typed at a board that is not there: the next one must not hear it.
    send(&mut one, "reboot\n").await;
    let key = console.owner.key();
    let error = console.instance.stream(&key, "connect").await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");

    let board = jack.plug();
    console.until(|health| *health == Health::Ready).await;
    for stream in [&mut one, &mut two] {
        let text = read_to(stream, "]\r\n").await;
        let back = format!("\r\n[rigd: {link} is back after ");
        assert!(text.starts_with(&back), "{text}");
        assert!(
            text.ends_with(" s; 7 bytes sent meanwhile were discarded]\r\n"),
            "{text}"
        );
    }
    board.print(b"U-Boot").await;
    expect(&mut one, "U-Boot").await;
    expect(&mut two, "U-Boot").await;
    send(&mut two, "help\n").await;
    assert_eq!(board.hear(5).await, b"help\n");
    assert!(board.is_quiet());
}

#[tokio::test]
async fn a_port_that_comes_back_is_set_as_the_lease_had_set_it() {
    let jack = Jack::new();
    let board = jack.plug();
    let mut console = Console::on(&jack.link).await;
    console.begin_lease().await;
    let set = |baudrate: u32| vec![json!(baudrate)];
    console.call("set_baudrate", set(57_600)).await.unwrap();
    drop(board);
    console.until(|health| *health != Health::Ready).await;
    let board = jack.plug();
    console.until(|health| *health == Health::Ready).await;
    assert_eq!(board.line().output_speed(), 57_600);
    // A lease that ends while nothing is plugged in is over all the same.
    drop(board);
    console.until(|health| *health != Health::Ready).await;
    console.new_lease().await;
    let board = jack.plug();
    console.until(|health| *health == Health::Ready).await;
    assert_eq!(board.line().output_speed(), 115_200);
}

#[tokio::test]
async fn a_lease_that_begins_in_a_gap_reads_nothing_of_the_one_before() {
    let jack = Jack::new();
    let board = jack.plug();
    let mut console = Console::new(json!({"url": jack.link, "history": 1000})).await;
    console.begin_lease().await;
    let daemon = KeyOwner::issue(KeyKind::Daemon);
    let key = daemon.key();
    let mut witness = console.instance.stream(&key, "connect").await.unwrap();
    board.print(b"secret").await;
    expect(&mut witness, "secret").await;
    drop(board);
    console.until(|health| *health != Health::Ready).await;
    console.new_lease().await;
    let board = jack.plug();
    console.until(|health| *health == Health::Ready).await;
    let mut stream = console.connect().await;
    board.print(b"public").await;
    let text = read_to(&mut stream, "public").await;
    let back = format!("\r\n[rigd: {} is back after ", jack.link.display());
    assert!(text.starts_with(&back), "{text:?}");
    assert!(!text.contains("secret"), "{text:?}");
}

#[tokio::test]
async fn what_was_printed_before_the_loss_is_read_before_the_marker() {
    let jack = Jack::new();
    let board = jack.plug();
    let console = Console::on(&jack.link).await;
    let mut stream = console.connect().await;
    board.print(&[b'x'; 3000]).await;
    board.print(b"panic").await;
    let before = read_to(&mut stream, "panic").await;
    assert_eq!(before.len(), 3005);
    drop(board);
    let text = read_to(&mut stream, "discarded]\r\n").await;
    assert!(text.starts_with("\r\n[rigd: "), "{text:?}");
}

#[tokio::test]
async fn a_device_is_named_by_what_it_is() {
    let jack = Jack::new();
    let device = json!({"device": {"path": jack.link}});
    let console = Console::new(device).await;
    assert!(matches!(console.instance.health(), Health::Absent(_)));
    let board = jack.plug();
    console.until(|health| *health == Health::Ready).await;
    let mut stream = console.connect().await;
    board.print(b"here").await;
    expect(&mut stream, "here").await;
    drop(board);
    let text = read_to(&mut stream, "discarded]\r\n").await;
    let lost = format!("\r\n[rigd: path {} was lost: ", jack.link.display());
    assert!(text.starts_with(&lost), "{text}");
}
