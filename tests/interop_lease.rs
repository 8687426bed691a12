//! Leases of a controller, over TLS and through the router, with the released `jmp`, `j` and
//! pytest on the client's side.
//!
//! Hooks and the expiry under a running client: `interop_hooks`. Without a controller:
//! `interop_direct`.

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

use std::fs;

use lab::{Fault, Heard, Lab, Rpc, What, reported};
use rig::{Rig, SOON, until};
use rigd_client::{
    Code,
    ExporterStatus::{Available, LeaseReady},
};
use support::{
    jmp::{LIMIT, Python},
    python::{Venv, venv},
    python_file,
    settings::Settings,
};

/// The client `bench`, which finds the exporter as `board=x`.
fn client(lab: &Lab, settings: &Settings) {
    lab.label("rig", "board", "x");
    lab.client_home(&settings.path("home"), "bench");
}

fn jmp(venv: &Venv, settings: &Settings, args: &[&str]) -> Python {
    Python::start(venv, settings, "jmp", args)
}

/// `jmp shell` for a lease of `board=x`, with that command in it.
fn shell(venv: &Venv, rig: &Rig, command: &[&str]) -> Python {
    client(&rig.lab, &rig.settings);
    let args = [&["shell", "--selector", "board=x", "--"], command].concat();
    jmp(venv, &rig.settings, &args)
}

/// Waits until the exporter is available, and nobody's.
#[track_caller]
fn is_free(lab: &Lab, exporter: &str) {
    lab.wait(LIMIT, |heard| reported(heard, exporter, Available));
    assert_eq!(lab.lease_of(exporter), None);
}

/// What the client's side did, in short.
fn client_story(heard: &[Heard]) -> Vec<&'static str> {
    let word = |it: &Heard| match &it.what {
        What::CreateLease { .. } => Some("create"),
        What::DeleteLease { .. } => Some("delete"),
        _ => None,
    };
    heard.iter().filter_map(word).collect()
}

#[test]
fn a_shell_from_acquiring_to_the_release() {
    let Some(venv) = venv() else { return };
    let mut rig = Rig::start("");
    let script = "set -e\n\
                  j power on\n\
                  echo exporter $JMP_EXPORTER, labels $JMP_EXPORTER_LABELS, lease $JMP_LEASE\n\
                  exit 7\n";
    fs::write(rig.settings.path("script"), script).unwrap();
    let (code, said) = shell(venv, &rig, &["sh", "../script"]).result();
    // The child's.
    assert_eq!(code, Some(7), "{said}");
    assert!(rig.switched("on"));
    is_free(&rig.lab, "rig");
    let heard = rig.lab.heard();
    let lease = heard.iter().find_map(|it| match &it.what {
        What::Listen { lease } => Some(lease.clone()),
        _ => None,
    });
    let lease = lease.unwrap();
    // Its labels are those of the administrator and its own.
    let line = format!("exporter rig, labels board=x,jumpstarter.dev/name=rig, lease {lease}");
    assert!(said.contains(&line), "{said}");
    assert_eq!(client_story(&heard), ["create", "delete"]);
    // The shell's probe, its own connection, and one of `j`.
    let dialled = |it: &&Heard| matches!(it.what, What::Dialled { code: Code::Ok, .. });
    let count = heard.iter().filter(dialled).count();
    assert_eq!(count, 3, "{}", lab::listing(&heard));
    rig.stops();
}

#[test]
fn pytest_in_a_shell() {
    let Some(venv) = venv() else { return };
    let mut rig = Rig::start("  dutlink: {type: virtual.board}\n");
    let case = python_file("board_in_a_lease.py");
    let python = venv.python();
    let command = [
        python.to_str().unwrap(),
        "-m",
        "pytest",
        case.to_str().unwrap(),
    ];
    let said = shell(venv, &rig, &command).succeeded();
    assert!(said.contains("1 passed"), "{said}");
    is_free(&rig.lab, "rig");
    rig.stops();
}

#[test]
fn the_python_interface() {
    let Some(venv) = venv() else { return };
    let mut rig = Rig::start("");
    client(&rig.lab, &rig.settings);
    let case = python_file("leased.py");
    let said = Python::start(venv, &rig.settings, "python", &[case.to_str().unwrap()]).succeeded();
    assert!(said.contains("acted in lease-"), "{said}");
    assert!(rig.switched("on") && rig.switched("off"));
    is_free(&rig.lab, "rig");
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hooks_print_is_shown_while_they_run() {
    let Some(venv) = venv() else { return };
    let script = |word: &str, file: &str| format!("echo {word} at work; {}", until(file));
    let mut rig = Rig::start(&format!(
        "motd: From the file.\nhooks:\n  beforeLease: {{script: 'echo From the hook. > $JMP_MOTD_FILE; {}'}}\n  \
         afterLease: {{script: '{}'}}\n",
        script("before", "go"),
        script("after", "end"),
    ));
    let mut shell = shell(venv, &rig, &["j", "power", "on"]);
    shell.expect_line("before at work");
    assert!(!rig.switched("on"));
    rig.touch("go");
    shell.expect_line("after at work");
    assert!(rig.switched("on"));
    assert_ne!(rig.lab.lease_of("rig"), None);
    // Released clients of that version do not show it.
    let lease = rig.lab.lease_of("rig").unwrap();
    let other = rig.client(&lease).await;
    let motd = other.exporter.report().await.unwrap().motd;
    assert!(
        motd.contains("From the file.") && motd.contains("From the hook."),
        "{motd}"
    );
    drop(other);
    rig.touch("end");
    shell.succeeded();
    is_free(&rig.lab, "rig");
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_takes_the_lease_from_one_client_and_gives_it_to_another() {
    let Some(venv) = venv() else { return };
    let mut rig = Rig::start("");
    client(&rig.lab, &rig.settings);
    rig.lab.client_token("other");
    let (lease, old) = rig.lease("bench").await;
    let power = old.exporter.device("power").await.unwrap();
    power.call("on", vec![]).await.unwrap();

    let update = ["update", "lease", &lease, "--to-client", "other"];
    jmp(venv, &rig.settings, &update).succeeded();
    // Until the exporter has heard of it, a call may still be served.
    let refused = async {
        loop {
            if let Err(error) = power.call("on", vec![]).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(SOON, refused).await.unwrap();
    assert!(
        matches!(
            error.code(),
            Some(Code::FailedPrecondition | Code::Unavailable)
        ),
        "{error:?}"
    );
    let acted = rig.daemon.output.text().matches("}: power on").count();
    // It neither ends the session of the new holder.
    if let Ok(end) = old.exporter.end_session().await {
        assert!(!end.accepted, "{end:?}");
    }
    power.call("on", vec![]).await.unwrap_err();
    let acts = rig.daemon.output.text().matches("}: power on").count();
    assert_eq!(acts, acted, "{}", rig.daemon.output.text());

    let new = rig.client(&lease).await;
    let power = new.exporter.device("power").await.unwrap();
    power.call("off", vec![]).await.unwrap();
    let status = new.exporter.status().await.unwrap();
    assert_eq!(status.state, LeaseReady);
    assert!(new.exporter.end_session().await.unwrap().accepted);
    is_free(&rig.lab, "rig");
    rig.stops();
}

#[test]
fn a_client_that_comes_before_the_exporter() {
    let Some(venv) = venv() else { return };
    let (lab, early) = (Lab::start(), Settings::new());
    lab.exporter_token("rig");
    client(&lab, &early);
    let args = ["shell", "--selector", "board=x", "--", "j", "power", "on"];
    let mut shell = jmp(venv, &early, &args);
    let asked = What::Looked { rpc: Rpc::GetLease };
    lab.wait(LIMIT, |heard| heard.iter().any(|it| it.what == asked));
    let mut rig = Rig::launch(lab, &[("rig", "")]);
    shell.succeeded();
    assert!(rig.switched("on"));
    is_free(&rig.lab, "rig");
    rig.stops();
}

#[test]
fn a_controller_of_an_older_release() {
    let Some(venv) = venv() else { return };
    // There this call is for clients alone.
    let lab = Lab::start();
    let text = "object kind mismatch";
    lab.inject(Fault::refuse(Rpc::ReleaseLease, Code::InvalidArgument, text).only("rig"));
    let after = format!("echo after at work; {}", until("go"));
    let mut rig = Rig::start_in(
        lab,
        &format!("hooks: {{afterLease: {{script: '{after}'}}}}\n"),
    );
    let shell = shell(venv, &rig, &["j", "power", "on"]);
    shell.expect_line("after at work");
    assert!(rig.switched("on"));
    // Killed, it does not end its lease, and the exporter has to.
    drop(shell);
    rig.touch("go");
    let compat = "Lease released (compat: ReportStatus with release_lease)";
    let heard = rig.hears_text(compat);
    let releases = heard.iter().filter_map(|it| match &it.what {
        What::Report { release: true, .. } => Some(()),
        _ => None,
    });
    assert_eq!(releases.count(), 1, "{}", lab::listing(&heard));
    is_free(&rig.lab, "rig");
    rig.stops();
}

#[test]
fn a_controller_that_takes_no_reports() {
    let Some(venv) = venv() else { return };
    let lab = Lab::start();
    lab.inject(Fault::refuse(Rpc::ReportStatus, Code::Unimplemented, "unknown method").only("rig"));
    let mut rig = Rig::launch(lab, &[("rig", "")]);
    shell(venv, &rig, &["j", "power", "on"]).succeeded();
    rig.lab.wait(LIMIT, |heard| {
        let closed = |it: &Heard| matches!(it.what, What::ListenClosed { .. });
        heard.iter().any(closed)
    });
    assert_eq!(rig.lab.lease_of("rig"), None);
    assert!(rig.switched("on"));
    // Told once, not again with every state.
    let text = rig.daemon.output.text();
    let told = text
        .lines()
        .filter(|line| line.contains("too old to be told"));
    assert_eq!(told.count(), 1, "{text}");
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_made_beforehand_outlives_its_shells() {
    let Some(venv) = venv() else { return };
    let mut rig = Rig::start("");
    client(&rig.lab, &rig.settings);
    let create = [
        "create",
        "lease",
        "--selector",
        "board=x",
        "--duration",
        "1h",
        "-o",
        "name",
    ];
    let made = jmp(venv, &rig.settings, &create).succeeded();
    let lease = made.trim();
    let args = ["shell", "--lease", lease, "--", "j", "power", "on"];
    jmp(venv, &rig.settings, &args).succeeded();
    assert!(rig.switched("on"));
    // A shell that did not make it does not end it.
    assert_eq!(rig.lab.lease_of("rig").as_deref(), Some(lease));
    let next = rig.client(lease).await;
    let power = next.exporter.device("power").await.unwrap();
    power.call("off", vec![]).await.unwrap();
    assert_eq!(next.exporter.status().await.unwrap().state, LeaseReady);
    rig.lab.end_lease(lease);
    is_free(&rig.lab, "rig");
    rig.stops();
}

#[test]
fn two_exporters_of_one_daemon_at_once() {
    let Some(venv) = venv() else { return };
    let hooks = |name: &str| format!("hooks: {{beforeLease: {{script: echo hook of {name}}}}}\n");
    let (left, right) = (hooks("left"), hooks("right"));
    let mut rig = Rig::launch(Lab::start(), &[("left", &left), ("right", &right)]);
    let names = ["left", "right"];
    for name in names {
        rig.lab.label(name, "side", name);
        rig.lab.wait(SOON, |heard| reported(heard, name, Available));
    }
    rig.lab.client_home(&rig.settings.path("home"), "bench");
    let start = |name: &str| {
        let file = rig.settings.path(name);
        let script = format!("touch {}; {}; j power on", file.display(), until("go"));
        let script = script.replace("@DIR@", rig.settings.path("").to_str().unwrap());
        let selector = format!("side={name}");
        let args = ["shell", "--selector", &selector, "--", "sh", "-c", &script];
        jmp(venv, &rig.settings, &args)
    };
    let mut shells = names.map(start);
    // Both are in their leases at the same time.
    for name in names {
        shells[usize::from(name == "right")].expect_line(&format!("hook of {name}"));
        rig.lab
            .wait(LIMIT, |heard| reported(heard, name, LeaseReady));
    }
    assert!(names.iter().all(|name| rig.lab.lease_of(name).is_some()));
    rig.touch("go");
    for (own, other) in [(0, "right"), (1, "left")] {
        let said = shells[own].succeeded();
        assert!(!said.contains(&format!("hook of {other}")), "{said}");
    }
    for name in names {
        is_free(&rig.lab, name);
    }
    let text = rig.daemon.output.text();
    assert_eq!(text.matches("}: power on").count(), 2, "{text}");
    rig.stops();
}
