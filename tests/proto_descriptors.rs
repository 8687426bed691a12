//! Owns the proof that our .proto files are the protocol of the released Python package.
//!
//! Both schemas are turned into facts (one line for each message, field, enum value and rpc) by
//! the same script; every fact that only one side has must be in the allow lists below, and every
//! entry of the lists must still be such a fact.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

mod support;

use std::{collections::BTreeSet, ffi::OsStr, path::Path, process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use support::{python::venv, python_file};

/// The package that the allow lists are about.
const RELEASED: &str = "0.9.0";

/// The script needs a quarter of a second; a loaded machine some seconds.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(60);

/// Facts of upstream's main branch that the released package does not have yet.
const ADDED_AFTER_RELEASE: &[&str] = &[
    "field jumpstarter.v1.GetReportResponse.motd = 5: string, json motd",
    "field jumpstarter.v1.LogStreamResponse.driver_type = 5: optional string, json driverType",
    "field jumpstarter.v1.LogStreamResponse.operation = 6: optional string, json operation",
    "field jumpstarter.v1.LogStreamResponse.timestamp = 7: optional google.protobuf.Timestamp, json timestamp",
    "field jumpstarter.v1.LogStreamResponse.structured_fields = 8: map<string, string>, json structuredFields",
    "field jumpstarter.v1.StatusResponse.context = 4: map<string, string>, json context",
    "rpc jumpstarter.v1.ControllerService.GetServiceEndpoints(jumpstarter.v1.GetServiceEndpointsRequest) returns (jumpstarter.v1.GetServiceEndpointsResponse)",
    "message jumpstarter.v1.GetServiceEndpointsRequest",
    "message jumpstarter.v1.GetServiceEndpointsResponse",
    "field jumpstarter.v1.GetServiceEndpointsResponse.telemetry_endpoints = 1: repeated jumpstarter.v1.TelemetryEndpoint, json telemetryEndpoints",
    "message jumpstarter.v1.TelemetryEndpoint",
    "field jumpstarter.v1.TelemetryEndpoint.endpoint = 1: string, json endpoint",
    "field jumpstarter.v1.TelemetryEndpoint.certificate = 2: string, json certificate",
    "field jumpstarter.v1.TelemetryEndpoint.min_severity = 3: string, json minSeverity",
    "file jumpstarter/v1/telemetry.proto: proto3 package jumpstarter.v1",
    "service jumpstarter.v1.TelemetryService",
    "rpc jumpstarter.v1.TelemetryService.PushLogs(jumpstarter.v1.PushLogsRequest) returns (jumpstarter.v1.PushLogsResponse)",
    "message jumpstarter.v1.PushLogsRequest",
    "field jumpstarter.v1.PushLogsRequest.entries = 1: repeated jumpstarter.v1.LogEntry, json entries",
    "message jumpstarter.v1.PushLogsResponse",
    "field jumpstarter.v1.PushLogsResponse.accepted = 1: uint32, json accepted",
    "field jumpstarter.v1.PushLogsResponse.dropped = 2: uint32, json dropped",
    "message jumpstarter.v1.LogEntry",
    "field jumpstarter.v1.LogEntry.timestamp = 1: google.protobuf.Timestamp, json timestamp",
    "field jumpstarter.v1.LogEntry.severity = 2: string, json severity",
    "field jumpstarter.v1.LogEntry.message = 3: string, json message",
    "field jumpstarter.v1.LogEntry.component = 4: string, json component",
    "field jumpstarter.v1.LogEntry.exporter = 5: string, json exporter",
    "field jumpstarter.v1.LogEntry.lease = 6: string, json lease",
    "field jumpstarter.v1.LogEntry.client = 7: string, json client",
    "field jumpstarter.v1.LogEntry.operation = 8: string, json operation",
    "field jumpstarter.v1.LogEntry.result = 9: string, json result",
    "field jumpstarter.v1.LogEntry.driver_type = 10: string, json driverType",
    "field jumpstarter.v1.LogEntry.extra_fields = 11: map<string, string>, json extraFields",
    "field jumpstarter.v1.LogEntry.namespace = 12: string, json namespace",
    "field jumpstarter.client.v1.Lease.context = 15: map<string, string>, json context",
];

/// Facts of the released package that upstream's main branch dropped; nothing calls the rpc.
const REMOVED_AFTER_RELEASE: &[&str] = &[
    "rpc jumpstarter.v1.ControllerService.AuditStream(stream jumpstarter.v1.AuditStreamRequest) returns (google.protobuf.Empty)",
    "message jumpstarter.v1.AuditStreamRequest",
    "field jumpstarter.v1.AuditStreamRequest.exporter_uuid = 1: string, json exporterUuid",
    "field jumpstarter.v1.AuditStreamRequest.driver_instance_uuid = 2: string, json driverInstanceUuid",
    "field jumpstarter.v1.AuditStreamRequest.severity = 3: string, json severity",
    "field jumpstarter.v1.AuditStreamRequest.message = 4: string, json message",
];

/// What the script prints.
#[derive(Deserialize)]
struct Schema {
    version: Option<String>,
    facts: BTreeSet<String>,
}

/// Runs the script with `input` on its standard input.
async fn dump(python: &Path, source: &str, input: &[u8]) -> Schema {
    let script = python_file("dump_descriptors.py");
    let mut child = Command::new(python)
        .args([script.as_os_str(), OsStr::new(source)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", python.display()));
    let mut stdin = child.stdin.take().unwrap();
    let output = timeout(SCRIPT_DEADLINE, async {
        // Cannot block for ever: the script prints nothing before it has read all of it.
        stdin.write_all(input).await.unwrap();
        drop(stdin);
        child.wait_with_output().await.unwrap()
    })
    .await
    .unwrap_or_else(|_| panic!("{} {source}: no answer", script.display()));
    assert!(output.status.success(), "{} {source}", script.display());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn set(facts: &[&str]) -> BTreeSet<String> {
    facts.iter().map(|&fact| fact.to_owned()).collect()
}

/// Compares which facts one side has alone with those it may have alone.
fn disagreements(side: &str, alone: &BTreeSet<String>, allowed: &BTreeSet<String>) -> Vec<String> {
    let surplus = alone
        .difference(allowed)
        .map(move |fact| format!("only {side}, not in the allow list: {fact}"));
    let stale = allowed
        .difference(alone)
        .map(move |fact| format!("in the allow list, but not a fact only {side}: {fact}"));
    surplus.chain(stale).collect()
}

fn compare(
    ours: &BTreeSet<String>,
    released: &BTreeSet<String>,
    added: &[&str],
    removed: &[&str],
) -> Vec<String> {
    let mut found = disagreements("ours", &(ours - released), &set(added));
    found.extend(disagreements("released", &(released - ours), &set(removed)));
    found
}

#[tokio::test]
async fn schema_is_that_of_the_released_package() {
    let Some(venv) = venv() else { return };
    let python = venv.python();
    let released = dump(&python, "released", &[]).await;
    assert_eq!(
        released.version.as_deref(),
        Some(RELEASED),
        "the allow lists are about another version"
    );
    let ours = dump(&python, "stdin", rigd_proto::FILE_DESCRIPTOR_SET).await;

    // Facts known beforehand: a script that finds nothing on either side would compare equal.
    for fact in [
        "field jumpstarter.v1.StreamRequest.payload = 1: bytes, json payload",
        "field jumpstarter.v1.UnregisterRequest.reason = 2: string, json reason",
        "field jumpstarter.v1.DriverCallRequest.args = 3: repeated google.protobuf.Value, json args",
        "value jumpstarter.v1.FrameType.FRAME_TYPE_GOAWAY = 7",
        "rpc jumpstarter.v1.RouterService.Stream(stream jumpstarter.v1.StreamRequest) returns (stream jumpstarter.v1.StreamResponse)",
        "rpc jumpstarter.client.v1.ClientService.DeleteLease(jumpstarter.client.v1.DeleteLeaseRequest) returns (google.protobuf.Empty)",
    ] {
        assert!(released.facts.contains(fact), "script lost: {fact}");
    }

    let found = compare(
        &ours.facts,
        &released.facts,
        ADDED_AFTER_RELEASE,
        REMOVED_AFTER_RELEASE,
    );
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn comparison_finds_every_kind_of_difference() {
    let same = set(&["same"]);
    let more = set(&["same", "more"]);
    assert_eq!(compare(&same, &same, &[], &[]), Vec::<String>::new());
    assert_eq!(compare(&more, &same, &["more"], &[]), Vec::<String>::new());
    assert_eq!(compare(&same, &more, &[], &["more"]), Vec::<String>::new());
    for (ours, released, added, removed) in [
        // Not in the list, in the wrong list, in the list without need.
        (&more, &same, &[][..], &[][..]),
        (&same, &more, &[], &[]),
        (&same, &more, &["more"], &["more"]),
        (&same, &same, &["more"], &[]),
        (&same, &same, &[], &["more"]),
        (&same, &same, &["same"], &[]),
    ] {
        assert_eq!(compare(ours, released, added, removed).len(), 1);
    }
}
