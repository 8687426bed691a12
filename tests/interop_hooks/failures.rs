//! B to D: what a hook that fails means for its client and for the exporter.

use rigd_client::{
    ExporterStatus::{
        AfterLeaseHookFailed, Available, BeforeLeaseHook, BeforeLeaseHookFailed, LeaseReady,
        Offline,
    },
    LogSource,
};

use crate::{
    AFTER, BEFORE, END_LEASE, EXIT, WARN, after, before, both, ends, is_told,
    lab::{Heard, reported},
    reads,
    rig::{Rig, SOON, until},
    shell,
    support::python::{Venv, venv},
    watched,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_warn_goes_on() {
    // What the released client shows of it: `h3_…`.
    let mut rig = Rig::start(&before("echo HOOK_FAIL_WARN; exit 1", WARN));
    let (_, client) = rig.lease("bench").await;
    rig.hears_text("[HOOK_WARNING] beforeLease hook warning: Hook failed with exit code 1");
    reads(&client, LogSource::BeforeLeaseHook, "HOOK_FAIL_WARN").await;
    let power = client.exporter.device("power").await.unwrap();
    power.call("on", vec![]).await.unwrap();
    ends(&rig, &client).await;
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_end_lease() {
    let mut rig = Rig::start(&before(&watched("exit 1"), END_LEASE));
    let lease = rig.lab.lease("rig", "bench");
    rig.hears(BeforeLeaseHook);
    let client = rig.client(&lease).await;
    client.exporter.status().await.unwrap();
    rig.touch("go");
    let text = is_told(&client, BeforeLeaseHookFailed).await;
    let wanted =
        "beforeLease hook failed (on_failure=endLease): Hook failed with exit code 1".to_owned();
    assert_eq!(text, wanted);
    rig.hears(Available);
    assert_eq!(rig.lab.lease_of("rig"), None);
    let story = rig.story();
    let told = story.iter().position(|it| *it == wanted).unwrap();
    assert_eq!(story[told + 1], "release", "{story:?}");
    rig.stops();
}

/// `jmp shell` under a hook that fails once the client shows its output: a controller refuses to
/// connect clients to an exporter whose hook has failed.
fn fails(venv: &Venv, rig: &Rig) -> (Option<i32>, String) {
    let mut shell = shell(venv, rig, "--retry-timeout 0 -- touch ../acted");
    shell.expect_line("at work");
    rig.touch("go");
    shell.result()
}

#[test]
fn b3_end_lease_twice() {
    let Some(venv) = venv() else { return };
    let script = format!(
        "{BEFORE}; rm -f @DIR@/go; echo at work; {}",
        watched("exit 1")
    );
    let mut rig = Rig::start(&before(&script, END_LEASE));
    for round in 1..=2 {
        let (code, said) = fails(venv, &rig);
        assert_eq!(code, Some(1), "{said}");
        let text = "beforeLease hook failed (on_failure=endLease): Hook failed with exit code 1";
        assert!(said.contains(text), "{said}");
        rig.hears(Available);
        assert_eq!(rig.lab.lease_of("rig"), None);
        assert_eq!(rig.trace(), "before\n".repeat(round));
    }
    assert!(!rig.settings.path("acted").exists());
    rig.stops();
}

#[test]
fn b4_no_after_lease_once_before_lease_has_failed() {
    let mut rig = Rig::start(&both(&format!("{BEFORE}; exit 1"), END_LEASE, AFTER));
    rig.lab.lease("rig", "bench");
    rig.hears_text("Exporter available after lease release");
    assert_eq!(rig.trace(), "before\n");
    rig.stops();
    assert_eq!(rig.trace(), "before\n");
}

#[test]
fn b5_exit_takes_the_exporter_offline() {
    let Some(venv) = venv() else { return };
    let script = format!("echo at work; {}", watched("exit 1"));
    let mut rig = Rig::start(&before(&script, EXIT));
    let (code, said) = fails(venv, &rig);
    assert_eq!(code, Some(1), "{said}");
    let text = "beforeLease hook failed (on_failure=exit, shutting down): ";
    assert!(said.contains(text), "{said}");
    assert_eq!(rig.ended(), Some(3), "{}", rig.daemon.output.text());
    rig.hears(Offline);
    assert!(!rig.settings.path("acted").exists());
    assert_eq!(rig.lab.lease_of("rig"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_warn_leaves_the_exporter_available() {
    // What the released client shows of it: `h4_…`.
    let mut rig = Rig::start(&after("exit 1", WARN));
    for _ in 0..2 {
        let past = rig.lab.heard().len();
        let lease = rig.lab.lease("rig", "bench");
        let ready = |it: &Heard| it.reports(LeaseReady);
        rig.lab.wait(SOON, |heard| heard[past..].iter().any(ready));
        let client = rig.client(&lease).await;
        assert!(client.exporter.end_session().await.unwrap().accepted);
        let text = is_told(&client, Available).await;
        let wanted = "[HOOK_WARNING] afterLease hook warning: Hook failed with exit code 1";
        assert_eq!(text, wanted);
        rig.lab
            .wait(SOON, |heard| reported(heard, "rig", Available));
    }
    rig.stops();
}

#[test]
fn c2_exit_takes_the_exporter_offline() {
    let Some(venv) = venv() else { return };
    let mut rig = Rig::start(&after("exit 1", EXIT));
    let (code, said) = shell(venv, &rig, "-- j power on").result();
    assert_eq!(code, Some(1), "{said}");
    let text = "afterLease hook failed (on_failure=exit, shutting down): ";
    assert!(said.contains(text), "{said}");
    assert_eq!(rig.ended(), Some(3), "{}", rig.daemon.output.text());
    rig.lab.wait(SOON, |heard| {
        heard.iter().any(|it| it.reports(AfterLeaseHookFailed)) && reported(heard, "rig", Offline)
    });
    assert!(rig.switched("on"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_a_timeout_is_a_failure() {
    let script = format!("echo HOOK_TIMEOUT; {}", until("never"));
    let mut rig = Rig::start(&before(&script, ", timeout: 1"));
    let (_, client) = rig.lease("bench").await;
    rig.hears_text("[HOOK_WARNING] beforeLease hook warning: Hook timed out after 1 seconds");
    reads(&client, LogSource::BeforeLeaseHook, "HOOK_TIMEOUT").await;
    ends(&rig, &client).await;
    rig.stops();
}
