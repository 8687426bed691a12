//! A listener without a controller as upstream's end-to-end tests have it, with the released
//! `jmp shell --tls-grpc`; and `exitOnLeaseEnd`.
//!
//! Elsewhere: TLS on both sides, and clients of either kind that are refused:
//! `tests/python/test_tls.py`; each RPC with a wrong or missing passphrase, and the released client
//! without one: `tests/python/test_passphrase.py`; failing hooks: `lease_direct`; hooks under a
//! passphrase: `exporter_faults::direct`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;
#[allow(dead_code, reason = "shared with another test binary")]
#[path = "exporter_faults/rig.rs"]
mod rig;
mod support;
mod traffic;

use std::{fs, time::Duration};

use rig::{POWER, Rig, SOON};
use rigd_client::ExporterStatus::{Available, Offline};
use rustix::process::Signal;
use support::{
    daemon::{Daemon, Listen},
    jmp::Python,
    python::{Venv, venv},
    settings::Settings,
};

const PASSPHRASE: &str = "Correct horse";

/// A daemon with a power switch and these other keys, on TCP without TLS.
fn serve(settings: &Settings, listen: Listen, rest: &str) -> Daemon {
    let file = settings.path("rig.yaml");
    let dir = settings.path("");
    let rest = rest.replace("@DIR@", dir.to_str().unwrap().trim_end_matches('/'));
    fs::write(
        &file,
        format!("metadata: {{name: rig, namespace: lab}}\n{POWER}{rest}"),
    )
    .unwrap();
    fs::write(settings.path("passphrase"), PASSPHRASE).unwrap();
    Daemon::start(&file, listen, settings)
}

/// `jmp shell` for that daemon.
fn shell(venv: &Venv, settings: &Settings, daemon: &Daemon, args: &[&str]) -> Python {
    let head = ["shell", "--tls-grpc", &daemon.host];
    Python::start(venv, settings, "jmp", &[&head, args].concat())
}

fn switched(daemon: &Daemon, what: &str) -> bool {
    daemon.output.text().contains(&format!("}}: power {what}"))
}

#[test]
fn it_starts_and_a_client_calls_several_methods() {
    let Some(venv) = venv() else { return };
    let settings = Settings::new();
    let mut daemon = serve(&settings, Listen::Tcp, "");
    let script = "j power on && j power off && exit 7";
    let args = ["--tls-grpc-insecure", "--", "sh", "-c", script];
    let (code, said) = shell(venv, &settings, &daemon, &args).result();
    assert_eq!(code, Some(7), "{said}");
    assert!(switched(&daemon, "on") && switched(&daemon, "off"));
    daemon.stop_cleanly();
}

#[test]
fn a_client_that_wants_tls_fails_without_it() {
    let Some(venv) = venv() else { return };
    let settings = Settings::new();
    let mut daemon = serve(&settings, Listen::Tcp, "");
    let args = ["--", "j", "power", "on"];
    let (code, said) = shell(venv, &settings, &daemon, &args).result();
    assert_eq!(code, Some(1), "{said}");
    assert!(!switched(&daemon, "on"));
    daemon.stop_cleanly();
}

#[test]
fn before_lease_is_seen_by_clients_and_after_lease_runs_at_the_stop() {
    let Some(venv) = venv() else { return };
    let settings = Settings::new();
    let hooks = "hooks:\n  beforeLease: {script: echo BEFORE_HOOK_DIRECT}\n  \
                 afterLease: {script: echo after >> @DIR@/trace}\n";
    let mut daemon = serve(&settings, Listen::Tcp, hooks);
    let args = [
        "--tls-grpc-insecure",
        "--exporter-logs",
        "--",
        "j",
        "power",
        "on",
    ];
    let said = shell(venv, &settings, &daemon, &args).succeeded();
    assert!(said.contains("BEFORE_HOOK_DIRECT"), "{said}");
    assert!(switched(&daemon, "on"));
    // The lease is the run: it does not end with a client.
    assert!(!settings.path("trace").exists());
    daemon.stop_cleanly();
    assert_eq!(
        fs::read_to_string(settings.path("trace")).unwrap(),
        "after\n"
    );
}

#[test]
fn the_right_passphrase_and_a_wrong_one() {
    let Some(venv) = venv() else { return };
    let settings = Settings::new();
    let mut daemon = serve(&settings, Listen::Passphrase, "");
    let mut shells = ["Wrong donkey", PASSPHRASE].map(|passphrase| {
        let head = ["--tls-grpc-insecure", "--passphrase", passphrase, "--"];
        let args = [&head[..], &["j", "power", "on"]].concat();
        shell(venv, &settings, &daemon, &args)
    });
    let (code, said) = shells[0].result();
    assert_eq!(code, Some(1), "{said}");
    let text = "Authentication failed: invalid or missing passphrase";
    assert!(said.contains(text), "{said}");
    shells[1].succeeded();
    assert!(switched(&daemon, "on"));
    daemon.expect_line("refusal", |line| {
        line.contains("authentication failed: invalid or missing passphrase")
    });
    daemon.stop_cleanly();
    let text = daemon.output.text();
    for secret in ["Wrong donkey", PASSPHRASE] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_on_lease_end_stops_after_one_lease_and_not_before() {
    let mut rig = Rig::start("exitOnLeaseEnd: true\n");
    // It stays, also beyond a lease that it never had: this one waits for another exporter.
    rig.lab.exporter_token("other");
    let other = rig.lab.lease("other", "bench");
    rig.lab.end_lease(&other);
    let (_, client) = rig.lease("bench").await;
    assert!(rig.daemon.alive());
    let power = client.exporter.device("power").await.unwrap();
    power.call("on", vec![]).await.unwrap();
    assert!(client.exporter.end_session().await.unwrap().accepted);
    let read = async {
        // Until the session is closed, at the latest.
        while let Ok(status) = client.exporter.status().await {
            if status.state == Available {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, read).await.unwrap();
    assert_eq!(rig.ended(), Some(0), "{}", rig.daemon.output.text());
    rig.hears(Offline);
    assert_eq!(rig.lab.lease_of("rig"), None);
    let story = rig.story();
    assert_eq!(
        story.last().unwrap(),
        "unregister: Exporter shutdown",
        "{story:?}"
    );
}

#[test]
fn exit_on_lease_end_without_a_lease_stops_when_asked() {
    let mut rig = Rig::start("exitOnLeaseEnd: true\n");
    assert!(rig.daemon.alive());
    rig.daemon.signal(Signal::TERM);
    assert_eq!(rig.daemon.ended(Duration::from_secs(20)).code(), Some(0));
    rig.hears(Offline);
}
