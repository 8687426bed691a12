//! Hooks, safeState and the journal of a run without a controller, which is one lease.

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
    path::PathBuf,
    time::{Duration, Instant},
};

use rigd_client::{Code, Exporter, ExporterStatus};
use rustix::process::Signal;
use support::{daemon::Daemon, settings::Settings};
use traffic::{rig::within, run::Running};

const SOON: Duration = Duration::from_secs(10);

/// An exporter whose hooks write what they do into files of the test's directory.
struct Rig {
    settings: Settings,
    file: PathBuf,
    socket: PathBuf,
}

impl Rig {
    fn new(hooks: &str) -> Self {
        let settings = Settings::new();
        let file = settings.path("exporter.yaml");
        let dir = settings.path("");
        let yaml = format!(
            "metadata: {{name: rig, namespace: default}}\n\
             export:\n  power: {{type: power.mock}}\n  mux: {{type: storage.mock-mux}}\n{}",
            hooks.replace("@DIR@", dir.to_str().unwrap().trim_end_matches('/'))
        );
        fs::write(&file, yaml).unwrap();
        let socket = settings.path("rigd.sock");
        Self {
            settings,
            file,
            socket,
        }
    }

    fn start(&self) -> Running {
        let mut command = Daemon::command(&self.settings);
        command
            .arg("run")
            .arg(&self.file)
            .arg("--unix")
            .arg(&self.socket);
        Running::spawn(command)
    }

    async fn connect(&self) -> Exporter {
        let begin = Instant::now();
        loop {
            match Exporter::connect_unix(&self.socket).await {
                Ok(exporter) => return exporter,
                Err(error) if begin.elapsed() > SOON => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// What the hooks wrote, in order.
    fn trace(&self) -> String {
        fs::read_to_string(self.settings.path("trace")).unwrap_or_default()
    }

    fn touch(&self, name: &str) {
        fs::write(self.settings.path(name), "").unwrap();
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let begin = Instant::now();
        while !done() {
            assert!(
                begin.elapsed() < SOON,
                "{what} did not happen; trace: {}",
                self.trace()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits for a file in between, so that a test decides how long the hook takes.
const BOTH: &str = "\
hooks:
  beforeLease:
    script: |
      echo before $LEASE_NAME >> @DIR@/trace
      echo said by the hook
      while [ ! -e @DIR@/go ]; do sleep 0.01; done
  afterLease:
    script: echo after >> @DIR@/trace
safeState:
  - {call: power.off}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_held_until_before_lease_is_over_and_after_lease_runs_at_the_end() {
    let rig = Rig::new(BOTH);
    let mut daemon = rig.start();
    let client = rig.connect().await;
    rig.until("beforeLease", || rig.trace().contains("before standalone"));
    let status = client.status().await.unwrap();
    assert_eq!(status.state, ExporterStatus::BeforeLeaseHook);
    let power = client.device("power").await.unwrap();
    let held = tokio::spawn(async move { power.call("on", vec![]).await });
    // The hook's output is live while the call waits.
    let mut logs = client.logs().await.unwrap();
    within(SOON, "the hook's line", async {
        while logs.next().await.unwrap().unwrap().message != "said by the hook" {}
    })
    .await;
    assert!(!held.is_finished());
    rig.touch("go");
    within(SOON, "the held call", held).await.unwrap().unwrap();
    daemon.expect_line("Exporter rig is ready");
    assert_eq!(
        client.status().await.unwrap().state,
        ExporterStatus::LeaseReady
    );
    daemon.signal(Signal::TERM);
    assert_eq!(
        daemon.ended(SOON).code(),
        Some(0),
        "{}",
        daemon.output.text()
    );
    assert_eq!(rig.trace(), "before standalone\nafter\n");
    assert!(
        daemon.output.text().contains("power off"),
        "safeState did not run"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_fails_ends_the_run_as_its_policy_says_and_a_client_sees_it() {
    for policy in ["exit", "endLease"] {
        let hooks = format!(
            "hooks:\n  beforeLease:\n    script: 'while [ ! -e @DIR@/go ]; do sleep 0.01; done; exit 7'\n    \
             onFailure: {policy}\n  afterLease: {{script: echo after >> @DIR@/trace}}\n\
             safeState: [{{call: power.off}}]\n"
        );
        let rig = Rig::new(&hooks);
        let mut daemon = rig.start();
        let client = rig.connect().await;
        rig.touch("go");
        within(SOON, "the failure to be seen", async {
            // As often as the released client asks.
            while client.status().await.unwrap().state != ExporterStatus::BeforeLeaseHookFailed {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        let code = daemon.ended(SOON).code();
        assert_eq!(code, Some(3), "{}", daemon.output.text());
        assert_eq!(
            rig.trace(),
            "",
            "afterLease ran although beforeLease failed"
        );
        assert!(
            daemon.output.text().contains("power off"),
            "safeState did not run"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_fails_with_warn_is_told_and_the_lease_is_ready() {
    let rig = Rig::new("hooks: {beforeLease: {script: exit 7}}\n");
    let daemon = rig.start();
    daemon.expect_line("Exporter rig is ready");
    let status = rig.connect().await.status().await.unwrap();
    assert_eq!(status.state, ExporterStatus::LeaseReady);
    let text = "[HOOK_WARNING] beforeLease hook warning: Hook failed with exit code 7";
    assert_eq!(status.message, text);
}

#[test]
fn a_stop_interrupts_before_lease_and_a_second_one_cuts_after_lease() {
    let rig = Rig::new(
        "hooks:\n  beforeLease: {script: 'echo before >> @DIR@/trace; sleep 100'}\n  \
         afterLease: {script: 'trap \"\" TERM; echo after >> @DIR@/trace; while :; do sleep 1; done'}\n",
    );
    let mut daemon = rig.start();
    rig.until("beforeLease", || rig.trace().contains("before"));
    daemon.signal(Signal::TERM);
    rig.until("afterLease", || rig.trace().contains("after"));
    assert!(daemon.alive());
    daemon.signal(Signal::TERM);
    assert_eq!(
        daemon.ended(SOON).code(),
        Some(0),
        "{}",
        daemon.output.text()
    );
    assert_eq!(rig.trace(), "before\nafter\n");
}

#[test]
fn two_signals_at_once_leave_after_lease_out_and_safe_state_in() {
    let rig = Rig::new(
        "hooks:\n  beforeLease: {script: 'echo before >> @DIR@/trace; sleep 100'}\n  \
         afterLease: {script: 'sleep 1; echo after >> @DIR@/trace'}\nsafeState: [{call: power.off}]\n",
    );
    let mut daemon = rig.start();
    rig.until("beforeLease", || rig.trace().contains("before"));
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::INT);
    assert_eq!(
        daemon.ended(SOON).code(),
        Some(0),
        "{}",
        daemon.output.text()
    );
    assert_eq!(rig.trace(), "before\n");
    assert!(
        daemon.output.text().contains("power off"),
        "safeState did not run"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hook_of_the_lease_before_printed_is_not_for_the_next_one() {
    let rig = Rig::new(
        "hooks:\n  beforeLease: {script: echo hello}\n  afterLease: {script: echo secret of the one before}\n",
    );
    let mut daemon = rig.start();
    daemon.expect_line("Exporter rig is ready");
    daemon.signal(Signal::KILL);
    daemon.ended(SOON);
    let daemon = rig.start();
    daemon.expect_line("Exporter rig is ready");
    let mut logs = rig.connect().await.logs().await.unwrap();
    let first = within(SOON, "a line", logs.next()).await.unwrap().unwrap();
    assert_eq!(first.message, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_the_next_start_makes_good_what_was_left_and_only_once() {
    let rig = Rig::new(BOTH);
    rig.touch("go");
    let mut daemon = rig.start();
    daemon.expect_line("Exporter rig is ready");
    daemon.signal(Signal::KILL);
    daemon.ended(SOON);
    assert_eq!(rig.trace(), "before standalone\n");
    for round in 2..4 {
        let mut daemon = rig.start();
        daemon.expect_line("Exporter rig is ready");
        let afters = rig.trace().matches("after\n").count();
        assert_eq!(afters, round - 1, "{}", rig.trace());
        let text = daemon.output.text();
        assert_eq!(text.contains("power off"), round == 2, "{text}");
        let power = rig.connect().await.device("power").await.unwrap();
        power.call("on", vec![]).await.unwrap();
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended(SOON).code(), Some(0));
    }
    assert_eq!(rig.trace().matches("before standalone\n").count(), 3);
    assert_eq!(rig.trace().matches("after\n").count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_there_before_the_stop_acts_no_more() {
    let rig = Rig::new(
        "hooks:\n  afterLease: {script: 'touch @DIR@/after; while [ ! -e @DIR@/go ]; do sleep 0.01; done'}\n",
    );
    let mut daemon = rig.start();
    daemon.expect_line("Exporter rig is ready");
    let client = rig.connect().await;
    let power = client.device("power").await.unwrap();
    power.call("on", vec![]).await.unwrap();
    daemon.signal(Signal::TERM);
    rig.until("afterLease", || rig.settings.path("after").exists());
    let error = power.call("on", vec![]).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::FailedPrecondition), "{error}");
    let status = client.status().await.unwrap();
    assert_eq!(status.state, ExporterStatus::AfterLeaseHook);
    rig.touch("go");
    assert_eq!(
        daemon.ended(SOON).code(),
        Some(0),
        "{}",
        daemon.output.text()
    );
    assert_eq!(daemon.output.text().matches("}: power on").count(), 1);
}

#[test]
fn a_hook_drives_the_exporter_with_the_released_j() {
    let Some(venv) = support::python::venv() else {
        return;
    };
    let j = venv.bin("j");
    let rig = Rig::new(&format!(
        "hooks:\n  beforeLease: {{script: '{} power on', onFailure: exit}}\n",
        j.display()
    ));
    let daemon = rig.start();
    daemon.expect_line("Exporter rig is ready");
    let text = daemon.output.text();
    assert!(text.contains("}: power on"), "{text}");
}

#[test]
fn a_safe_state_that_leads_nowhere_is_refused_with_its_place() {
    let rig = Rig::new("safeState: [{call: powr.off}, [{call: power.of}, {call: mux.host}]]\n");
    let mut daemon = rig.start();
    assert_eq!(daemon.ended(SOON).code(), Some(2));
    let text = daemon.output.text();
    assert!(
        text.contains("`safeState` calls `powr`, which does not exist"),
        "{text}"
    );
    assert!(
        text.contains("did you mean `power`?") && text.contains("did you mean `off`?"),
        "{text}"
    );
    assert!(text.contains("exporter.yaml:5:"), "{text}");
}
