//! What stops a start: exit code 1 for what may be right a moment later, 2 for what a person has
//! to change, and on standard error what is wrong, where, and what would be right. And what does
//! not stop one, but is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod support;
mod traffic;

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use support::{
    daemon::{Daemon, Listen},
    repository,
    settings::{Settings, free_port},
};
use traffic::{
    ordinary,
    run::{Running, to_the_end},
};

const POWER: &str = "metadata: {name: power}\nexport:\n  power: {type: power.mock}\n";

/// An exporter file in a directory of its own.
struct Start {
    settings: Settings,
    file: PathBuf,
}

impl Start {
    fn new(yaml: &str) -> Self {
        let settings = Settings::new();
        let file = settings.path("exporter.yaml");
        fs::write(&file, yaml).unwrap();
        Self { settings, file }
    }

    /// Runs `rigd run FILE ARGS`, which must end with that code; what it said.
    fn ends(&self, code: i32, args: &[&str]) -> String {
        let mut command = Daemon::command(&self.settings);
        command.arg("run").arg(&self.file).args(args);
        ends(command, code)
    }

    fn path(&self, name: &str) -> String {
        self.settings.path(name).to_str().unwrap().to_owned()
    }
}

fn ends(command: Command, code: i32) -> String {
    let (found, said) = to_the_end(command);
    assert_eq!(found, Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[track_caller]
fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in:\n{said}");
    }
}

#[test]
fn tcp_port_in_use() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let start = Start::new(POWER);
    let said = start.ends(1, &["--tls-grpc-listener", &address, "--tls-grpc-insecure"]);
    says(
        &said,
        &[&format!("error: cannot listen on {address}"), "in use"],
    );
}

#[test]
fn socket_in_use_by_another_daemon_which_is_not_disturbed() {
    let start = Start::new(POWER);
    let mut first = Daemon::start(&start.file, Listen::Unix, &start.settings);
    let said = start.ends(1, &["--unix", &first.host]);
    says(&said, &[&format!("error: socket {} is in use", first.host)]);
    UnixStream::connect(&first.host).unwrap();
    first.stop_cleanly();
}

#[test]
fn stale_socket_is_replaced() {
    let start = Start::new(POWER);
    let path = start.settings.path("rigd.sock");
    drop(UnixListener::bind(&path).unwrap());
    let mut daemon = Daemon::start(&start.file, Listen::Unix, &start.settings);
    assert_eq!(daemon.host, path.to_str().unwrap());
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.stop_cleanly();
    assert!(!path.exists(), "the socket is left behind");
}

#[test]
fn something_else_at_the_path_of_the_socket_is_left_alone() {
    let start = Start::new(POWER);
    let path = start.path("precious");
    fs::write(&path, "precious").unwrap();
    let said = start.ends(1, &["--unix", &path]);
    says(
        &said,
        &[
            &format!("{path} exists and is not a socket"),
            "remove it or choose another path",
        ],
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn socket_path_too_long() {
    let start = Start::new(POWER);
    let path = start.path(&"x".repeat(120));
    let said = start.ends(2, &["--unix", &path]);
    let bytes = format!("{path} has {} bytes, 107 fit", path.len());
    says(
        &said,
        &[
            "error: socket path is too long",
            &bytes,
            "choose a shorter one",
        ],
    );
}

#[test]
fn directory_of_the_socket_is_missing() {
    let start = Start::new(POWER);
    let path = start.path("nowhere/rigd.sock");
    let said = start.ends(1, &["--unix", &path]);
    says(
        &said,
        &[
            &format!("error: cannot bind socket {path}"),
            "No such file or directory",
        ],
    );
}

#[test]
fn no_permission_for_the_directory_of_the_socket() {
    let start = Start::new(POWER);
    let mut command = ordinary::command(&start.settings);
    let closed = start.settings.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let path = closed.join("rigd.sock");
    command.arg("run").arg(&start.file).arg("--unix").arg(&path);
    let said = ends(command, 1);
    says(
        &said,
        &[
            &format!("error: cannot bind socket {}", path.display()),
            "Permission denied",
        ],
    );
}

#[test]
fn runtime_directory_of_somebody_else_costs_only_the_control_socket() {
    if !rustix::process::getuid().is_root() {
        eprintln!("SKIPPED: only root can make a directory of somebody else");
        return;
    }
    let start = Start::new(POWER);
    let mut command = ordinary::command(&start.settings);
    std::os::unix::fs::chown(start.settings.path("run"), Some(0), Some(0)).unwrap();
    let path = start.settings.path("rigd.sock");
    command.arg("run").arg(&start.file).arg("--unix").arg(&path);
    let mut daemon = Running::spawn(command);
    let said = daemon.expect_line("No control socket");
    says(&said, &[&start.path("run"), "belongs to user 0"]);
    UnixStream::connect(&path).unwrap();
    daemon.signal(Signal::TERM);
    let ended = daemon.ended(Duration::from_secs(10));
    assert!(ended.success(), "{}", daemon.output.text());
}

mod certificates {
    use super::*;

    fn pem(name: &str) -> String {
        let path = repository().join("tests/traffic").join(name);
        path.to_str().unwrap().to_owned()
    }

    fn ends_with(start: &Start, cert: &str, key: &str) -> String {
        let address = format!("127.0.0.1:{}", free_port());
        let listener = ["--tls-grpc-listener", &address];
        start.ends(
            2,
            &[&listener[..], &["--tls-cert", cert, "--tls-key", key]].concat(),
        )
    }

    #[test]
    fn unreadable() {
        let start = Start::new(POWER);
        let cert = start.path("no.pem");
        let said = ends_with(&start, &cert, &pem("key.pem"));
        let text = format!("error: certificate {cert}: cannot read it");
        says(&said, &[&text, "No such file or directory"]);
        let said = ends_with(&start, &pem("cert.pem"), &cert);
        says(&said, &[&format!("error: key {cert}: cannot read it")]);
    }

    #[test]
    fn not_pem() {
        let start = Start::new(POWER);
        let noise = start.path("noise.pem");
        fs::write(&noise, [0xff, 0, 7, 0x80]).unwrap();
        let said = ends_with(&start, &noise, &pem("key.pem"));
        let text = format!("error: certificate {noise}: holds no certificate in PEM form");
        says(&said, &[&text]);
        let said = ends_with(&start, &pem("cert.pem"), &noise);
        says(
            &said,
            &[&format!(
                "error: key {noise}: holds no private key in PEM form"
            )],
        );
    }

    #[test]
    fn mixed_up() {
        let start = Start::new(POWER);
        let said = ends_with(&start, &pem("key.pem"), &pem("cert.pem"));
        says(&said, &["holds no certificate in PEM form"]);
    }

    #[test]
    fn mismatched() {
        let start = Start::new(POWER);
        let (cert, key) = (pem("cert.pem"), pem("other-key.pem"));
        let said = ends_with(&start, &cert, &key);
        says(
            &said,
            &[&format!("error: certificate {cert} and key {key}:")],
        );
    }
}

mod arguments {
    use super::*;

    #[test]
    fn unknown_flag() {
        let said = Start::new(POWER).ends(2, &["--unixx", "/x"]);
        says(&said, &["unexpected argument '--unixx'", "--unix"]);
    }

    #[test]
    fn bad_port() {
        for bad in ["0", "65536", "127.0.0.1:http", "::1:80"] {
            let said =
                Start::new(POWER).ends(2, &["--tls-grpc-listener", bad, "--tls-grpc-insecure"]);
            says(
                &said,
                &[
                    &format!("invalid value '{bad}' for '--tls-grpc-listener"),
                    "8090",
                ],
            );
        }
    }

    #[test]
    fn a_listener_needs_a_certificate_or_the_word_that_it_wants_none() {
        let said = Start::new(POWER).ends(2, &["--tls-grpc-listener", "127.0.0.1:8090"]);
        says(
            &said,
            &["needs --tls-cert and --tls-key, or --tls-grpc-insecure"],
        );
    }

    #[test]
    fn file_that_is_not_there() {
        let start = Start::new(POWER);
        fs::remove_file(&start.file).unwrap();
        let said = start.ends(2, &[]);
        says(
            &said,
            &[start.file.to_str().unwrap(), "there is no such file"],
        );
    }

    #[test]
    fn bad_log_filter() {
        let said = Start::new(POWER).ends(2, &["--log", "rigd=loud"]);
        says(&said, &["error: log filter 'rigd=loud' is not valid"]);
    }
}

mod configuration {
    use super::*;

    #[test]
    fn mistakes_are_told_all_at_once_with_file_line_and_column() {
        let start = Start::new(
            "metadata: {name: power}\nexport:\n  power:\n    typ: power.mock\n  console: {type: serail}\n",
        );
        let said = start.ends(2, &[]);
        let file = start.file.to_str().unwrap();
        says(
            &said,
            &[
                &format!("{file}:4:5"),
                &format!("{file}:5:19"),
                "typ",
                "type",
                "serail",
                "serial",
            ],
        );
    }

    #[test]
    fn config_of_a_driver() {
        let start = Start::new(
            "metadata: {name: a}\nexport:\n  board:\n    type: virtual.board\n    config: {card: {sise: 16MiB}}\n",
        );
        let said = start.ends(2, &[]);
        says(
            &said,
            &[&format!("{}:5:21", start.file.display()), "sise", "size"],
        );
    }
}
