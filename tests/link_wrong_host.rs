//! What goes wrong on the host itself, around leases of a controller: hooks that misbehave, and a
//! disk that is full. It is told, costs little, and the exporter serves the next lease.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;
mod link;
mod support;
mod traffic;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lab::{Heard, Lab, What, reported, story};
use link::{EXPORT, LIMIT, Rig, command, private_mounts, wrapped, write};
use rigd_proto::v1::ExporterStatus::{self, Available, BeforeLeaseHookFailed, LeaseReady, Offline};
use support::settings::Settings;
use traffic::process::Process;

/// The text of the last report of a status.
fn text_of(heard: &[Heard], wanted: ExporterStatus) -> String {
    let text = heard.iter().rev().find_map(|it| match &it.what {
        What::Report {
            status, message, ..
        } if *status == wanted => Some(message.clone()),
        _ => None,
    });
    text.unwrap_or_else(|| panic!("no {wanted:?}:\n{}", lab::listing(heard)))
}

/// Whether the processes with numbers in this file are gone, which they have to be by now.
#[track_caller]
fn are_gone(numbers: &Path) {
    let text = fs::read_to_string(numbers).unwrap();
    assert!(!text.trim().is_empty());
    for number in text.split_whitespace() {
        // Whoever is init here may take its time to bury the dead.
        let left = fs::read_to_string(format!("/proc/{number}/stat"));
        let dead = left.as_ref().map_or(true, |it| it.contains(") Z "));
        assert!(dead, "process {number} is still there: {left:?}");
    }
}

fn executable(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

/// A rig whose beforeLease hook is run by a program that may not be executed.
fn with_unusable_hook(policy: &str) -> (Rig, PathBuf) {
    let (lab, settings) = (Lab::start(), Settings::new());
    let tool = settings.path("tool");
    fs::write(&tool, "#!/bin/sh\nexec /bin/sh \"$@\"\n").unwrap();
    executable(&tool, 0o644);
    let hooks = format!(
        "hooks: {{beforeLease: {{exec: @DIR@/tool, script: 'true', onFailure: {policy}}}}}\n"
    );
    let yaml = lab.exporter_yaml("rig", &format!("{EXPORT}{hooks}"));
    let command = command(&settings, &write(&settings, &yaml));
    let rig = Rig::serve_by(lab, settings, command);
    rig.is_free();
    (rig, tool)
}

const UNUSABLE: &str = "`exec` must name a program that may be executed";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_may_not_be_executed_ends_the_lease_and_no_other() {
    let (rig, tool) = with_unusable_hook("endLease");
    let lease = rig.lab.lease("rig", "bench");
    let heard = rig.lab.wait(LIMIT, |heard| {
        reported(heard, "rig", Available)
            && heard.iter().any(|it| it.reports(BeforeLeaseHookFailed))
    });
    let text = text_of(&heard, BeforeLeaseHookFailed);
    assert!(
        text.contains(UNUSABLE) && text.contains("Permission denied"),
        "{text}"
    );
    assert_eq!(rig.lab.lease_of("rig"), None, "{lease}");
    executable(&tool, 0o755);
    rig.is_leasable().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_may_not_be_executed_is_a_warning_where_that_is_the_policy() {
    let (rig, _) = with_unusable_hook("warn");
    rig.is_leasable().await;
    let text = text_of(&rig.lab.heard(), LeaseReady);
    assert!(
        text.starts_with("[HOOK_WARNING] ") && text.contains(UNUSABLE),
        "{text}"
    );
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_may_not_be_executed_takes_the_exporter_out_where_that_is_the_policy() {
    let (mut rig, _) = with_unusable_hook("exit");
    rig.lab.lease("rig", "bench");
    let heard = rig.lab.wait(LIMIT, |heard| {
        heard
            .iter()
            .any(|it| matches!(it.what, What::Unregister { .. }))
    });
    assert!(reported(&heard, "rig", Offline));
    let text = text_of(&heard, BeforeLeaseHookFailed);
    assert!(
        text.contains("on_failure=exit") && text.contains(UNUSABLE),
        "{text}"
    );
    let story = story(&heard, "rig");
    assert!(story.contains(&"release".to_owned()), "{story:?}");
    assert_eq!(rig.daemon.stop().unwrap().code(), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_does_not_listen_to_sigterm_is_killed() {
    let hooks = "hooks: {beforeLease: {timeout: 1, onFailure: warn, script: \"trap '' TERM; \
                 echo $$ > @DIR@/stubborn; while :; do sleep 0.2; done\"}}\n";
    let rig = Rig::start(Lab::start(), hooks);
    let begun = Instant::now();
    rig.is_leasable().await;
    let took = begun.elapsed();
    // Its time, and five seconds to end in.
    assert!(took > Duration::from_secs(6), "{took:?}");
    let text = text_of(&rig.lab.heard(), LeaseReady);
    assert!(text.contains("Hook timed out after 1 seconds"), "{text}");
    are_gone(&rig.settings.path("stubborn"));
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_of_a_hook_are_gone_with_it() {
    let script = |name: &str| {
        format!(
            "\n    script: |\n      sleep 600 & echo $! >> @DIR@/{name}\n      \
             (trap '' TERM HUP; exec sleep 601) & echo $! >> @DIR@/{name}\n      \
             nohup sh -c 'sleep 602 & sleep 603' > /dev/null 2>&1 & echo $! >> @DIR@/{name}\n"
        )
    };
    let (before, after) = (script("before"), script("after"));
    let hooks = format!("hooks:\n  beforeLease:{before}  afterLease:{after}");
    let rig = Rig::start(Lab::start(), &hooks);
    let lease = rig.lease();
    are_gone(&rig.settings.path("before"));
    rig.lab.end_lease(&lease);
    rig.is_free();
    are_gone(&rig.settings.path("after"));
    rig.is_leasable().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_prints_100_mb_costs_little_and_its_end_can_be_read() {
    /// Beyond what the daemon holds anyway: its rings for clients, and the allocator's slack.
    const ALLOWED: u64 = 16 << 20;
    const TIME: Duration = Duration::from_secs(40);
    let hooks = "hooks: {beforeLease: {script: \"yes 'a line of a log that says nothing at all' | \
                 head -c 100000000; echo; echo the very last word\"}}\n";
    let rig = Rig::start(Lab::start(), hooks);
    let process = Process(rig.daemon.pid());
    process.forget_peak();
    let before = process.resident();
    let lease = rig.lab.lease("rig", "bench");
    let begun = Instant::now();
    rig.lab
        .wait(TIME, |heard| reported(heard, "rig", LeaseReady));
    let grown = process.peak().saturating_sub(before);
    println!(
        "100 MB of output took {:?} and {} KiB",
        begun.elapsed(),
        grown >> 10
    );
    assert!(grown < ALLOWED, "{grown} bytes");
    let client = rig.connect(&lease).await;
    let mut logs = client.logs().await.unwrap();
    let mut dropped = false;
    let last = async {
        loop {
            let line = logs.next().await.unwrap().unwrap();
            dropped |= line.message.contains("lines of hook output were dropped");
            if line.message == "the very last word" {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, last)
        .await
        .expect("the last line is kept");
    assert!(dropped, "what is lost is told");
    client.switch_on().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_the_journal_and_no_lease() {
    let (lab, settings) = (Lab::start(), Settings::new());
    let mount = "mount -t tmpfs -o size=64k rigd-test \"$1/state\" && cd \"$1/state\" && shift && \
                 mkdir -p exporters/rig && touch exporters/rig/lock && \
                 { cat /dev/zero > full 2> /dev/null; cd /; exec \"$@\"; }";
    let Some(wrapper) = private_mounts(mount, &settings.path("")) else {
        return;
    };
    let yaml = lab.exporter_yaml("rig", EXPORT);
    let command = command(&settings, &write(&settings, &yaml));
    let rig = Rig::serve_by(lab, settings, wrapped(&wrapper, &command));
    rig.is_free();
    rig.is_leasable().await;
    rig.daemon.expect_line("journal's error", |line| {
        line.contains("ERROR")
            && line.contains("The journal cannot be written: a crash would not be made good.")
            && line.contains("No space left on device")
    });
    // Not even the files that it could not fill are in its way afterwards.
    let root = format!("/proc/{}/root", rig.daemon.pid());
    let state = format!("{root}{}", rig.settings.path("state").display());
    fs::remove_file(format!("{state}/full")).unwrap();
    let lease = rig.lease();
    let journal = format!("{state}/exporters/rig/lease.json");
    let journal = fs::read_to_string(journal).unwrap();
    assert!(journal.contains(&lease), "{journal}");
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_costs_its_lines_only() {
    let (lab, settings) = (Lab::start(), Settings::new());
    let yaml = lab.exporter_yaml("rig", EXPORT);
    let command = command(&settings, &write(&settings, &yaml));
    let words = ["sh", "-c", "exec \"$@\" 2> /dev/full", "sh"].map(str::to_owned);
    let rig = Rig::serve_by(lab, settings, wrapped(&words, &command));
    rig.is_free();
    rig.is_leasable().await;
    rig.is_leasable().await;
    assert_eq!(rig.status()["state"], "available");
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_cannot_be_read_holds_and_says_why() {
    let (lab, settings) = (Lab::start(), Settings::new());
    let place = settings.path("state").join("exporters/rig/hold");
    fs::create_dir_all(&place).unwrap();
    let yaml = lab.exporter_yaml("rig", EXPORT);
    let command = command(&settings, &write(&settings, &yaml));
    let rig = Rig::serve_by(lab, settings, command);
    let heard = rig.lab.wait(LIMIT, |heard| reported(heard, "rig", Offline));
    let text = text_of(&heard, Offline);
    let why = "its state cannot be read: Is a directory";
    assert!(text.contains(why), "{text}");
    let shown = rig.status();
    assert!(shown["hold"].as_str().unwrap().contains(why), "{shown}");
    fs::remove_dir(&place).unwrap();
    let said = rig.ask(&["unhold", "rig"]);
    assert!(!said.contains("error"), "{said}");
    rig.is_free();
    rig.is_leasable().await;
    rig.finish();
}
