//! Streams on a console: who reads what, who writes when, and what ends them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use bytes::Bytes;
use rig::{Board, Console, expect, next, send};
use rigd_driver::{ByteStream, DriverError, Health, KeyKind, KeyOwner};
use serde_json::{Value, json};
use tokio::time::Instant;

#[tokio::test]
async fn bytes_pass_untouched_both_ways() {
    let board = Board::new();
    let console = Console::on(&board.path).await;
    let mut stream = console.connect().await;
    // Everything that a tty in its usual mode would change or act upon.
    let all: Vec<u8> = (0..=255).collect();
    send(&mut stream, all.clone()).await;
    assert_eq!(board.hear(256).await, all);
    board.print(&all).await;
    let mut got = Vec::new();
    while got.len() < 256 {
        got.extend_from_slice(&next(&mut stream).await.unwrap().unwrap());
    }
    assert_eq!(got, all);
    assert!(board.is_quiet(), "nothing is echoed");
}

#[tokio::test]
async fn every_stream_reads_everything_from_its_opening_on() {
    let board = Board::new();
    let console = Console::on(&board.path).await;
    let mut first = console.connect().await;
    board.print(b"booting\r\n").await;
    expect(&mut first, "booting\r\n").await;
    let mut second = console.connect().await;
    board.print(b"login: ").await;
    expect(&mut first, "login: ").await;
    expect(&mut second, "login: ").await;
}

#[tokio::test]
async fn whole_frames_of_two_writers_alternate() {
    const FRAME: usize = 16 * 1024;
    const FRAMES: usize = 8;
    let board = Board::new();
    let console = Console::on(&board.path).await;
    let (mut a, mut b) = (console.connect().await, console.connect().await);
    let sending = async {
        let many = async |stream: &mut ByteStream, byte: u8| {
            for _ in 0..FRAMES {
                send(stream, vec![byte; FRAME]).await;
            }
        };
        tokio::join!(many(&mut a, b'a'), many(&mut b, b'b'));
    };
    let ((), heard) = tokio::join!(sending, board.hear(2 * FRAMES * FRAME));
    for (index, frame) in heard.chunks(FRAME).enumerate() {
        assert!(
            frame.iter().all(|byte| byte == &frame[0]),
            "frame {index} is mixed"
        );
    }
    let order: Vec<u8> = heard.chunks(FRAME).map(|frame| frame[0]).collect();
    assert!(
        order.windows(3).all(|w| w[0] != w[1] || w[1] != w[2]),
        "{order:?} starves one"
    );
}

#[tokio::test]
async fn a_half_closed_stream_reads_on_until_another_opens() {
    let board = Board::new();
    let console = Console::on(&board.path).await;
    let mut old = console.connect().await;
    old.writer.finish().await.unwrap();
    board.print(b"still").await;
    expect(&mut old, "still").await;
    let mut whole = console.connect().await;
    assert!(
        next(&mut old).await.is_none(),
        "it yields to the new stream"
    );
    let mut newest = console.connect().await;
    board.print(b"both").await;
    expect(&mut whole, "both").await;
    expect(&mut newest, "both").await;
}

#[tokio::test]
async fn close_ends_streams_and_keeps_the_port() {
    let board = Board::new();
    let console = Console::on(&board.path).await;
    assert_eq!(console.call("close", vec![]).await.unwrap(), Value::Null);
    let mut stream = console.connect().await;
    assert_eq!(console.call("close", vec![]).await.unwrap(), Value::Null);
    assert!(next(&mut stream).await.is_none());
    let error = stream
        .writer
        .send(Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Cancelled(_)), "{error:?}");
    let mut stream = console.connect().await;
    send(&mut stream, "ok").await;
    assert_eq!(board.hear(2).await, b"ok");
    assert_eq!(console.instance.health(), Health::Ready);
}

#[tokio::test]
async fn nothing_received_between_leases_is_readable_in_the_next() {
    let board = Board::new();
    let mut console = Console::on(&board.path).await;
    let mut old = console.connect().await;
    console.new_lease().await;
    assert!(matches!(
        next(&mut old).await,
        Some(Err(DriverError::Fenced(_)))
    ));
    // A witness on the instance sees when the secret has arrived.
    let witness_key = KeyOwner::issue(KeyKind::Daemon);
    let mut witness = console
        .instance
        .stream(&witness_key.key(), "connect")
        .await
        .unwrap();
    board.print(b"secret").await;
    expect(&mut witness, "secret").await;
    console.new_lease().await;
    let mut stream = console.connect().await;
    board.print(b"public").await;
    expect(&mut stream, "public").await;
}

#[tokio::test]
async fn a_stalled_reader_loses_bytes_and_slows_nobody() {
    const LINES: usize = 100_000;
    let board = Board::new();
    let console = Console::on(&board.path).await;
    let mut stalled = console.connect().await;
    let mut reading = console.connect().await;
    let line = |n: usize| format!("line {n:>10}\r\n").into_bytes();
    let size = line(0).len();
    let printing = async {
        for n in 0..LINES {
            board.print(&line(n)).await;
        }
    };
    let reading = async {
        let mut all = Vec::with_capacity(LINES * size);
        while all.len() < LINES * size {
            all.extend_from_slice(&next(&mut reading).await.unwrap().unwrap());
        }
        all
    };
    let ((), all) = tokio::join!(printing, reading);
    assert_eq!(all.len(), LINES * size);
    for (n, got) in all.chunks(size).enumerate() {
        assert_eq!(got, line(n));
    }
    let mut late = Vec::new();
    while late.len() < 1024 * 1024 {
        late.extend_from_slice(&next(&mut stalled).await.unwrap().unwrap());
    }
    assert_eq!(
        late,
        all[all.len() - 1024 * 1024..],
        "it gets the last mebibyte"
    );
}

#[tokio::test]
async fn a_paced_port_sends_byte_by_byte() {
    let board = Board::new();
    let console = Console::new(json!({"url": board.path, "cps": 50})).await;
    let mut stream = console.connect().await;
    let started = Instant::now();
    send(&mut stream, "abcdef").await;
    // Five gaps of 20 ms, none before the first byte or after the last.
    assert!(
        started.elapsed().as_millis() >= 100,
        "{:?}",
        started.elapsed()
    );
    assert_eq!(board.hear(6).await, b"abcdef");
}

#[tokio::test]
async fn a_loop_echoes_to_each_stream_alone() {
    let console = Console::new(json!({"url": "loop://", "cps": 10})).await;
    let (mut a, mut b) = (console.connect().await, console.connect().await);
    send(&mut b, "b").await;
    tokio::time::pause();
    let started = Instant::now();
    send(&mut a, "abc").await;
    // Two gaps of 100 ms; the clock has a resolution of 1 ms.
    let took = started.elapsed().as_millis();
    assert!((200..=204).contains(&took), "{took}");
    for wanted in ["a", "b", "c"] {
        assert_eq!(next(&mut a).await.unwrap().unwrap(), wanted);
    }
    assert_eq!(next(&mut b).await.unwrap().unwrap(), "b");
    for method in ["set_dtr", "set_rts"] {
        assert_eq!(
            console.call(method, vec![json!(false)]).await.unwrap(),
            Value::Null
        );
    }
}
