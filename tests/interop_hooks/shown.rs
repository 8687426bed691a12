//! G and H: what a client shows of an expiry and of failures.

use rigd_client::{
    Code,
    ExporterStatus::{Available, LeaseReady, Offline},
};

use crate::{
    AFTER, BEFORE, EXIT, WARN, after, before, both,
    lab::{Fault, Heard, Rpc, What},
    rig::{Rig, until},
    shell, shell_with,
    support::{
        jmp::LIMIT,
        python::{Venv, venv},
    },
};

/// A lease that lasts as long under a client that would stay longer: what the client printed.
#[track_caller]
fn expires(venv: &Venv, rig: &Rig, duration: &str) -> String {
    let line = format!("--duration {duration} -- sleep 300");
    let (_, said) = shell(venv, rig, &line).result();
    assert!(!said.contains("Error:"), "{said}");
    assert!(!said.contains("Traceback"), "{said}");
    rig.hears(Available);
    assert_eq!(rig.lab.lease_of("rig"), None);
    said
}

#[test]
fn g1_a_lease_expires_under_its_client() {
    let Some(venv) = venv() else { return };
    let mut rig = Rig::start("");
    expires(venv, &rig, "4s");
    let heard = rig.lab.heard();
    assert!(heard.iter().any(|it| it.reports(LeaseReady)));
    // Free for the next one.
    rig.lab.lease("rig", "next");
    rig.hears(LeaseReady);
    rig.stops();
}

#[test]
fn g2_a_lease_expires_while_before_lease_runs() {
    let Some(venv) = venv() else { return };
    let before = format!("{BEFORE}; {}", until("never"));
    let mut rig = Rig::start(&both(&before, "", AFTER));
    let line = "--duration 4s -- touch ../acted";
    // Both sides of a Dial wait half a minute for the exporter, which this test has no use for.
    let mut shell = shell_with(venv, &rig, line, &[("DIAL_TIMEOUT", "1")]);
    let expired = |it: &Heard| matches!(it.what, What::Expired { .. });
    rig.lab.wait(LIMIT, |heard| heard.iter().any(expired));
    let text = "exporter is not ready (status: Available)";
    rig.lab
        .inject(Fault::refuse(Rpc::Dial, Code::FailedPrecondition, text));
    let (_, said) = shell.result();
    assert!(!said.contains("Error:"), "{said}");
    assert!(!said.contains("Traceback"), "{said}");
    assert!(!rig.settings.path("acted").exists());
    rig.hears(Available);
    assert_eq!(rig.lab.lease_of("rig"), None);
    assert_eq!(rig.trace(), "before\nafter\n");
    assert!(!rig.lab.heard().iter().any(|it| it.reports(LeaseReady)));
    rig.stops();
}

#[test]
fn g3_a_lease_expires_shortly_after_before_lease() {
    let Some(venv) = venv() else { return };
    let script = format!("{BEFORE}; sleep 3");
    let mut rig = Rig::start(&both(&script, "", AFTER));
    expires(venv, &rig, "6s");
    assert_eq!(rig.trace(), "before\nafter\n");
    let heard = rig.lab.heard();
    assert!(heard.iter().any(|it| it.reports(LeaseReady)));
    rig.stops();
}

#[test]
fn h1_messages_of_the_infrastructure_are_not_for_clients() {
    let Some(venv) = venv() else { return };
    let mut rig = Rig::start(&both("echo BEFORE_HOOK", "", "echo AFTER_HOOK"));
    // With all that the exporter logs, which is more than upstream's case asks for.
    let said = shell(venv, &rig, "--exporter-logs -- j power on").succeeded();
    assert!(
        said.contains("BEFORE_HOOK") && said.contains("AFTER_HOOK"),
        "{said}"
    );
    let endpoint = rig.lab.endpoint();
    for hidden in [
        endpoint.as_str(),
        "/bin/sh",
        "JUMPSTARTER_HOST",
        // As upstream's own lines.
        "Starting hook subprocess",
        "Creating PTY",
        "Hook executed successfully",
        "[HOOK_WARNING]",
        "Warning:",
    ] {
        assert!(!said.contains(hidden), "{hidden} in {said}");
    }
    rig.stops();
}

#[test]
fn h2_a_failure_with_exit_leaves_after_lease_out() {
    let mut rig = Rig::start(&both(&format!("{BEFORE}; exit 1"), EXIT, AFTER));
    let lease = rig.lab.lease("rig", "bench");
    rig.hears_text(
        "beforeLease hook failed (on_failure=exit, shutting down): Hook failed with exit code 1",
    );
    rig.lab.end_lease(&lease);
    assert_eq!(rig.ended(), Some(3), "{}", rig.daemon.output.text());
    rig.hears(Offline);
    assert_eq!(rig.trace(), "before\n");
}

#[test]
fn h3_a_warning_of_before_lease_is_shown() {
    let Some(venv) = venv() else { return };
    let mut rig = Rig::start(&before("exit 7", WARN));
    let said = shell(venv, &rig, "-- j power on").succeeded();
    let text = "Warning: beforeLease hook warning: Hook failed with exit code 7";
    assert!(said.contains(text), "{said}");
    assert!(rig.switched("on"));
    rig.stops();
}

#[test]
fn h4_a_warning_of_after_lease_is_shown() {
    let Some(venv) = venv() else { return };
    let mut rig = Rig::start(&after("exit 7", WARN));
    let said = shell(venv, &rig, "-- j power on").succeeded();
    let text = "Warning: afterLease hook warning: Hook failed with exit code 7";
    assert!(said.contains(text), "{said}");
    rig.hears(Available);
    rig.stops();
}
