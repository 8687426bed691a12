//! `open` and `file_*` of the file store, and transfers side by side.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own steps fail the test, in functions beside the tests as well"
)]

mod lease;

use lease::{
    drain, pattern,
    store::{invalid, read, store, unknown, write},
    with_handle,
};
use rigd_driver::DriverError;
use serde_json::{Value, json};

#[tokio::test]
async fn bytes_come_back() {
    let (dir, lease) = store().await;
    let data = pattern(3 * 1024 * 1024 + 1);
    write(&lease, "a/b/c.bin", &data).await;
    assert!(std::fs::read(dir.path().join("a/b/c.bin")).unwrap() == data);
    assert!(read(&lease, "/a//b/./c.bin").await == data);
    write(&lease, "a/b/c.bin", b"short").await;
    assert_eq!(read(&lease, "a/b/c.bin").await, b"short");
}

#[tokio::test]
async fn open_refuses_what_it_cannot_open() {
    let (_dir, lease) = store().await;
    write(&lease, "f", b"x").await;
    lease.ok("create_dir", json!(["d/"])).await;
    let missing = lease.fails("open", json!(["missing", "rb"])).await;
    unknown(&missing, "NotFound (permanent) at stat => ");
    invalid(&lease.fails("open", json!(["f", "r+"])).await);
    for (path, mode) in [
        ("d", "rb"),
        ("d/", "rb"),
        ("d", "wb"),
        ("d/", "wb"),
        ("", "wb"),
    ] {
        let error = lease.fails("open", json!([path, mode])).await;
        unknown(&error, "IsADirectory (permanent) at ");
    }
    let error = lease.fails("open", json!(["f/x", "wb"])).await;
    unknown(&error, "NotADirectory (permanent) at write => ");
    invalid(&lease.fails("open", json!(["../x", "wb"])).await);
}

#[tokio::test]
async fn a_pipe_in_the_root_hangs_nobody() {
    let (dir, lease) = store().await;
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    unknown(
        &lease.fails("open", json!(["pipe", "rb"])).await,
        "Unexpected",
    );
    // Without a reader on its other end.
    lease.fails("open", json!(["pipe", "wb"])).await;
}

#[tokio::test]
async fn ids_that_are_wrong_or_unknown_are_told_apart() {
    let (_dir, lease) = store().await;
    let id = "6f1c4d4e-6dbf-4f52-8d36-6a0f6bd6a7a1";
    for method in [
        "file_tell",
        "file_close",
        "file_closed",
        "file_readable",
        "file_seekable",
        "file_writable",
    ] {
        let error = lease.fails(method, json!([id])).await;
        assert_eq!(error.to_string(), format!("UUID('{id}')"), "{method}");
        assert!(matches!(error, DriverError::Unknown(_)));
        invalid(&lease.fails(method, json!(["not an id"])).await);
    }
    let error = lease.send("file_write", json!([id, "HANDLE"]), b"x").await;
    assert_eq!(error.unwrap_err().to_string(), format!("UUID('{id}')"));
}

#[tokio::test]
async fn seek_and_tell_follow_python() {
    let (_dir, lease) = store().await;
    write(&lease, "f", b"content").await;
    let fd = lease.ok("open", json!(["f", "rb"])).await;
    for (args, at) in [
        (json!([fd, 2, 0]), 2),
        (json!([fd, 3]), 3),
        (json!([fd, -1, 1]), 2),
        (json!([fd, 0, 2]), 7),
        (json!([fd, -4, 2]), 3),
        (json!([fd, 100, 0]), 100),
        (json!([fd, 3, 0]), 3),
    ] {
        assert_eq!(lease.ok("file_seek", args).await, json!(at));
        assert_eq!(lease.ok("file_tell", json!([fd])).await, json!(at));
    }
    for args in [json!([fd, -1, 0]), json!([fd, -100, 1]), json!([fd, 0, 5])] {
        invalid(&lease.fails("file_seek", args).await);
    }
    let rest = lease
        .receive("file_read", json!([fd, "HANDLE"]))
        .await
        .unwrap();
    assert_eq!(rest, b"tent");
    assert_eq!(lease.ok("file_tell", json!([fd])).await, json!(7));
}

#[tokio::test]
async fn properties_of_files() {
    let (_dir, lease) = store().await;
    let wb = lease.ok("open", json!(["f", "wb"])).await;
    let rb = lease.ok("open", json!(["f", "rb"])).await;
    let properties = async |fd: &Value| {
        let mut all = Vec::new();
        for method in [
            "file_closed",
            "file_readable",
            "file_seekable",
            "file_writable",
        ] {
            all.push(lease.ok(method, json!([fd])).await.as_bool().unwrap());
        }
        all
    };
    assert_eq!(properties(&wb).await, [false, false, false, true]);
    assert_eq!(properties(&rb).await, [false, true, true, false]);
    let on = |state| format!("I/O operation failed for reading on {state} file.");
    unknown(
        &lease.fails("file_tell", json!([wb])).await,
        &on("write only"),
    );
    let error = lease.fails("file_seek", json!([wb, 0, 0])).await;
    unknown(
        &error,
        "Seek operation is not supported by the backing service.",
    );
    let error = lease.receive("file_read", json!([wb, "HANDLE"])).await;
    unknown(&error.unwrap_err(), &on("write only"));
    let error = lease.send("file_write", json!([rb, "HANDLE"]), b"x").await;
    unknown(&error.unwrap_err(), &on("read only"));
    for fd in [&wb, &rb] {
        lease.ok("file_close", json!([fd])).await;
        // Closing twice is fine, and a closed file stays known.
        assert_eq!(lease.ok("file_close", json!([fd])).await, Value::Null);
        assert_eq!(properties(fd).await, [true, false, false, false]);
        unknown(&lease.fails("file_tell", json!([fd])).await, &on("closed"));
        unknown(
            &lease.fails("file_seek", json!([fd, 0])).await,
            &on("closed"),
        );
    }
}

#[tokio::test]
async fn a_broken_upload_is_an_error() {
    let (_dir, lease) = store().await;
    let fd = lease.ok("open", json!(["f", "wb"])).await;
    let (sender, handle) = lease.upload();
    assert!(sender.send("part".into()).await);
    drop(sender);
    let error = lease.fails("file_write", json!([fd, handle])).await;
    assert!(error.to_string().starts_with("upload broken:"), "{error}");
    lease.ok("file_close", json!([fd])).await;
}

#[tokio::test]
async fn a_reader_that_leaves_is_an_error() {
    let (_dir, lease) = store().await;
    write(&lease, "f", &pattern(8_000_000)).await;
    let fd = lease.ok("open", json!(["f", "rb"])).await;
    let (mut source, handle) = lease.download();
    let read = lease.call("file_read", with_handle(json!([fd, "HANDLE"]), handle));
    let leave = async {
        source.chunks.recv().await.unwrap().unwrap();
        drop(source);
    };
    let (outcome, ()) = tokio::join!(read, leave);
    assert!(
        matches!(outcome, Err(DriverError::Unavailable(_))),
        "{outcome:?}"
    );
    // The file can be used again.
    lease.ok("file_seek", json!([fd, 0, 0])).await;
    let (source, handle) = lease.download();
    let (outcome, data) = tokio::join!(
        lease.call("file_read", json!([fd, handle])),
        tokio::spawn(drain(source))
    );
    outcome.unwrap();
    assert_eq!(data.unwrap().unwrap().len(), 8_000_000);
}

#[tokio::test]
async fn open_files_are_bounded() {
    let (_dir, lease) = store().await;
    write(&lease, "f", b"x").await;
    let mut open = Vec::new();
    for _ in 0..128 {
        open.push(lease.ok("open", json!(["f", "rb"])).await);
    }
    let error = lease.fails("open", json!(["f", "rb"])).await;
    assert!(matches!(error, DriverError::Exhausted(_)), "{error:?}");
    lease.ok("file_close", json!([open[7]])).await;
    lease.ok("open", json!(["f", "rb"])).await;
}

#[tokio::test]
async fn silent_uploads_hold_up_nobody() {
    let (_dir, lease) = store().await;
    let (mut files, mut senders) = (Vec::new(), Vec::new());
    // More than the device thread would have room for, if any of them held it.
    for n in 0..20 {
        let path = format!("slow/{n}");
        let fd = lease.ok("open", json!([path, "wb"])).await;
        let (sender, handle) = lease.upload();
        assert!(sender.send("part one, ".into()).await);
        senders.push(sender);
        files.push((path, fd, handle));
    }
    let writes = files
        .iter()
        .map(|(_, fd, handle)| lease.call("file_write", json!([fd, handle])));
    let meanwhile = async {
        for (path, ..) in &files {
            // Every first part is written while all clients are silent.
            while lease.ok("stat", json!([path])).await["content_length"] == 0 {}
        }
        write(&lease, "quick", &pattern(2_000_000)).await;
        assert_eq!(read(&lease, "quick").await.len(), 2_000_000);
        for sender in senders {
            assert!(sender.send("part two".into()).await);
            sender.end().await;
        }
    };
    let (written, ()) = tokio::join!(futures::future::join_all(writes), meanwhile);
    for (outcome, (path, fd, _)) in written.into_iter().zip(&files) {
        outcome.unwrap();
        lease.ok("file_close", json!([fd])).await;
        assert_eq!(read(&lease, path).await, b"part one, part two");
    }
}

#[tokio::test]
async fn a_file_has_one_transfer_at_a_time_and_close_ends_it() {
    let (_dir, lease) = store().await;
    let fd = lease.ok("open", json!(["f", "wb"])).await;
    let (sender, handle) = lease.upload();
    assert!(sender.send("part".into()).await);
    let meanwhile = async {
        while lease.ok("stat", json!(["f"])).await["content_length"] == 0 {}
        let second = lease.send("file_write", json!([fd, "HANDLE"]), b"x").await;
        assert!(
            matches!(second, Err(DriverError::Busy { .. })),
            "{second:?}"
        );
        lease.ok("file_close", json!([fd])).await;
    };
    let (written, ()) = tokio::join!(lease.call("file_write", json!([fd, handle])), meanwhile);
    assert!(
        matches!(written, Err(DriverError::Cancelled(_))),
        "{written:?}"
    );
    assert_eq!(read(&lease, "f").await, b"part");
}
