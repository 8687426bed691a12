//! A disk that is full.

use std::fs;

use tonic::Code;

use crate::{
    embedded::{
        Site,
        caller::{Caller, Credentials, wanted},
        commands::said,
    },
    support::{
        daemon::Daemon,
        mounts::{private_mounts, wrapped},
    },
};

/// Gives `$1/state` a disk of its own, of a size that is given as `SIZE`.
const MOUNT: &str = "mount -t tmpfs -o size=SIZE rigd-test \"$1/state\" && shift && exec \"$@\"";
/// The same, and what is on it is copied to `$1/saved` when the command has ended.
const SAVING: &str = "mount -t tmpfs -o size=SIZE rigd-test \"$1/state\" || exit
    dir=$1; shift; \"$@\" & child=$!
    trap 'kill $child' TERM
    while kill -0 $child 2> /dev/null; do wait $child; code=$?; done
    cp -a \"$dir/state/controller\" \"$dir/saved\"; exit $code";

fn small_disk(site: &Site, script: &str, size: &str) -> Option<Vec<String>> {
    private_mounts(&script.replace("SIZE", size), &site.settings.path(""))
}

#[test]
fn a_first_start_on_a_full_disk_leaves_nothing_half() {
    let site = Site::new();
    let Some(wrapper) = small_disk(&site, MOUNT, "8k") else {
        return;
    };
    // What is left there afterwards is shown before the disk goes.
    let script = "\"$@\"; code=$?; ls -A \"$STATE_DIRECTORY/controller\" >&2; exit $code";
    let list = ["sh", "-c", script, "sh"].map(str::to_owned);
    let run = wrapped(&list, &site.controller_command(&[]));
    let told = said(wrapped(&wrapper, &run), "");
    told.refused(
        1,
        &[
            "controller.redb.new cannot be used: ",
            "No space left on device",
        ],
    );
    let left: Vec<_> = told
        .err
        .lines()
        .skip_while(|line| !line.starts_with("error: "))
        .collect();
    assert_eq!(left[1..], ["controller.lock"], "{told:?}");
    // With room there is a lab.
    site.controller(&[]).stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_costs_no_acknowledged_change() {
    let site = Site::new();
    let Some(wrapper) = small_disk(&site, SAVING, "4m") else {
        return;
    };
    let run = wrapped(&wrapper, &site.controller_command(&[]));
    let mut daemon = Daemon::serve_by(run, &site.settings);
    let ci = site.client("ci").await;
    let out = site.home("far.yaml");
    let create = [
        "controller",
        "create",
        "exporter",
        "far",
        "-l",
        "board=far",
        "--out",
    ];
    site.ok(&[&create[..], &[out.to_str().unwrap()]].concat());
    let root = format!("/proc/{}/root", daemon.pid());
    let state = format!("{root}{}", site.state().display());
    let mut acknowledged = vec![ci.ask("board=far").await];
    let filled = std::process::Command::new("sh")
        .args([
            "-c",
            "cat /dev/zero > \"$1/full\" 2> /dev/null; test -s \"$1/full\"",
            "sh",
            &state,
        ])
        .status();
    assert!(filled.unwrap().success());

    // It may have room inside of its file for a while.
    let refused = loop {
        assert!(acknowledged.len() < 100, "nothing is ever refused");
        let mut wish = wanted("board=far");
        let tag = |n: usize| (format!("t{n}"), "x".repeat(63));
        wish.tags = (0..10).map(tag).collect();
        match ci.wish(wish).await {
            Ok(lease) => acknowledged.push(lease.name.rsplit('/').next().unwrap().to_owned()),
            Err(status) => break status,
        }
    };
    let words = "the controller cannot keep its state; its log has the reason";
    assert_eq!((refused.code(), refused.message()), (Code::Internal, words));
    daemon.expect_line("reason", |line| {
        line.contains("ERROR")
            && line
                .contains("Could not write the state: no changes are taken until rigd is restarted")
            && line.contains("No space left on device")
    });
    // What it has in memory may not be on the disk: it ends, to be started anew from there.
    daemon.expect_line("end", |line| {
        line.contains("The embedded controller failed: stopping")
    });
    assert_eq!(daemon.ended(), Some(1));

    // With room again.
    fs::rename(site.settings.path("saved"), site.state()).unwrap();
    let mut daemon = site.controller(&[]);
    let ci = Caller::connect(Credentials::read(&site.home("ci.yaml")))
        .await
        .unwrap();
    for lease in &acknowledged {
        assert!(ci.get(lease).await.is_ok(), "{lease} is lost");
    }
    ci.ask("board=far").await;
    daemon.stop_cleanly();
}
