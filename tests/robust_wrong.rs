//! When it goes wrong while it runs: a clear message with the right code at the client, a bounded
//! cost, and a connection that lives.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod support;
mod traffic;

use std::{fs, time::Duration};

use prost::Message;
use rigd_client::{Code, Compression, Error, Exporter};
use rigd_proto::v1::{FrameType, StreamRequest};
use serde_json::{Value, json};
use support::settings::Settings;
use traffic::{
    ordinary,
    process::Process,
    raw_http2::RawHttp2,
    rig::{Rig, noise, within},
    run::Running,
};

const PATIENCE: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, code: Code, words: &[&str]) {
    let error = result.unwrap_err();
    let Error::Refused {
        code: found,
        details,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(*found, code, "{error}");
    for word in words {
        assert!(details.contains(word), "no {word:?} in: {details}");
    }
}

async fn call(
    client: &Exporter,
    path: &str,
    method: &str,
    args: Vec<Value>,
) -> Result<Value, Error> {
    let device = client.device(path).await.unwrap();
    within(PATIENCE, method, device.call(method, args)).await
}

async fn upload(client: &Exporter, path: &str, image: &[u8]) -> Result<Value, Error> {
    let device = client.device(path).await.unwrap();
    let write = device.upload("write", |handle| vec![handle], image, Compression::None);
    within(PATIENCE, "an upload", write).await
}

#[tokio::test]
async fn unknown_method() {
    let rig = Rig::start();
    let client = rig.connect().await;
    let result = call(&client, "probe", "explode", vec![]).await;
    refused(
        result,
        Code::NotFound,
        &["method explode not found on driver"],
    );
    let probe = client.device("probe").await.unwrap();
    let mut stream = probe.stream("explode");
    refused(
        stream.recv().await,
        Code::NotFound,
        &["method explode not found on driver"],
    );
    let items = probe.streaming_call("explode", vec![]).await;
    refused(
        items,
        Code::NotFound,
        &["method explode not found on driver"],
    );
}

#[tokio::test]
async fn wrong_kind_of_call() {
    let rig = Rig::start();
    let client = rig.connect().await;
    let echo = client.device("echo").await.unwrap();
    let result = echo.call("connect", vec![]).await;
    refused(result, Code::NotFound, &["method connect missing marker"]);
}

#[tokio::test]
async fn unknown_or_malformed_uuid() {
    let rig = Rig::start();
    let client = rig.connect().await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let result = client.call(nobody, "on", vec![]).await;
    refused(result, Code::Unknown, &["no driver instance", nobody]);
    let result = client.call("x'y", "on", vec![]).await;
    refused(result, Code::Unknown, &["'x'y'", "badly formed"]);
    let result = client.stream(nobody, "connect").recv().await;
    refused(result, Code::Unknown, &[nobody]);
}

#[tokio::test]
async fn wrong_number_or_type_of_arguments() {
    let rig = Rig::start();
    let client = rig.connect().await;
    let result = call(&client, "probe", "on", vec![json!(1)]).await;
    refused(
        result,
        Code::InvalidArgument,
        &["takes at most 0 arguments, 1 given"],
    );
    let result = call(&client, "board.console", "set_dtr", vec![]).await;
    refused(
        result,
        Code::InvalidArgument,
        &["argument 1 is missing, 0 given"],
    );
    let result = call(&client, "board.console", "set_dtr", vec![json!("up")]).await;
    refused(
        result,
        Code::InvalidArgument,
        &["argument 1: ", "\"up\"", "expected a boolean"],
    );
}

#[tokio::test]
async fn handle_that_nobody_opened() {
    let rig = Rig::start();
    let client = rig.connect().await;
    let gone = "00000000-0000-4000-8000-000000000000";
    let handle = json!({"kind": "client_stream", "uuid": gone, "x_jmp_content_encoding": null});
    let result = call(&client, "card", "write", vec![handle]).await;
    refused(result, Code::Unknown, &[gone]);
    let result = call(&client, "card", "write", vec![json!("image.img")]).await;
    refused(result, Code::InvalidArgument, &["argument 1: "]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_over_four_mebibytes_ends_its_call_alone() {
    let rig = Rig::start();
    let process = Process(rig.daemon.pid());
    let client = rig.connect().await;
    let echo = client.device("echo").await.unwrap();
    let mut open = echo.stream("connect");
    open.opened().await.unwrap();
    let before = process.resident();
    process.forget_peak();
    for _ in 0..20 {
        let long = "x".repeat(5 * MIB);
        let result = call(&client, "probe", "on", vec![json!(long)]).await;
        refused(
            result,
            Code::OutOfRange,
            &["message length too large", "limit is: 4194304 bytes"],
        );
    }
    let peak = process.peak();
    assert!(
        peak < before + 16 * MIB as u64,
        "{before} bytes before, at most {peak} meanwhile"
    );
    // Just below it passes, to the driver, which wants no argument.
    let long = "x".repeat(4 * MIB - 200);
    let result = call(&client, "probe", "on", vec![json!(long)]).await;
    refused(
        result,
        Code::InvalidArgument,
        &["takes at most 0 arguments"],
    );
    // The connection and what it has open live.
    open.send("alive".into()).await.unwrap();
    let back = within(PATIENCE, "the echo", open.recv()).await.unwrap();
    assert_eq!(back.unwrap(), "alive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frame_of_four_mebibytes_passes_both_ways_and_a_larger_one_ends_its_stream_alone() {
    const LIMIT: usize = 4 * MIB;
    let rig = Rig::start();
    let echo = rig.connect().await.device("echo").await.unwrap();
    let uuid = &echo.info().uuid;
    let request = format!(r#"{{"kind": "driver", "uuid": "{uuid}", "method": "connect"}}"#);
    let mut client = RawHttp2::connect(rig.socket());
    let frame = |len: usize| {
        let payload = vec![b'x'; len].into();
        let frame_type = FrameType::Data.into();
        StreamRequest {
            payload,
            frame_type,
        }
        .encode_to_vec()
    };
    let envelope = frame(LIMIT).len() - LIMIT;
    let open = |client: &mut RawHttp2| {
        client.open(
            "/jumpstarter.v1.RouterService/Stream",
            &[("request", &request)],
        )
    };
    let stream = open(&mut client);
    client.send(stream, &frame(LIMIT - envelope));
    client.until("the echo", |client| {
        client.answer(stream).data.len() >= LIMIT + 5
    });
    let larger = open(&mut client);
    client.send(larger, &frame(LIMIT - envelope + 1));
    client.until("the end of the stream", |client| {
        client.answer(larger).ended
    });
    let answer = client.answer(larger);
    // RESOURCE_EXHAUSTED or OUT_OF_RANGE, as other servers answer it.
    assert!(matches!(answer.code(), Some("8" | "11")), "{answer:?}");
    let text = answer.message();
    assert!(
        text.contains("message length too large: found 4194305 bytes"),
        "{text}"
    );
    assert!(!client.answer(stream).ended);
    client.send(stream, &frame(1));
    client.until("the echo", |client| {
        client.answer(stream).data.len() > LIMIT + 5
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_larger_than_the_card() {
    let rig = Rig::start();
    let client = rig.connect().await;
    let result = upload(&client, "card", &noise(1, 32 * MIB + 1)).await;
    let words = [
        "image too large",
        "the card holds 33554432 bytes",
        "at least 33554433",
    ];
    refused(result, Code::InvalidArgument, &words);
    let result = call(&client, "card", "dut", vec![]).await;
    refused(result, Code::FailedPrecondition, &["incomplete"]);
    upload(&client, "card", &noise(1, MIB)).await.unwrap();
    call(&client, "card", "dut", vec![]).await.unwrap();

    let result = upload(&client, "board.storage", &noise(2, 16 * MIB + 1)).await;
    refused(result, Code::InvalidArgument, &["16777216", "16777217"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_full_under_the_virtual_card() {
    let settings = Settings::new();
    let cards = settings.path("cards");
    fs::create_dir(&cards).unwrap();
    let Some(mut command) = ordinary::with_small_disk(&settings, &cards, 3 * MIB as u64) else {
        return;
    };
    let template = settings.path("template.yaml");
    fs::write(
        &template,
        "metadata: {name: small}\nexport:\n  \
         board: {type: virtual.board, config: {card: {path: \"@DIR@/cards/card.img\", size: 16MiB}}}\n  \
         card: {type: storage.file, config: {path: \"@DIR@/cards/other.img\"}}\n  \
         probe: {type: power.mock}\n",
    )
    .unwrap();
    let socket = settings.path("rigd.sock");
    let file = settings.fill_in(&template);
    command.arg("run").arg(file).arg("--unix").arg(&socket);
    let mut daemon = Running::spawn(command);
    daemon.expect_line("Exporter small is ready");
    let client = Exporter::connect_unix(&socket).await.unwrap();

    let result = upload(&client, "board.storage", &noise(1, 8 * MIB)).await;
    refused(
        result,
        Code::Internal,
        &[
            "no space left on the file system under the card",
            "card.img",
        ],
    );
    // What was there counts no more, and the board says so.
    let result = upload(&client, "card", &noise(1, 8 * MIB)).await;
    refused(result, Code::Internal, &["other.img", "No space left"]);
    call(&client, "probe", "on", vec![]).await.unwrap();
    drop(client);
    daemon.signal(rustix::process::Signal::TERM);
    let status = tokio::task::block_in_place(|| daemon.ended(PATIENCE));
    assert!(status.success(), "{}", daemon.output.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_permission_for_the_device() {
    let settings = Settings::new();
    let mut command = ordinary::command(&settings);
    // Whatever it is: the right to open comes first.
    let device = settings.path("device");
    fs::write(&device, "").unwrap();
    if !rustix::process::getuid().is_root() {
        fs::set_permissions(&device, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    } else {
        ordinary::private(&device);
    }
    let file = settings.path("exporter.yaml");
    let shown = device.display();
    fs::write(
        &file,
        format!(
            "metadata: {{name: closed}}\nexport:\n  \
             console: {{type: serial, config: {{url: {shown}}}}}\n  probe: {{type: power.mock}}\n"
        ),
    )
    .unwrap();
    let socket = settings.path("rigd.sock");
    command.arg("run").arg(&file).arg("--unix").arg(&socket);
    let daemon = Running::spawn(command);
    // The one who starts it learns it, and so does the client; the rest works.
    let line = daemon.expect_line("console cannot be used");
    assert!(
        line.contains(&shown.to_string()) && line.contains("permission"),
        "{line}"
    );
    let client = Exporter::connect_unix(&socket).await.unwrap();
    let console = client.device("console").await.unwrap();
    let mut stream = console.console().open();
    let words = [&shown.to_string(), "permission"];
    refused(stream.recv().await, Code::Unavailable, &words);
    call(&client, "probe", "on", vec![]).await.unwrap();
}

#[tokio::test]
async fn symlink_out_of_a_storage_root() {
    let rig = Rig::start();
    let client = rig.connect().await;
    let secret = rig.settings.path("secret");
    fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, rig.settings.path("root/link")).unwrap();
    std::os::unix::fs::symlink("..", rig.settings.path("root/up")).unwrap();
    for path in ["link", "up/secret"] {
        let result = call(&client, "files", "stat", vec![json!(path)]).await;
        refused(
            result,
            Code::FailedPrecondition,
            &["outside the root", path],
        );
    }
    let result = call(&client, "files", "stat", vec![json!("../secret")]).await;
    assert!(result.is_err(), "{result:?}");
    call(&client, "probe", "on", vec![]).await.unwrap();
}
