//! What a client gets of what was printed before it came.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use rig::{Board, Console, expect};
use rigd_driver::{ByteStream, KeyKind, KeyOwner};
use serde_json::json;

/// Somebody who sees when something has arrived.
async fn stream_as(console: &Console, kind: KeyKind) -> (KeyOwner, ByteStream) {
    let owner = KeyOwner::issue(kind);
    let key = owner.key();
    let stream = console.instance.stream(&key, "connect").await.unwrap();
    (owner, stream)
}

#[tokio::test]
async fn the_first_client_of_a_lease_gets_the_last_bytes_of_its_own_lease() {
    let board = Board::new();
    let mut console = Console::new(json!({"url": board.path, "history": 10})).await;
    let (_key, mut witness) = stream_as(&console, KeyKind::Daemon).await;
    board.print(b"before any lease").await;
    expect(&mut witness, "before any lease").await;
    console.begin_lease().await;
    board.print(b"ab").await;
    expect(&mut witness, "ab").await;
    // A hook that watches takes nothing from the client.
    let (_hook_key, mut hook) = stream_as(&console, KeyKind::Hook).await;
    board.print(b"cd").await;
    expect(&mut witness, "cd").await;
    expect(&mut hook, "cd").await;
    let mut first = console.connect().await;
    expect(&mut first, "abcd").await;
    let mut second = console.connect().await;
    board.print(b"ef").await;
    expect(&mut first, "ef").await;
    expect(&mut second, "ef").await;

    console.end_lease().await;
    let (_key, mut witness) = stream_as(&console, KeyKind::Daemon).await;
    board.print(b"between").await;
    expect(&mut witness, "between").await;
    console.begin_lease().await;
    board.print(b"0123456789abc").await;
    expect(&mut witness, "0123456789abc").await;
    let mut first = console.connect().await;
    expect(&mut first, "3456789abc").await;
}

#[tokio::test]
async fn it_is_off_unless_asked_for() {
    let board = Board::new();
    let mut console = Console::on(&board.path).await;
    console.begin_lease().await;
    let (_key, mut witness) = stream_as(&console, KeyKind::Daemon).await;
    board.print(b"boot").await;
    expect(&mut witness, "boot").await;
    let mut stream = console.connect().await;
    board.print(b"login").await;
    expect(&mut stream, "login").await;
}
