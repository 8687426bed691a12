//! The passphrase stays secret: neither what the daemon logs at its most talkative nor what it
//! tells clients holds it, or what a client tried instead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod support;
mod traffic;

use std::{fs, time::Duration};

use rigd_client::{Code, ConnectOptions, Error, Exporter};
use rustix::process::Signal;
use support::{
    daemon::Daemon,
    settings::{Settings, free_port},
};
use traffic::run::{Running, to_the_end};

const PASSPHRASE: &str = "correct-horse-battery";
const GUESS: &str = "wrong-donkey-staple";
const POWER: &str = "metadata: {name: power}\nexport:\n  power: {type: power.mock}\n";

fn prepare(passphrase: &str) -> (Settings, std::process::Command, String) {
    let settings = Settings::new();
    let file = settings.path("exporter.yaml");
    fs::write(&file, POWER).unwrap();
    fs::write(settings.path("passphrase"), passphrase).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Daemon::command(&settings);
    command.arg("run").arg(file);
    command.args(["--tls-grpc-insecure", "--tls-grpc-listener", &address]);
    command
        .arg("--passphrase-file")
        .arg(settings.path("passphrase"));
    command.env("RIGD_LOG", "trace");
    (settings, command, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_in_logs_and_not_in_errors() {
    let (settings, mut command, address) = prepare(&format!("{PASSPHRASE}\n"));
    // All of it: the harness keeps only the last lines of a pipe.
    let log = settings.path("log");
    command.stderr(fs::File::create(&log).unwrap());
    let mut daemon = Running::spawn(command);
    daemon.expect_line("Exporter power is ready");
    let connect = async |passphrase: Option<&str>| {
        let options = ConnectOptions {
            passphrase: passphrase.map(str::to_owned),
            tls: None,
        };
        Exporter::connect_tcp(&address, &options).await.unwrap()
    };
    for wrong in [Some(GUESS), None] {
        let error = connect(wrong).await.report().await.unwrap_err();
        let Error::Refused { code, details, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*code, Code::Unauthenticated);
        assert_eq!(details, "invalid or missing passphrase");
    }
    let client = connect(Some(PASSPHRASE)).await;
    let power = client.device("power").await.unwrap();
    power.call("on", vec![]).await.unwrap();
    let mut logs = client.logs().await.unwrap();
    power.call("off", vec![]).await.unwrap();
    // What clients are told is in the same lines; one is enough to know that they are.
    logs.next().await.unwrap().unwrap();
    drop((client, power, logs));
    raw_client_without_manners(&address);

    daemon.signal(Signal::TERM);
    let ended = tokio::task::block_in_place(|| daemon.ended(Duration::from_secs(10)));
    assert!(ended.success());
    let text = fs::read_to_string(&log).unwrap() + &daemon.output.text();
    assert!(text.contains("TRACE"), "the log is not talkative:\n{text}");
    for secret in [PASSPHRASE, GUESS] {
        for line in text.lines() {
            // Also as a list of bytes, which is how some print what is no text.
            let bytes = format!("{:?}", secret.as_bytes());
            let bytes = bytes.trim_matches(['[', ']']);
            assert!(!line.contains(secret) && !line.contains(bytes), "{line}");
        }
    }
}

/// A client that does not mark the header as one that must not be indexed, as Python's does not.
fn raw_client_without_manners(address: &str) {
    use std::io::{Read, Write};
    let mut io = std::net::TcpStream::connect(address).unwrap();
    io.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut block = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/jumpstarter.v1.ExporterService/GetReport"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("x-jumpstarter-passphrase", GUESS),
        ("x-jumpstarter-passphrase", PASSPHRASE),
    ];
    for (name, value) in fields {
        // With incremental indexing, RFC 7541 section 6.2.1.
        block.push(0x40);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&[0, 0, u8::try_from(block.len()).unwrap(), 1, 4, 0, 0, 0, 1]);
    bytes.extend_from_slice(&block);
    // An empty message, the last.
    bytes.extend_from_slice(&[0, 0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    io.write_all(&bytes).unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !contains(&seen, b"power") {
        let count = io.read(&mut buffer).unwrap();
        assert!(count > 0, "no report: {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn not_in_the_message_about_an_unusable_file() {
    for passphrase in [
        format!("{PASSPHRASE}-ü"),
        format!("{PASSPHRASE}\nsecond line\n"),
    ] {
        let (_settings, command, _) = prepare(&passphrase);
        let (code, said) = to_the_end(command);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("passphrase file"), "{said}");
        assert!(!said.contains(PASSPHRASE), "{said}");
    }
    let (settings, command, _) = prepare("");
    let (code, said) = to_the_end(command);
    assert_eq!(code, Some(2), "{said}");
    let file = settings.path("passphrase");
    let text = format!(
        "passphrase file {}: the passphrase is empty",
        file.display()
    );
    assert!(said.contains(&text), "{said}");
}
