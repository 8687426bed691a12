//! A, E and F: which script runs when, with what, and what it can do.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rigd_client::{
    Code,
    ExporterStatus::{Available, LeaseReady},
    LogSource,
};

use crate::{
    AFTER, BEFORE, EXIT, after, before, both, ends,
    lab::reported,
    reads,
    rig::{Rig, SOON, until},
    shell,
    support::{
        jmp::LIMIT,
        python::{Venv, venv},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_before_lease_runs() {
    let mut rig = Rig::start(&before(&format!("{BEFORE}; echo BEFORE_HOOK"), ""));
    let (_, client) = rig.lease("bench").await;
    assert_eq!(rig.trace(), "before\n");
    reads(&client, LogSource::BeforeLeaseHook, "BEFORE_HOOK").await;
    ends(&rig, &client).await;
    assert_eq!(rig.trace(), "before\n");
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_after_lease_runs() {
    let mut rig = Rig::start(&after(&format!("{AFTER}; echo AFTER_HOOK"), ""));
    let (_, client) = rig.lease("bench").await;
    assert_eq!(rig.trace(), "");
    assert!(client.exporter.end_session().await.unwrap().accepted);
    reads(&client, LogSource::AfterLeaseHook, "AFTER_HOOK").await;
    rig.lab
        .wait(SOON, |heard| reported(heard, "rig", Available));
    assert_eq!(rig.trace(), "after\n");
    rig.stops();
}

#[test]
fn a3_both_run_in_order() {
    let Some(venv) = venv() else { return };
    let hooks = both("echo BEFORE_HOOK", "", "echo AFTER_HOOK");
    let mut rig = Rig::start(&hooks);
    let said = shell(venv, &rig, "-- j power on").succeeded();
    let places = ["BEFORE_HOOK", "AFTER_HOOK"].map(|it| said.find(it));
    assert!(places[0].is_some() && places[0] < places[1], "{said}");
    assert!(rig.switched("on"));
    rig.hears(Available);
    assert_eq!(rig.lab.lease_of("rig"), None);
    rig.stops();
}

/// A script with the released commands in PATH.
fn with_j(venv: &Venv, script: &str) -> String {
    format!("PATH={}:$PATH; {script}", venv.bin("").display())
}

#[test]
fn e1_before_lease_uses_j() {
    let Some(venv) = venv() else { return };
    let script = with_j(venv, "j power on");
    let mut rig = Rig::start(&before(&script, EXIT));
    rig.lab.lease("rig", "bench");
    rig.lab
        .wait(LIMIT, |heard| reported(heard, "rig", LeaseReady));
    assert!(rig.switched("on"));
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_after_lease_uses_j_while_the_client_may_not() {
    let Some(venv) = venv() else { return };
    let script = with_j(venv, &format!("{}; j power off", until("go")));
    let mut rig = Rig::start(&after(&script, EXIT));
    let (_, client) = rig.lease("bench").await;
    assert!(client.exporter.end_session().await.unwrap().accepted);
    let power = client.exporter.device("power").await.unwrap();
    let error = power.call("on", vec![]).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::FailedPrecondition), "{error}");
    rig.touch("go");
    rig.lab
        .wait(LIMIT, |heard| reported(heard, "rig", Available));
    assert!(rig.switched("off") && !rig.switched("on"));
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_hooks_know_the_lease_and_the_client() {
    let script = "echo lease=$LEASE_NAME client=$CLIENT_NAME >> @DIR@/trace";
    let mut rig = Rig::start(&both(script, "", script));
    let (lease, client) = rig.lease("bench").await;
    ends(&rig, &client).await;
    let line = format!("lease={lease} client=bench\n");
    assert_eq!(rig.trace(), line.repeat(2));
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f1_exec_bash() {
    let script = "words=(BASH_HOOK works); [[ ${#words[@]} == 2 ]] && echo ${words[0]}";
    let mut rig = Rig::start(&before(script, ", exec: /bin/bash, onFailure: exit"));
    let (_, client) = rig.lease("bench").await;
    reads(&client, LogSource::BeforeLeaseHook, "BASH_HOOK").await;
    ends(&rig, &client).await;
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f2_a_python_file_drives_the_exporter() {
    let Some(venv) = venv() else { return };
    let more = format!(", exec: {}, onFailure: exit", venv.python().display());
    let mut rig = Rig::start(&before("hook.py", &more));
    // Relative to the directory in which the daemon was started.
    let text = "from jumpstarter.utils.env import env\n\
                with env() as client:\n    client.power.on()\n\
                print('PYTHON_HOOK')\n";
    fs::write(rig.settings.path("home/hook.py"), text).unwrap();
    let lease = rig.lab.lease("rig", "bench");
    rig.lab
        .wait(LIMIT, |heard| reported(heard, "rig", LeaseReady));
    let client = rig.client(&lease).await;
    reads(&client, LogSource::BeforeLeaseHook, "PYTHON_HOOK").await;
    assert!(rig.switched("on"));
    ends(&rig, &client).await;
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f3_a_script_file() {
    let mut rig = Rig::start(&before("@DIR@/hook.sh", EXIT));
    let file = rig.settings.path("hook.sh");
    fs::write(&file, "#!/bin/sh\necho SCRIPTFILE_HOOK \"$0\"\n").unwrap();
    // The interpreter reads it; nobody executes it.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let (_, client) = rig.lease("bench").await;
    let line = format!("SCRIPTFILE_HOOK {}", file.display());
    reads(&client, LogSource::BeforeLeaseHook, &line).await;
    ends(&rig, &client).await;
    rig.stops();
}
