//! The state: what it is kept in, who has it, and what a clock may do to it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use redb::{Database, TableDefinition};
use rigd_controller::store::{Change, Store};

use super::Lab;
use crate::embedded::{
    Site,
    caller::{Caller, Credentials, condition, is_ready},
    commands::said,
    snapshot,
    stranger::as_somebody,
};

/// A database that is none of ours, and yet one.
fn foreign(lab: &Lab) -> Vec<u8> {
    let path = lab.site.settings.path("foreign.redb");
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table: TableDefinition<&str, u64> = TableDefinition::new("bookings");
    transaction
        .open_table(table)
        .unwrap()
        .insert("room", 7)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    fs::read(path).unwrap()
}

#[test]
fn a_file_that_is_no_good_is_told_and_left_as_it_is() {
    let lab = Lab::new();
    let file = lab.site.state_file();
    let good = fs::read(&file).unwrap();
    let middle = good.len() / 2;
    let mut overwritten = good.clone();
    // Beyond the header, over pages that are in use.
    overwritten[4096..middle].fill(0xa5);
    let mut other_magic = good.clone();
    other_magic[..4].copy_from_slice(b"ELF!");
    let damaged = "is damaged (";
    let not_ours = "is not a state file of rigd and was left as it is: move it away, or name another \
                    state directory";
    let name = file.display().to_string();
    for (what, content, words) in [
        ("half of it", good[..middle].to_vec(), damaged),
        ("its beginning", good[..100].to_vec(), damaged),
        ("garbage in the middle", overwritten, damaged),
        ("nothing", Vec::new(), "is damaged (it is empty)"),
        ("another magic number", other_magic, not_ours),
        ("a text", b"something else\n".to_vec(), not_ours),
        ("another program's database", foreign(&lab), not_ours),
    ] {
        fs::write(&file, &content).unwrap();
        let before = snapshot(&lab.site.settings.path("state"));
        eprintln!("{what}");
        lab.does_not_start(1, &[], &["error: ", &name, words]);
        lab.site
            .rigd(&["get", "exporters"])
            .refused(1, &[&name, words]);
        lab.site
            .rigd(&["controller", "export"])
            .refused(1, &[&name, words]);
        let after = snapshot(&lab.site.settings.path("state"));
        let without_lock = |all: Vec<(PathBuf, Vec<u8>)>| -> Vec<_> {
            let is_lock = |name: &Path| name.ends_with("controller.lock");
            all.into_iter().filter(|(name, _)| !is_lock(name)).collect()
        };
        assert!(
            without_lock(before) == without_lock(after),
            "{what}: something was written"
        );
    }
    fs::write(&file, good).unwrap();
    lab.is_intact();
}

#[test]
fn a_state_that_may_not_be_used_is_told() {
    let lab = Lab::new();
    let command = || lab.site.controller_command(&[]);
    let state = lab.site.state().display().to_string();
    let denied = |words: &[&str]| {
        let run = as_somebody(&lab.site, command());
        said(run, "").refused(1, words);
    };
    // Its directory may not be looked into; then its file may not be read, nor written.
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let private = [
        lab.site.state(),
        lab.site.state_file(),
        lab.site.state().join("controller.lock"),
    ];
    mode(&private[0], 0o000);
    denied(&["error: ", &state, "cannot be used: Permission denied"]);
    mode(&private[0], 0o755);
    mode(&private[1], 0o000);
    mode(&private[2], 0o666);
    denied(&[
        "error: ",
        "controller.redb cannot be used: ",
        "Permission denied",
    ]);
    mode(&private[1], 0o444);
    denied(&[
        "error: ",
        "controller.redb cannot be used: ",
        "Permission denied",
    ]);
    mode(&private[2], 0o000);
    denied(&[
        "error: ",
        "controller.lock cannot be used: Permission denied",
    ]);
    for path in private {
        mode(&path, if path.is_dir() { 0o700 } else { 0o600 });
    }
    lab.is_intact();

    // Where there is none yet, and none can be made.
    let new = Site::new();
    let place = new.settings.path("state");
    mode(&place, 0o555);
    let mut run = as_somebody(&new, new.controller_command(&[]));
    mode(&place, 0o555);
    run.env("STATE_DIRECTORY", &place);
    said(run, "").refused(
        1,
        &[
            "error: ",
            "state/controller cannot be used: Permission denied",
        ],
    );
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    mode(&place, 0o755);
    new.controller(&[]).stop_cleanly();
}

#[test]
fn a_second_process_is_told_who_has_the_state() {
    let lab = Lab::new();
    let mut daemon = lab.site.controller(&[]);
    let words = format!(
        "error: state is in use by pid {} ({}): end that rigd, or give this one a state of its own \
         with RIGD_STATE_DIR=DIR\n",
        daemon.pid(),
        lab.site.state().display()
    );
    let mut second = lab.site.command(&["controller", "run"]);
    second.env("RUNTIME_DIRECTORY", lab.site.settings.path("root"));
    let told = said(second, "");
    assert_eq!(
        (told.code, told.err.as_str()),
        (Some(1), words.as_str()),
        "{told:?}"
    );
    // So is `rigd run` with a board for it, before any hardware is touched.
    lab.site.exporter("rpi4", "labels: {board: rpi4}\n");
    let mut second = lab.site.run_command(&[]);
    second.env("RUNTIME_DIRECTORY", lab.site.settings.path("root"));
    said(second, "").refused(1, &[&words]);
    assert!(!lab.site.settings.path("state/exporters").exists());
    // The first one has noticed nothing.
    assert_eq!(lab.site.inventory().len(), lab.inventory.len() + 1);
    daemon.stop_cleanly();
    lab.site.ok(&["controller", "delete", "client", "default"]);
    lab.is_intact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_set_lengthens_no_lease() {
    let site = Site::with_board();
    site.exporter("qemu", "labels: {board: qemu}\n");
    let mut daemon = site.run();
    let ci = site.client("ci").await;
    ci.sees("", &["qemu", "rpi4"]).await;
    let early = ci.lease("board=rpi4").await;
    let late = ci.lease("board=qemu").await;
    // As the state would be, had the clock been a day ahead or two days behind until now.
    daemon.kill();
    let day = Duration::from_secs(24 * 60 * 60);
    let store = Store::open(&site.state()).unwrap();
    let world = store.load().unwrap().world;
    let moved = |name: &str, since: &dyn Fn(SystemTime) -> SystemTime| {
        let mut lease = world.leases[name].clone();
        let held = lease.held.as_mut().unwrap();
        held.since = since(held.since);
        Change::Lease(name.to_owned(), Some(lease))
    };
    let changes = vec![
        moved(&early, &|at| at + day),
        moved(&late, &|at| at - 2 * day),
    ];
    store.commit(changes).await.unwrap();
    drop(store);

    let mut daemon = site.run();
    let file = site.home("ci.yaml");
    let ci = Caller::connect(Credentials::read(&file)).await.unwrap();
    let held = ci.get(&early).await.unwrap();
    assert!(is_ready(&held), "{held:?}");
    let begun = SystemTime::try_from(held.effective_begin_time.unwrap()).unwrap();
    assert!(
        begun <= SystemTime::now(),
        "it begins in the future: {begun:?}"
    );
    ci.uses(&early).await;
    let over = ci
        .until(&late, "its time is over", |lease| !is_ready(lease))
        .await;
    let (_, reason, _) = condition(&over, "Ready").unwrap();
    assert_eq!(reason, "Expired");
    ci.sees("board=qemu", &["qemu"]).await;
    daemon.stop_cleanly();
}
