//! The client against a lazy exporter in the same process, over a unix socket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

mod fake;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use fake::{PASSPHRASE, Running, Seen};
use rigd_client::{Code, Compression, ConnectOptions, Error, Exporter, ExporterStatus, LogSource};
use serde_json::json;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::timeout,
};

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

async fn connected() -> (Running, Exporter) {
    let running = fake::start(None);
    let exporter = Exporter::connect_unix(&running.socket).await.unwrap();
    (running, exporter)
}

impl Running {
    /// All that the exporter saw of an upload, up to its end.
    async fn upload(&mut self) -> (Vec<Bytes>, Seen) {
        let mut frames = vec![];
        loop {
            match timeout(DEADLINE, self.seen.recv()).await.unwrap().unwrap() {
                Seen::Frame(frame) => frames.push(frame),
                end => return (frames, end),
            }
        }
    }
}

/// Gives some bytes, then an error or nothing for ever.
struct Source {
    bytes: usize,
    then: Poll<io::ErrorKind>,
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let given = self.bytes.min(buf.remaining());
        self.bytes -= given;
        buf.put_slice(&vec![7; given]);
        match (given, self.then) {
            (0, Poll::Ready(kind)) => Poll::Ready(Err(kind.into())),
            (0, Poll::Pending) => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }
}

#[tokio::test]
async fn devices_are_found_by_path_and_called() {
    let (_running, exporter) = connected().await;
    let power = exporter.device("dutlink.power").await.unwrap();
    power.clone().power().on().await.unwrap();
    let args = vec![json!(1), json!("two"), json!({"three": [null, 0.5]})];
    assert_eq!(power.call("echo", args.clone()).await.unwrap(), json!(args));

    let error = exporter.device("dutlink.gpio").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the exporter has no device \"dutlink.gpio\", it has dutlink, dutlink.console, \
         dutlink.power, dutlink.storage"
    );
}

#[tokio::test]
async fn refusals_name_method_device_and_code() {
    let (_running, exporter) = connected().await;
    let power = exporter.device("dutlink.power").await.unwrap().power();
    let error = power.cycle(Duration::ZERO).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable));
    assert_eq!(error.details(), Some("relay unplugged"));
    assert_eq!(
        error.to_string(),
        "off on dutlink.power failed: UNAVAILABLE: relay unplugged"
    );
}

#[tokio::test]
async fn readings_are_typed_and_a_wrong_one_is_told() {
    let (_running, exporter) = connected().await;
    let power = exporter.device("dutlink.power").await.unwrap().power();
    let mut readings = power.read().await.unwrap();
    let reading = readings.next().await.unwrap().unwrap();
    assert_eq!((reading.voltage, reading.current), (5.0, 0.5));
    let error = readings.next().await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    assert!(
        error.to_string().starts_with("read on dutlink.power: "),
        "{error}"
    );
}

#[tokio::test]
async fn bytes_go_out_before_headers_arrive() {
    let (_running, exporter) = connected().await;
    let mut console = exporter
        .device("dutlink.console")
        .await
        .unwrap()
        .console()
        .open();
    let big = Bytes::from(vec![b'x'; 100_000]);
    console.send(Bytes::from_static(b"root\n")).await.unwrap();
    console.send(big.clone()).await.unwrap();
    console.finish().await.unwrap();

    let mut lengths = vec![];
    while let Some(bytes) = timeout(DEADLINE, console.recv()).await.unwrap().unwrap() {
        lengths.push(bytes.len());
    }
    assert_eq!(lengths, [5, 65_536, big.len() - 65_536]);
    assert_eq!(console.recv().await.unwrap(), None);
    assert!(console.send(big).await.is_err());
}

#[tokio::test]
async fn refused_stream_is_told_by_the_first_receive() {
    let (_running, exporter) = connected().await;
    let mut stream = exporter.stream("console", "video");
    let error = timeout(DEADLINE, stream.recv()).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(Code::NotFound));
    assert_eq!(stream.recv().await.unwrap(), None);
}

#[tokio::test]
async fn uploaded_file_arrives_in_full_frames_and_ends_with_goaway() {
    let (mut running, exporter) = connected().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let image: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    std::fs::write(file.path(), &image).unwrap();
    let storage = exporter.device("dutlink.storage").await.unwrap().storage();
    storage.flash(file.path(), Compression::None).await.unwrap();

    let (frames, end) = running.upload().await;
    assert_eq!(end, Seen::Finished);
    let lengths: Vec<_> = frames.iter().map(Bytes::len).collect();
    assert_eq!(lengths, [65_536, 65_536, 65_536, 200_000 - 3 * 65_536]);
    assert_eq!(frames.concat(), image);
}

#[tokio::test]
async fn failing_source_breaks_the_upload_instead_of_ending_it() {
    let (mut running, exporter) = connected().await;
    let storage = exporter.device("dutlink.storage").await.unwrap();
    let source = Source {
        bytes: 100_000,
        then: Poll::Ready(io::ErrorKind::UnexpectedEof),
    };
    let error = storage
        .upload("write", |handle| vec![handle], source, Compression::None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Local { .. }), "{error}");
    assert_eq!(running.upload().await.1, Seen::Cancelled);
}

#[tokio::test]
async fn dropped_upload_is_cancelled_not_ended() {
    let (mut running, exporter) = connected().await;
    let storage = exporter.device("dutlink.storage").await.unwrap();
    let source = Source {
        bytes: 65_536,
        then: Poll::Pending,
    };
    let upload = storage.upload("write", |handle| vec![handle], source, Compression::None);
    {
        let mut upload = std::pin::pin!(upload);
        let first = tokio::select! {
            _ = &mut upload => panic!("ended by itself"),
            first = running.seen.recv() => first,
        };
        assert!(matches!(first, Some(Seen::Frame(_))), "{first:?}");
    }
    assert_eq!(running.upload().await, (vec![], Seen::Cancelled));
}

#[tokio::test]
async fn refusal_during_an_upload_is_that_of_the_call() {
    let (_running, exporter) = connected().await;
    let storage = exporter.device("dutlink.storage").await.unwrap();
    for (method, code) in [("refuse", Code::FailedPrecondition), ("no", Code::NotFound)] {
        let endless = Source {
            bytes: usize::MAX,
            then: Poll::Pending,
        };
        let upload = storage.upload(method, |handle| vec![handle], endless, Compression::None);
        let error = timeout(DEADLINE, upload).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Some(code));
    }
}

#[tokio::test]
async fn method_that_needs_no_more_bytes_succeeds() {
    let (_running, exporter) = connected().await;
    let storage = exporter.device("dutlink.storage").await.unwrap();
    let endless = Source {
        bytes: usize::MAX,
        then: Poll::Pending,
    };
    let upload = storage.upload("content", |handle| vec![handle], endless, Compression::None);
    let result = timeout(DEADLINE, upload).await.unwrap().unwrap();
    assert_eq!(result, json!("enough"));
}

#[tokio::test]
async fn download_waits_for_the_bytes_after_the_call() {
    let (_running, exporter) = connected().await;
    let storage = exporter.device("dutlink.storage").await.unwrap().storage();
    let file = tempfile::NamedTempFile::new().unwrap();
    let read = storage.dump(file.path(), Compression::None);
    assert_eq!(timeout(DEADLINE, read).await.unwrap().unwrap(), 6);
    assert_eq!(std::fs::read(file.path()).unwrap(), b"onetwo");
}

#[tokio::test]
async fn missing_file_is_named() {
    let (_running, exporter) = connected().await;
    let storage = exporter.device("dutlink.storage").await.unwrap().storage();
    let error = storage
        .write_file("/nowhere/x.img".as_ref(), Compression::None)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot open /nowhere/x.img");
}

#[tokio::test]
async fn session_answers_are_translated() {
    let (_running, exporter) = connected().await;
    let status = exporter.status().await.unwrap();
    assert_eq!(status.state, ExporterStatus::LeaseReady);
    assert_eq!(status.previous, Some(ExporterStatus::Available));
    assert_eq!((status.message.as_str(), status.version), ("ready", 2));

    let end = exporter.end_session().await.unwrap();
    assert!(!end.accepted);
    assert_eq!(end.message, "No active lease context");

    let mut logs = exporter.logs().await.unwrap();
    let line = timeout(DEADLINE, logs.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(line.source, LogSource::Driver);
    assert_eq!(
        (line.severity.as_str(), line.message.as_str()),
        ("INFO", "power on")
    );
}

#[tokio::test]
async fn passphrase_goes_with_every_request() {
    let running = fake::start(Some(PASSPHRASE));
    let without = Exporter::connect_unix(&running.socket).await.unwrap();
    let error = without.report().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "GetReport on the exporter failed: UNAUTHENTICATED: invalid or missing passphrase"
    );

    let options = ConnectOptions {
        passphrase: Some(PASSPHRASE.to_owned()),
        ..ConnectOptions::default()
    };
    let with = Exporter::connect_unix_with(&running.socket, &options)
        .await
        .unwrap();
    with.device("dutlink.power")
        .await
        .unwrap()
        .power()
        .on()
        .await
        .unwrap();
    let mut console = with
        .device("dutlink.console")
        .await
        .unwrap()
        .console()
        .open();
    console.send(Bytes::from_static(b"x")).await.unwrap();
    let echoed = timeout(DEADLINE, console.recv()).await.unwrap().unwrap();
    assert_eq!(echoed.as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn nobody_listening_names_the_address() {
    let error = Exporter::connect_unix("/nowhere/x.sock").await.unwrap_err();
    assert_eq!(error.to_string(), "cannot connect to /nowhere/x.sock");
    let options = ConnectOptions::default();
    let error = Exporter::connect_tcp("not an address", &options)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::BadOption(_)), "{error}");
}
