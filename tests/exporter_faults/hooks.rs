//! Hooks, the gate in front of instruments, and what happens while a hook runs.

use std::fs;

use rigd_client::{Code, ExporterStatus, LogSource};
use rustix::process::Signal;

use crate::{
    lab::{Heard, What},
    rig::{Rig, SOON, until},
    traffic::rig::within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_01_what_waits_at_the_gate_is_refused_when_before_lease_fails() {
    let script = format!("echo said by the hook; {}; exit 7", until("go"));
    let mut rig = Rig::start(&format!(
        "hooks: {{beforeLease: {{script: '{script}', onFailure: endLease}}}}\n"
    ));
    let lease = rig.lab.lease("rig", "bench");
    rig.hears(ExporterStatus::BeforeLeaseHook);
    let door = rig.client(&lease).await;
    let client = &door.exporter;
    let status = client.status().await.unwrap();
    assert_eq!(status.state, ExporterStatus::BeforeLeaseHook);
    let power = client.device("power").await.unwrap();
    let held = tokio::spawn(async move { power.call("on", vec![]).await });
    // Live, while the call waits.
    let mut logs = client.logs().await.unwrap();
    within(SOON, "the hook's line", async {
        loop {
            let line = logs.next().await.unwrap().unwrap();
            if line.message == "said by the hook" {
                return assert_eq!(line.source, LogSource::BeforeLeaseHook);
            }
        }
    })
    .await;
    assert!(!held.is_finished());
    rig.touch("go");
    let error = within(SOON, "the refusal", held)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::FailedPrecondition), "{error}");
    let status = client.status().await.unwrap();
    assert_eq!(status.state, ExporterStatus::BeforeLeaseHookFailed);
    rig.hears(ExporterStatus::Available);
    assert!(!rig.switched("on"));
    rig.stops();
}

/// Whether a process has ended; it may still wait for an init process that is slow to reap.
fn is_gone(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| {
        stat.rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
    })
}

#[test]
fn row_09_what_a_hook_started_ends_with_it() {
    // Neither listens to TERM; the hook itself does.
    let script = "\
      trap '' TERM\n      \
      sleep 1000 & echo $! > @DIR@/child\n      \
      sh -c 'sleep 1000 & echo $! > @DIR@/grandchild; wait' &\n      \
      trap - TERM\n      \
      wait";
    let mut rig = Rig::start(&format!(
        "hooks:\n  beforeLease:\n    timeout: 1\n    script: |\n      {script}\n"
    ));
    rig.lab.lease("rig", "bench");
    rig.hears_text("[HOOK_WARNING] beforeLease hook warning: Hook timed out after 1 seconds");
    for name in ["child", "grandchild"] {
        let pid = fs::read_to_string(rig.settings.path(name)).unwrap();
        assert!(is_gone(pid.trim()), "{name} {pid} runs");
    }
    rig.stops();
}

#[test]
fn row_10_after_lease_waits_for_the_end_of_a_before_lease_that_is_cut() {
    let before = format!(
        "mkdir @DIR@/busy; trap \"sleep 0.3; rmdir @DIR@/busy; echo cut >> @DIR@/trace; exit 1\" TERM; \
         echo before >> @DIR@/trace; {}",
        until("never")
    );
    let after = "[ -d @DIR@/busy ] && echo overlap >> @DIR@/trace; echo after >> @DIR@/trace";
    let mut rig = Rig::start(&format!(
        "hooks:\n  beforeLease: {{script: '{before}'}}\n  afterLease: {{script: '{after}'}}\n"
    ));
    let lease = rig.lab.lease("rig", "bench");
    rig.traces("before");
    rig.lab.end_lease(&lease);
    rig.hears_text("Exporter available after lease release");
    assert_eq!(rig.trace(), "before\ncut\nafter\n");
    assert!(!rig.story().contains(&"Ready for commands".to_owned()));
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_the_end_of_a_lease_cuts_before_lease() {
    let before = "echo before >> @DIR@/trace; sleep 1000";
    let mut rig = Rig::start(&format!(
        "hooks: {{beforeLease: {{script: '{before}', timeout: 600}}}}\n"
    ));
    // By the controller, then by the client itself.
    let lease = rig.lab.lease("rig", "bench");
    rig.traces("before");
    rig.lab.end_lease(&lease);
    rig.hears(ExporterStatus::Available);

    let lease = rig.lab.lease("rig", "bench");
    rig.hears(ExporterStatus::BeforeLeaseHook);
    let client = rig.client(&lease).await;
    assert!(client.exporter.end_session().await.unwrap().accepted);
    rig.hears(ExporterStatus::Available);
    assert_eq!(rig.lab.lease_of("rig"), None);
    rig.stops();
}

#[test]
fn row_12_the_controller_is_heard_while_a_hook_runs() {
    /// Far more than upstream's buffer of five messages.
    const LEASES: usize = 12;
    let after = format!("echo after $LEASE_NAME >> @DIR@/trace; {}", until("go"));
    let mut rig = Rig::start(&format!(
        "hooks:\n  beforeLease: {{script: echo before $LEASE_NAME >> @DIR@/trace}}\n  \
         afterLease: {{script: '{after}'}}\n"
    ));
    let first = rig.lab.lease("rig", "bench");
    rig.hears(ExporterStatus::LeaseReady);
    rig.lab.end_lease(&first);
    rig.traces("after");
    for _ in 0..LEASES {
        let passing = rig.lab.lease("rig", "in a hurry");
        rig.lab.end_lease(&passing);
    }
    let last = rig.lab.lease("rig", "patient");
    rig.hears(ExporterStatus::AfterLeaseHook);
    rig.touch("go");
    rig.hears(ExporterStatus::LeaseReady);
    let trace = format!("before {first}\nafter {first}\nbefore {last}\n");
    assert_eq!(rig.trace(), trace);
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_hup_reloads_at_once_when_idle_and_after_the_lease_when_not() {
    let mut rig = Rig::start("");
    let trees = |heard: &[Heard]| -> Vec<usize> {
        let trees = heard.iter().filter_map(|it| match &it.what {
            What::Register { reports, .. } => Some(reports.len()),
            _ => None,
        });
        trees.collect()
    };
    // Idle, but not for the first time.
    let lease = rig.lab.lease("rig", "bench");
    rig.hears(ExporterStatus::LeaseReady);
    rig.lab.end_lease(&lease);
    rig.hears(ExporterStatus::Available);
    rig.rewrite("  more: {type: power.mock}\n");
    rig.daemon.signal(Signal::HUP);
    rig.lab.wait(SOON, |heard| trees(heard) == [2, 3]);
    rig.hears(ExporterStatus::Available);

    let (lease, client) = rig.lease("bench").await;
    rig.rewrite("");
    rig.daemon.signal(Signal::HUP);
    rig.daemon.expect_line("when the lease of 'bench' ends");
    let more = client.exporter.device("more").await.unwrap();
    more.call("on", vec![]).await.unwrap();
    rig.lab.end_lease(&lease);
    rig.lab.wait(SOON, |heard| trees(heard) == [2, 3, 2]);
    rig.hears(ExporterStatus::Available);
    rig.stops();
}

#[test]
fn row_14_a_second_term_cuts_a_long_hook_and_the_exporter_still_signs_off() {
    let after = format!(
        "trap \"\" TERM; echo $$ > @DIR@/pid; echo after >> @DIR@/trace; {}",
        until("never")
    );
    let mut rig = Rig::start(&format!("hooks: {{afterLease: {{script: '{after}'}}}}\n"));
    rig.lab.lease("rig", "bench");
    rig.hears(ExporterStatus::LeaseReady);
    rig.daemon.signal(Signal::TERM);
    rig.traces("after");
    assert!(rig.daemon.alive());
    rig.daemon.signal(Signal::TERM);
    assert_eq!(rig.ended(), Some(0), "{}", rig.daemon.output.text());
    let pid = fs::read_to_string(rig.settings.path("pid")).unwrap();
    assert!(is_gone(pid.trim()), "the hook runs");
    let story = rig.story();
    assert_eq!(rig.lab.lease_of("rig"), None, "{story:?}");
    assert_eq!(
        story[story.len() - 2..],
        ["Exporter shutting down", "unregister: Exporter shutdown"]
    );
}
