//! The console: many clients, stalled ones, and what a lease leaves behind.

mod rig;

use std::sync::Arc;

use futures::StreamExt;
use rig::{Rig, image};
use rigd_driver::DriverError;
use serde_json::json;
use tokio::time::timeout;

#[tokio::test]
async fn input_is_echoed_edited_and_discarded_while_off() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let mut early = rig.console().await;
    early.send("root\necho lost\n").await;
    let mut console = rig.boot(b"image").await;
    let output = early.expect("rpi4 login: ").await;
    assert!(!output.contains("lost"), "{output}");
    console.send("root\r").await;
    assert_eq!(
        console.expect("root@rpi4:~# ").await,
        "root\r\nroot@rpi4:~# "
    );
    console.send("echo abx\x7fc\r\n").await;
    assert_eq!(
        console.expect("~# ").await,
        "echo abx\x08 \x08c\r\nabc\r\nroot@rpi4:~# "
    );
    console.send("half\x03").await;
    assert_eq!(console.expect("~# ").await, "half^C\r\nroot@rpi4:~# ");
}

#[tokio::test]
async fn every_client_reads_everything_from_its_start_on_and_any_may_type() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let mut first = rig.boot(b"image").await;
    let mut second = rig.console().await;
    second.login().await;
    let text = first.expect("root@rpi4:~# ").await;
    assert_eq!(text, "root\r\nroot@rpi4:~# ");
    let mut third = rig.console().await;
    first.send("echo a").await;
    first.expect("echo a").await;
    third.send(" b\n").await;
    assert_eq!(second.expect("a b\r\n").await, "echo a b\r\n");
    assert_eq!(third.expect("a b\r\n").await, "echo a b\r\n");
    assert_eq!(third.expect("a b\r\n").await, "a b\r\n");
}

#[tokio::test]
async fn half_closing_keeps_the_reader_and_close_ends_all_streams() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let mut first = rig.boot(b"image").await;
    let mut second = rig.console().await;
    first.stream.writer.finish().await.unwrap();
    second.send("root\n").await;
    first.expect("root@rpi4:~# ").await;
    rig.try_call("console", "set_dtr", vec![json!(true)])
        .await
        .unwrap();
    rig.try_call("console", "set_rts", vec![json!(false)])
        .await
        .unwrap();
    rig.call("console", "close").await;
    assert!(first.end().await.is_none());
    assert!(second.end().await.is_none());
    let error = second
        .stream
        .writer
        .send(bytes::Bytes::from_static(b"x"))
        .await;
    assert!(matches!(error, Err(DriverError::Unavailable(_))));
    let mut third = rig.console().await;
    assert_eq!(third.run("echo $?").await, "0\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_of_a_million_lines_slows_nobody_and_costs_nothing() {
    const LINES: u64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let rig = Arc::new(Rig::start(dir.path(), json!({})).await);
    let mut typist = rig.boot(b"image").await;
    typist.login().await;
    let mut stalled = rig.console().await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut console = rig.console().await;
        readers.push(tokio::spawn(async move {
            console.expect(&format!("burst {LINES}\r\n")).await;
            let (mut next, mut rest) = (1, console.rest());
            while next <= LINES {
                let bytes = console.stream.reader.next().await.unwrap().unwrap();
                rest.push_str(std::str::from_utf8(&bytes).unwrap());
                let whole = rest.rfind('\n').map_or(0, |end| end + 1);
                for line in rest[..whole].lines() {
                    assert_eq!(line, format!("burst {next}"));
                    next += 1;
                }
                rest.drain(..whole);
            }
        }));
    }
    typist.send(&format!("burst {LINES}\n")).await;
    // The typist reads as well, like a client in front of a screen.
    let end = format!("\nburst {LINES}\r\nroot@rpi4:~# ");
    let own = typist.expect(&end);
    let (own, all) = tokio::join!(own, timeout(rig::LIMIT, futures::future::join_all(readers)));
    assert!(!own.contains("bytes lost"));
    for reader in all.unwrap() {
        reader.unwrap();
    }
    // The stalled one wakes up: it learns its loss, and gets the last MiB.
    let first = stalled.stream.reader.next().await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&first).into_owned();
    let lost = text
        .strip_prefix("\r\n[console: ")
        .and_then(|t| t.split_once(" bytes lost]\r\n"))
        .unwrap_or_else(|| panic!("no loss told: {}", &text[..80]))
        .0;
    let lost: usize = lost.parse().unwrap();
    // What the board printed since: the echo, the lines, the prompt.
    let total = format!("burst {LINES}\r\n").len()
        + (1..=LINES)
            .map(|n| format!("burst {n}\r\n").len())
            .sum::<usize>()
        + "root@rpi4:~# ".len();
    assert_eq!(lost, total - (1 << 20));
}

#[tokio::test]
async fn a_lease_leaves_nothing_to_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), json!({})).await;
    let mut console = rig.boot(&image(1, 1000)).await;
    console.login().await;
    console.send("echo secret\n").await;
    console.expect("secret\r\nsecret\r\n").await;
    console.send("half a sec").await;
    rig.inject("relay_stuck", json!(true)).await;
    rig.next_lease().await;
    console.end().await;

    let mut console = rig.console().await;
    // The board still runs, nobody is logged in, and the half line is gone.
    console.send("ret\n").await;
    let output = console.expect("Password: ").await;
    assert_eq!(output, "ret\r\nPassword: ");
    rig.call("power", "off").await;
    rig.call("power", "on").await;
    console.expect("Image sha256:").await;
}

#[tokio::test]
async fn there_is_a_bound_on_streams() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let mut open = Vec::new();
    let error = loop {
        match rig.try_console().await {
            Ok(console) => open.push(console),
            Err(error) => break error,
        }
        assert!(open.len() <= 64);
    };
    assert!(matches!(error, DriverError::Exhausted(_)), "{error}");
    open.pop();
    rig.console().await;
}
