//! `hold: lease`: who has the port when.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use std::{path::Path, time::Duration};

use rig::{Board, Console, Jack, SOON, expect, next, send};
use rigd_driver::{DriverError, Health, KeyKind, KeyOwner};
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
};
use serde_json::json;
use tokio::time::timeout;

/// Whether somebody has the port for itself.
fn is_held(path: &Path) -> bool {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => flock(&fd, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK),
        Err(error) => panic!("{error}"),
    }
}

async fn until_held(path: &Path, held: bool) {
    let waiting = async {
        while is_held(path) != held {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waiting).await.expect("another holder");
}

#[tokio::test]
async fn the_port_is_free_for_hooks_and_tools() {
    let board = Board::new();
    let config = json!({"url": board.path, "hold": "lease", "history": 100});
    let mut console = Console::new(config).await;
    assert_eq!(
        console.instance.health(),
        Health::Ready,
        "lent is not absent"
    );
    assert!(!is_held(&board.path));
    for _ in 0..2 {
        console.begin_lease().await;
        assert!(!is_held(&board.path), "beforeLease has it");
        console.instance.clients_start().await;
        until_held(&board.path, true).await;
        board.print(b"U-Boot").await;
        let mut stream = console.connect().await;
        expect(&mut stream, "U-Boot").await;
        send(&mut stream, "help").await;
        assert_eq!(board.hear(4).await, b"help");
        console.owner.revoke("the lease ended");
        console.instance.clients_end().await;
        assert!(!is_held(&board.path), "afterLease has it");
        let end = next(&mut stream).await;
        assert!(matches!(end, Some(Err(DriverError::Fenced(_)))), "{end:?}");
        console.end_lease().await;
    }
}

#[tokio::test]
async fn a_hook_that_uses_the_instrument_has_it_as_long() {
    let board = Board::new();
    let mut console = Console::new(json!({"url": board.path, "hold": "lease"})).await;
    console.begin_lease().await;
    let hook = KeyOwner::issue(KeyKind::Hook);
    let key = hook.key();
    let mut stream = console.instance.stream(&key, "connect").await.unwrap();
    assert!(is_held(&board.path));
    send(&mut stream, "reset").await;
    assert_eq!(board.hear(5).await, b"reset");
    drop(stream);
    until_held(&board.path, false).await;
    let speed = vec![json!(9600)];
    let call = console.instance.call(&key, None, "set_baudrate", speed);
    call.await.unwrap();
    until_held(&board.path, false).await;
    // What it set counts for the lease.
    console.instance.clients_start().await;
    until_held(&board.path, true).await;
    assert_eq!(board.line().output_speed(), 9600);
}

#[tokio::test]
async fn a_port_that_is_missing_when_it_is_wanted_is_absent_until_the_lease_ends() {
    let jack = Jack::new();
    let mut console = Console::new(json!({"url": jack.link, "hold": "lease"})).await;
    assert_eq!(console.instance.health(), Health::Ready);
    console.begin_lease().await;
    console.instance.clients_start().await;
    let health = console.until(|health| *health != Health::Ready).await;
    let reason = format!("{} does not exist", jack.link.display());
    assert_eq!(health, Health::Absent(reason));
    console.instance.clients_end().await;
    console.until(|health| *health == Health::Ready).await;
}

#[tokio::test]
async fn always_is_always() {
    let board = Board::new();
    let mut console = Console::on(&board.path).await;
    assert!(is_held(&board.path));
    console.begin_lease().await;
    console.instance.clients_start().await;
    console.instance.clients_end().await;
    assert!(is_held(&board.path));
    console.instance.close().await;
    assert!(!is_held(&board.path));
}
