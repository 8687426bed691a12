//! What the controller hears, whatever it does meanwhile.

use std::time::{Duration, Instant};

use rigd_client::{Code, ExporterStatus};
use rustix::process::Signal;

use crate::{
    lab::{Fault, Heard, Lab, Memory, Part, Rpc, What},
    rig::{Rig, SOON, accepted, until},
    traffic::rig::within,
};

/// Both hooks leave a trace.
const TRACED: &str = "\
hooks:
  beforeLease: {script: echo before $LEASE_NAME >> @DIR@/trace}
  afterLease: {script: echo after $LEASE_NAME >> @DIR@/trace}
";

fn at(heard: &[Heard], wanted: impl Fn(&Heard) -> bool) -> usize {
    let found = heard.iter().position(wanted);
    found.unwrap_or_else(|| panic!("not heard:\n{}", crate::lab::listing(heard)))
}

fn is_release(heard: &Heard) -> bool {
    matches!(heard.what, What::ReleaseLease { .. })
}

#[test]
fn row_03_registration_is_tried_until_it_works() {
    let lab = Lab::start();
    lab.stop(Part::Controller);
    let refusal = Fault::refuse(Rpc::Register, Code::Unavailable, "still starting");
    lab.inject(refusal.times(2));
    // Three failures, the waits between which double from a second on; they are no reason to give up.
    let limits = "failureDetection: {maxRapidFailures: 1}\n";
    let mut rig = Rig::launch(lab, &[("rig", limits)]);
    rig.daemon.expect_line("No connection to the controller");
    rig.lab.restart(Part::Controller, Memory::Kept);
    let heard = rig.hears(ExporterStatus::Available);
    let registrations = heard
        .iter()
        .filter(|it| matches!(it.what, What::Register { .. }));
    assert_eq!(registrations.count(), 3);
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_another_lease_without_a_word_in_between_is_served() {
    let mut rig = Rig::start(TRACED);
    let (first, before) = rig.lease("first").await;
    let power = before.exporter.device("power").await.unwrap();
    power.call("on", vec![]).await.unwrap();

    let second = rig.lab.switch_lease("rig", "second");
    rig.traces("after");
    let error = power.call("off", vec![]).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::FailedPrecondition), "{error}");
    let listens = |heard: &[Heard]| {
        let listen = What::Listen {
            lease: second.clone(),
        };
        let begin = heard.iter().position(|it| it.what == listen);
        begin.is_some_and(|begin| {
            accepted(&heard[begin..]).any(|(status, _)| status == ExporterStatus::LeaseReady)
        })
    };
    let heard = rig.lab.wait(SOON, listens);
    let trace = format!("before {first}\nafter {first}\nbefore {second}\n");
    assert_eq!(rig.trace(), trace);
    assert!(!heard.iter().any(is_release), "it was over already");
    let after = rig.client(&second).await;
    let its = after.exporter.device("power").await.unwrap();
    its.call("on", vec![]).await.unwrap();
    assert!(!rig.switched("off"));
    rig.stops();
}

#[test]
fn row_05_the_newest_state_is_told_once_the_controller_hears_again() {
    let wait = until("go");
    let mut rig = Rig::start(&format!("hooks: {{beforeLease: {{script: '{wait}'}}}}\n"));
    rig.lab.inject(Fault::refuse(
        Rpc::ReportStatus,
        Code::Unavailable,
        "no store",
    ));
    rig.lab.lease("rig", "bench");
    let tries = |heard: &[Heard], wanted: ExporterStatus| {
        let tries = heard.iter().filter(|it| {
            matches!(&it.what, What::Report { status, .. } if *status == wanted)
                && it.refused.is_some()
        });
        tries.count()
    };
    rig.lab.wait(SOON, |heard| {
        tries(heard, ExporterStatus::BeforeLeaseHook) >= 3
    });
    rig.touch("go");
    rig.lab
        .wait(SOON, |heard| tries(heard, ExporterStatus::LeaseReady) >= 1);
    rig.lab.heal();
    let heard = rig.hears(ExporterStatus::LeaseReady);
    let texts: Vec<_> = accepted(&heard).map(|(_, text)| text).collect();
    assert_eq!(
        texts,
        ["Exporter registered and available", "Ready for commands"]
    );
    rig.stops();
}

#[test]
fn row_06_a_failure_is_heard_though_another_state_follows_at_once() {
    for (hook, failed) in [
        ("beforeLease", ExporterStatus::BeforeLeaseHookFailed),
        ("afterLease", ExporterStatus::AfterLeaseHookFailed),
    ] {
        let script = format!("echo run >> @DIR@/trace; {}; exit 7", until("go"));
        let mut rig = Rig::start(&format!(
            "hooks: {{{hook}: {{script: '{script}', onFailure: endLease}}}}\n"
        ));
        let lease = rig.lab.lease("rig", "bench");
        if hook == "afterLease" {
            rig.hears(ExporterStatus::LeaseReady);
            rig.lab.end_lease(&lease);
        }
        rig.traces("run");
        // Not before the lease has ended as well.
        rig.lab.inject(Fault::refuse(
            Rpc::ReportStatus,
            Code::Unavailable,
            "no store",
        ));
        rig.touch("go");
        let end = |heard: &[Heard]| match hook {
            "beforeLease" => heard.iter().any(is_release),
            _ => heard
                .iter()
                .any(|it| matches!(&it.what, What::Report { status, .. } if *status == failed)),
        };
        rig.lab.wait(SOON, end);
        rig.lab.heal();
        rig.hears(ExporterStatus::Available);
        let heard = rig.hears_text("Exporter available after lease release");
        let texts: Vec<_> = accepted(&heard).collect();
        let text =
            format!("{hook} hook failed (on_failure=endLease): Hook failed with exit code 7");
        let [.., last_but_one, _] = texts[..] else {
            panic!("{texts:?}");
        };
        assert_eq!(last_but_one, (failed, text.as_str()), "{texts:?}");
        rig.stops();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_07_a_client_that_asks_now_and_then_sees_the_failure_and_the_exporter_ends_by_itself() {
    let script = format!("{}; exit 7", until("go"));
    let mut rig = Rig::start(&format!(
        "hooks: {{beforeLease: {{script: '{script}', onFailure: exit}}}}\n"
    ));
    let lease = rig.lab.lease("rig", "bench");
    rig.hears(ExporterStatus::BeforeLeaseHook);
    let client = rig.client(&lease).await;
    rig.touch("go");
    let text =
        "beforeLease hook failed (on_failure=exit, shutting down): Hook failed with exit code 7";
    within(SOON, "the failure", async {
        loop {
            let status = client.exporter.status().await.unwrap();
            if status.state == ExporterStatus::BeforeLeaseHookFailed {
                return assert_eq!(status.message, text);
            }
            // The slowest of the released clients' intervals.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
    assert_eq!(rig.ended(), Some(3), "{}", rig.daemon.output.text());
    assert_eq!(
        rig.story()[5..],
        [
            text,
            "release",
            "Exporter shutting down",
            "unregister: Exporter shutdown"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_08_the_states_of_a_stop_reach_the_controller() {
    let script = format!("echo after >> @DIR@/trace; {}; exit 9", until("go"));
    let mut rig = Rig::start(&format!(
        "hooks: {{afterLease: {{script: '{script}', onFailure: endLease}}}}\n"
    ));
    let (_, client) = rig.lease("bench").await;
    rig.daemon.signal(Signal::TERM);
    rig.hears(ExporterStatus::AfterLeaseHook);
    let power = client.exporter.device("power").await.unwrap();
    let error = power.call("on", vec![]).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::FailedPrecondition), "{error}");
    rig.touch("go");
    assert_eq!(rig.ended(), Some(0), "{}", rig.daemon.output.text());
    assert_eq!(
        rig.story()[5..],
        [
            "Running afterLease hooks",
            "afterLease hook failed (on_failure=endLease): Hook failed with exit code 9",
            "release",
            "Exporter shutting down",
            "unregister: Exporter shutdown",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_27_and_28_available_comes_after_the_release_was_answered() {
    for hooks in ["", TRACED] {
        let mut rig = Rig::start(hooks);
        let (_, client) = rig.lease("bench").await;
        let slow = Duration::from_millis(700);
        rig.lab.inject(Fault::delay(Rpc::ReleaseLease, slow));
        let passing = Fault::refuse(Rpc::ReleaseLease, Code::Unavailable, "no store");
        rig.lab.inject(passing.times(1));
        assert!(client.exporter.end_session().await.unwrap().accepted);
        let heard = rig.hears_text("Exporter available after lease release");
        assert_eq!(heard.iter().filter(|it| is_release(it)).count(), 2);
        assert_eq!(rig.lab.lease_of("rig"), None);
        let release = at(&heard, |it| is_release(it) && it.refused.is_none());
        let available = at(&heard, |it| {
            matches!(&it.what, What::Report { message, .. }
                if message == "Exporter available after lease release")
        });
        let waited = heard[available].at.saturating_sub(heard[release].at);
        assert!(waited >= slow, "{waited:?}");
        rig.stops();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_29_a_client_that_ends_its_lease_itself_keeps_nobody_waiting() {
    let mut rig = Rig::start(TRACED);
    let (lease, client) = rig.lease("bench").await;
    assert!(client.exporter.end_session().await.unwrap().accepted);
    let begin = Instant::now();
    within(SOON, "the final status", async {
        while client.exporter.status().await.unwrap().state != ExporterStatus::Available {}
    })
    .await;
    rig.lab.end_lease(&lease);
    let heard = rig.hears_text("Exporter available after lease release");
    let took = begin.elapsed();
    eprintln!("from EndSession to the next lease: {took:?}");
    // Upstream sleeps for 1.2 s after the hook; the hooks take a few milliseconds here.
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(!heard.iter().any(is_release), "it was over already");
    rig.stops();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_31_an_outage_of_the_controller_costs_the_holder_nothing() {
    /// Upstream gives up after five attempts, which are over by then.
    const OUTAGE: Duration = Duration::from_secs(6);
    let mut rig = Rig::start_in(Lab::start_with_router_port(), TRACED);
    let (lease, client) = rig.lease("bench").await;
    let power = client.exporter.device("power").await.unwrap();
    power.call("on", vec![]).await.unwrap();
    rig.lab.stop(Part::Controller);
    rig.daemon.expect_line("No connection to the controller");
    let begin = Instant::now();
    while begin.elapsed() < OUTAGE {
        let call = power.call("on", vec![]);
        within(SOON, "a call meanwhile", call).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = rig.lab.heard().len();
    rig.lab.restart(Part::Controller, Memory::Kept);
    let back = |heard: &[Heard]| {
        accepted(&heard[before..]).any(|(status, _)| status == ExporterStatus::LeaseReady)
            && heard[before..]
                .iter()
                .any(|it| matches!(it.what, What::Listen { .. }))
    };
    rig.lab.wait(SOON, back);
    power.call("on", vec![]).await.unwrap();
    // Somebody who comes only now gets in too.
    let second = rig.client(&lease).await;
    let power = second.exporter.device("power").await.unwrap();
    within(SOON, "a call of the second one", power.call("on", vec![]))
        .await
        .unwrap();
    assert_eq!(rig.trace(), format!("before {lease}\n"));
    rig.stops();
}

#[test]
fn row_34_a_report_that_hangs_does_not_keep_the_exporter_from_signing_off() {
    let mut rig = Rig::start("");
    let hang = Duration::from_secs(60);
    rig.lab.inject(Fault::delay(Rpc::ReportStatus, hang));
    rig.stops();
    assert_eq!(
        rig.story().last().map(String::as_str),
        Some("unregister: Exporter shutdown")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_an_old_controller_is_told_the_release_by_the_status() {
    let mut rig = Rig::start("");
    // What those answer that know ReleaseLease for clients alone.
    let text = "object kind mismatch";
    rig.lab.inject(Fault::refuse(
        Rpc::ReleaseLease,
        Code::InvalidArgument,
        text,
    ));
    for round in 0..2 {
        let (_, client) = rig.lease("bench").await;
        assert!(client.exporter.end_session().await.unwrap().accepted);
        rig.lab.wait(SOON, |heard| {
            let free = "Exporter available after lease release";
            accepted(heard).filter(|(_, text)| *text == free).count() > round
        });
        assert_eq!(rig.lab.lease_of("rig"), None);
    }
    let heard = rig.lab.heard();
    // Remembered for the second time.
    assert_eq!(heard.iter().filter(|it| is_release(it)).count(), 1);
    let released: Vec<_> = heard
        .iter()
        .filter_map(|it| match &it.what {
            What::Report {
                status,
                message,
                release: true,
            } => Some((*status, message.as_str())),
            _ => None,
        })
        .collect();
    let text = "Lease released (compat: ReportStatus with release_lease)";
    assert_eq!(released.iter().filter(|it| it.1 == text).count(), 2);
    assert!(
        released.iter().all(|it| it.0 != ExporterStatus::Available),
        "{released:?}"
    );
    rig.stops();
}

#[test]
fn row_39_one_connection_carries_all_that_is_said_to_the_controller() {
    let mut rig = Rig::start_in(Lab::start_with_router_port(), TRACED);
    let lease = rig.lab.lease("rig", "bench");
    rig.hears(ExporterStatus::LeaseReady);
    assert_eq!(rig.lab.connections(Part::Controller), 1);
    rig.lab.end_lease(&lease);
    rig.hears(ExporterStatus::Available);
    assert_eq!(rig.lab.connections(Part::Controller), 1);
    rig.stops();
}
