//! Exporter files that come, change and go while the daemon runs.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    embedded::{Site, caller::is_ready},
    support::daemon::Daemon,
};

fn hang_up(daemon: &Daemon) {
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_change_and_go() {
    let site = Site::with_board();
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["rpi4"]).await;
    let uid = |name: &str| {
        let all = site.get("exporters");
        let found = all.iter().find(|one| one["metadata"]["name"] == name);
        found.map(|one| one["metadata"]["uid"].clone())
    };
    let before = uid("rpi4").unwrap();

    site.exporter("qemu", "labels: {board: qemu}\n");
    hang_up(&daemon);
    ci.sees("board=qemu", &["qemu"]).await;
    ci.lease("board=qemu").await;

    site.exporter("rpi4", "labels: {board: rpi4, rack: '7'}\n");
    let said = site.ok(&["reload"]);
    assert!(said.contains("rpi4: changed"), "{said}");
    ci.sees("rack=7", &["rpi4"]).await;
    let lease = ci.lease("rack=7").await;
    ci.uses(&lease).await;
    ci.release(&lease).await.unwrap();
    ci.sees("rack=7", &["rpi4"]).await;
    assert_eq!(
        uid("rpi4").unwrap(),
        before,
        "a change of labels makes nobody else of it"
    );

    fs::remove_file(site.file("rpi4")).unwrap();
    hang_up(&daemon);
    site.until("it is gone", || uid("rpi4").is_none());
    // A wish for it is told that there is none; one of its name is somebody else.
    assert_eq!(ci.names("rack=7").await, [""; 0]);
    site.exporter("rpi4", "labels: {board: rpi4}\n");
    site.ok(&["reload"]);
    ci.sees("board=rpi4", &["rpi4"]).await;
    assert_ne!(uid("rpi4").unwrap(), before);
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leased_board_stays_until_its_lease_ends() {
    let site = Site::with_board();
    site.exporter("qemu", "labels: {board: qemu}\n");
    site.exporter("stays", "labels: {board: stays}\n");
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["qemu", "rpi4", "stays"]).await;
    let gone = ci.lease("board=rpi4").await;
    let changed = ci.lease("board=qemu").await;

    fs::remove_file(site.file("rpi4")).unwrap();
    site.exporter("qemu", "labels: {board: qemu, rack: '7'}\n");
    let said = site.ok(&["reload"]);
    assert!(
        said.contains("rpi4: no longer served, when the lease of 'ci' ends"),
        "{said}"
    );
    assert!(
        said.contains("qemu: changed, when the lease of 'ci' ends"),
        "{said}"
    );
    for lease in [&gone, &changed] {
        assert!(is_ready(&ci.get(lease).await.unwrap()));
        ci.uses(lease).await;
    }
    // Labels are the controller's, and need not wait.
    assert_eq!(ci.names("rack=7").await, ["qemu"]);

    // The end of one is not the end of another, and takes no labels back.
    ci.release(&gone).await.unwrap();
    site.until("the board is gone", || {
        let all = site.get("exporters");
        !all.iter().any(|one| one["metadata"]["name"] == "rpi4")
    });
    assert_eq!(ci.names("rack=7").await, ["qemu"]);
    ci.uses(&changed).await;
    ci.release(&changed).await.unwrap();
    ci.sees("rack=7", &["qemu"]).await;
    ci.sees("", &["qemu", "stays"]).await;
    let again = ci.lease("rack=7").await;
    ci.uses(&again).await;
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_that_comes_from_a_socket_is_not_forgotten_for_one_that_goes() {
    let site = Site::with_board();
    site.exporter("gone", "labels: {board: gone}\n");
    // It ends later than the other: until then it still is what it was.
    let slow = "hooks: {afterLease: {script: 'sleep 1', timeout: 20}}\n";
    let listen = "listen: {unix: @DIR@/comes.sock}\n";
    site.exporter("comes", &format!("{slow}{listen}"));
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["gone", "rpi4"]).await;

    fs::remove_file(site.file("gone")).unwrap();
    site.exporter("comes", &format!("{slow}labels: {{board: comes}}\n"));
    site.ok(&["reload"]);
    ci.sees("", &["comes", "rpi4"]).await;
    let lease = ci.lease("board=comes").await;
    ci.uses(&lease).await;
    ci.release(&lease).await.unwrap();
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_does_not_take_over_a_board_of_another_host() {
    let site = Site::with_board();
    let mut daemon = site.run();
    let (create, out) = (
        "controller create exporter far -l board=far --out",
        site.home("far"),
    );
    let create: Vec<_> = create.split(' ').chain(out.to_str()).collect();
    site.ok(&create);
    site.exporter("far", "labels: {board: here}\n");
    site.rigd(&["reload"]).refused(1, &["\"far\"", "same name"]);
    let all = site.get("exporters");
    let far = all
        .iter()
        .find(|one| one["metadata"]["name"] == "far")
        .unwrap();
    assert_eq!(far["metadata"]["labels"]["board"], "far");
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_that_gets_a_socket_leaves_the_lab() {
    let site = Site::with_board();
    site.exporter("qemu", "labels: {board: qemu}\n");
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["qemu", "rpi4"]).await;
    let lease = ci.lease("board=qemu").await;
    for name in ["rpi4", "qemu"] {
        let rest = format!("labels: {{board: {name}}}\nlisten: {{unix: @DIR@/{name}.sock}}\n");
        site.exporter(name, &rest);
    }
    site.ok(&["reload"]);
    let names = || -> Vec<Value> {
        let all = site.get("exporters");
        all.iter()
            .map(|one| one["metadata"]["name"].clone())
            .collect()
    };
    site.until("the free one is gone", || names() == ["qemu"]);
    assert!(is_ready(&ci.get(&lease).await.unwrap()));
    ci.uses(&lease).await;
    ci.release(&lease).await.unwrap();
    site.until("the other one is gone", || names().is_empty());
    for name in ["rpi4", "qemu"] {
        let socket = site.settings.path(&format!("{name}.sock"));
        site.until("its socket serves", || socket.exists());
        let exporter = rigd_client::Exporter::connect_unix(&socket).await.unwrap();
        exporter.device("power").await.unwrap();
    }
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_changes_nothing_in_the_lab() {
    let site = Site::with_board();
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["rpi4"]).await;
    let before = site.inventory();
    site.exporter("new", "labels: {board: new}\n");
    for (wrong, words) in [
        (
            "labels: {board: 'not a value!'}\n",
            "labels: `board: not a value!`",
        ),
        ("labels: {'a b': c}\n", "labels: `a b: c`"),
    ] {
        site.exporter("rpi4", wrong);
        let said = site.rigd(&["reload"]);
        assert_ne!(said.code, Some(0), "{said:?}");
        assert!(
            said.err.contains(words) && said.err.contains("rpi4.yaml"),
            "{said:?}"
        );
        assert_eq!(site.inventory(), before);
    }
    let lease = ci.lease("board=rpi4").await;
    ci.uses(&lease).await;
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_starts_with_the_first_board_that_needs_it() {
    let site = Site::new();
    site.exporter("own", "listen: {unix: @DIR@/own.sock}\n");
    let mut daemon = site.run();
    assert!(!site.state().exists(), "a lab was made for nobody");
    site.exporter("rpi4", "labels: {board: rpi4}\n");
    site.ok(&["reload"]);
    let ci = site.client("ci").await;
    ci.sees("", &["rpi4"]).await;
    let lease = ci.lease("board=rpi4").await;
    ci.uses(&lease).await;
    daemon.stop_cleanly();
}
