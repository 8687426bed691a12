//! Hooks as upstream's end-to-end tests have them, group by group (A to H), with the released
//! clients where it matters what they show.
//!
//! More of hooks, without released clients: `lease_direct`, `exporter_faults::hooks`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod failures;
#[path = "../lab/mod.rs"]
mod lab;
#[allow(dead_code, reason = "shared with another test binary")]
#[path = "../exporter_faults/rig.rs"]
mod rig;
mod scripts;
mod shown;
#[path = "../support/mod.rs"]
mod support;
#[path = "../traffic/mod.rs"]
mod traffic;

use lab::reported;
use rig::{Client, Rig, SOON, until};
use rigd_client::{
    ExporterStatus::{self, Available},
    LogSource,
};
use support::{jmp::Python, python::Venv};

/// `jmp shell` for a lease of the exporter.
fn shell(venv: &Venv, rig: &Rig, line: &str) -> Python {
    shell_with(venv, rig, line, &[])
}

/// The same with these variables.
fn shell_with(venv: &Venv, rig: &Rig, line: &str, variables: &[(&str, &str)]) -> Python {
    rig.lab.label("rig", "board", "x");
    rig.lab.client_home(&rig.settings.path("home"), "bench");
    let line = format!("shell --selector board=x {line}");
    let args: Vec<_> = line.split(' ').collect();
    Python::start_at(venv, &rig.settings.path("home"), "jmp", &args, variables)
}

/// Ends the lease as a client does, and waits until the exporter is free.
async fn ends(rig: &Rig, client: &Client) {
    assert!(client.exporter.end_session().await.unwrap().accepted);
    rig.lab
        .wait(SOON, |heard| reported(heard, "rig", Available));
    assert_eq!(rig.lab.lease_of("rig"), None);
}

/// Waits until the client has read a line of a hook.
async fn reads(client: &Client, source: LogSource, wanted: &str) {
    let read = async {
        let mut logs = client.exporter.logs().await.unwrap();
        while let Some(line) = logs.next().await.unwrap() {
            if line.source == source && line.message == wanted {
                return;
            }
        }
        panic!("the log ended without {wanted:?}");
    };
    let read = tokio::time::timeout(SOON, read).await;
    read.unwrap_or_else(|_| panic!("no {wanted:?}"));
}

/// Waits until the client is told of that state, and returns the text.
async fn is_told(client: &Client, wanted: ExporterStatus) -> String {
    let told = async {
        loop {
            let status = client.exporter.status().await.unwrap();
            if status.state == wanted {
                return status.message;
            }
            // As often as the released client asks.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let told = tokio::time::timeout(SOON, told).await;
    told.unwrap_or_else(|_| panic!("not told of {wanted:?}"))
}

/// A hook that starts once a client is there to see how it ends.
fn watched(rest: &str) -> String {
    format!("{}; {rest}", until("go"))
}

fn before(script: &str, more: &str) -> String {
    format!("hooks: {{beforeLease: {{script: '{script}'{more}}}}}\n")
}

fn after(script: &str, more: &str) -> String {
    format!("hooks: {{afterLease: {{script: '{script}'{more}}}}}\n")
}

fn both(first: &str, more: &str, last: &str) -> String {
    format!(
        "hooks:\n  beforeLease: {{script: '{first}'{more}}}\n  afterLease: {{script: '{last}'}}\n"
    )
}

const BEFORE: &str = "echo before >> @DIR@/trace";
const AFTER: &str = "echo after >> @DIR@/trace";
const WARN: &str = ", onFailure: warn";
const END_LEASE: &str = ", onFailure: endLease";
const EXIT: &str = ", onFailure: exit";
