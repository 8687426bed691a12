//! What needs a process of its own: one that is killed, one without room, one without rights.
//!
//! Each is this test program, which runs one of the `child_` tests below.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

const DIRECTORY: &str = "RIGD_TEST_STATE_DIRECTORY";
/// Kills under load. Each costs a start and a few syncs.
const ROUNDS: u64 = 30;
/// An ordinary user, `nobody` where there are such names.
const NOBODY: u32 = 65_534;

/// Killed and reaped however the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn arguments(test: &str) -> [String; 5] {
    let name = format!("store::tests::children::{test}");
    [
        name,
        "--exact".into(),
        "--ignored".into(),
        "--nocapture".into(),
        "--test-threads=1".into(),
    ]
}

fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // The test runner has begun a line of its own.
    writeln!(out, "\n{text}").unwrap();
    out.flush().unwrap();
}

/// Writes leases as fast as it can from eight tasks, and says each that was acknowledged.
#[tokio::test]
#[ignore = "runs as the child of another test"]
async fn child_that_writes() {
    let Some(directory) = directory() else { return };
    let store = Arc::new(Store::open(&directory).unwrap());
    let first = store.load().unwrap().world.last_number + 1;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for number in (first + task..).step_by(8) {
                // Two objects, which must be there both or not at all.
                let mut changes = put(number);
                changes.push(Change::Client(format!("c-{number}"), Some(client())));
                store.commit(changes).await.unwrap();
                say(&format!("kept {number}"));
            }
        });
    }
    tasks.join_next().await;
}

#[test]
fn what_was_acknowledged_outlives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(arguments("child_that_writes"))
            .env(DIRECTORY, dir.path());
        let mut child = Killed(child.stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        // The first round is killed at the first answer, others anywhere in the groups after it.
        let patience = usize::try_from(1 + (round * 37) % 90).unwrap();
        let mut heard = 0;
        for line in lines {
            // The last one may be cut.
            let Ok(line) = line else { break };
            let Some(number) = line.strip_prefix("kept ") else {
                continue;
            };
            acknowledged.insert(number.parse::<u64>().unwrap());
            heard += 1;
            if heard == patience {
                child.0.kill().unwrap();
            }
        }
        assert!(
            heard >= patience,
            "round {round}: the child ended by itself after {heard}"
        );
        drop(child);

        let world = Store::open(dir.path()).unwrap().load().unwrap().world;
        let there: BTreeSet<_> = world.leases.values().map(|lease| lease.number).collect();
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(
            lost.is_empty(),
            "round {round}: {lost:?} were acknowledged and lost"
        );
        assert_eq!(
            world.clients.len(),
            there.len(),
            "round {round}: halves of changes"
        );
        assert!(
            there
                .iter()
                .all(|n| world.clients.contains_key(&format!("c-{n}")))
        );
    }
    assert!(acknowledged.len() as u64 > 10 * ROUNDS);
}

/// Writes until it fails, and says what it was told then and afterwards.
#[test]
#[ignore = "runs as the child of another test"]
fn child_without_room() {
    let Some(directory) = directory() else { return };
    let store = Store::open(&directory).unwrap();
    for number in 1..1_000_000 {
        if let Err(error) = store.commit_blocking(put(number)) {
            say(&format!("failed {number} {error}"));
            break;
        }
        say(&format!("kept {number}"));
    }
    assert!(store.poisoned().is_some());
    say(&format!(
        "then {}",
        store.commit_blocking(put(2_000_000)).unwrap_err()
    ));
    say(&format!("reads {}", store.load().is_ok()));
    drop(store);
    say("closed");
}

#[test]
fn a_full_disk_is_told_and_costs_nothing_that_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let blocks = std::fs::metadata(dir.path().join(FILE)).unwrap().len() / 512 + 64;
    // The shell ignores the signal that would end the child instead of failing its write.
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""),
        ])
        .arg(std::env::current_exe().unwrap())
        .args(arguments("child_without_room"))
        .env(DIRECTORY, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = |word: &'static str| text.lines().filter_map(move |line| line.strip_prefix(word));
    let kept: Vec<u64> = said("kept ").map(|n| n.parse().unwrap()).collect();
    let failed = said("failed ").next().unwrap_or_else(|| panic!("{text}"));
    assert!(
        failed.contains("could not be written to the state: "),
        "{failed}"
    );
    let then = said("then ").next().unwrap();
    assert!(
        then.starts_with("the state takes no changes since a write failed"),
        "{then}"
    );
    assert!(said("closed").next().is_some(), "{text}");

    // There is room again.
    let store = Store::open(dir.path()).unwrap();
    let world = store.load().unwrap().world;
    assert!(
        kept.iter()
            .all(|n| world.leases.contains_key(&format!("l-{n}")))
    );
    assert!(!kept.is_empty() && !world.leases.contains_key("l-2000000"));
    store.commit_blocking(put(3_000_000)).unwrap();
}

#[test]
#[ignore = "runs as the child of another test"]
fn child_without_rights() {
    let Some(directory) = directory() else { return };
    say(&format!("told {}", Store::open(&directory).unwrap_err()));
}

#[test]
fn a_directory_that_is_read_only_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    allow(dir.path(), 0o755);
    // A place that everybody can run it from. Copied by another process: a child that a test beside this
    // one starts meanwhile would have the file open for writing, and nobody could run it.
    let program = dir.path().join("program");
    let copied = Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    allow(&program, 0o755);
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    allow(&state, 0o555);
    let mut child = Command::new(&program);
    child
        .args(arguments("child_without_rights"))
        .env(DIRECTORY, &state)
        .current_dir("/");
    if rustix::process::geteuid().is_root() {
        child.uid(NOBODY).gid(NOBODY);
    }
    let output = child.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = format!(
        "told {} cannot be used: Permission denied",
        state.join("controller.lock").display()
    );
    assert!(text.lines().any(|line| line.starts_with(&told)), "{text}");
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
}

/// Looks at damaged files, and says how many panics were told then and afterwards.
#[test]
#[ignore = "runs as the child of another test"]
fn child_that_looks_at_damage() {
    let Some(directory) = directory() else { return };
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|_| {
        TOLD.fetch_add(1, Ordering::SeqCst);
    }));
    let content = faults::good(&directory);
    for (_, bad) in faults::damaged(&content) {
        std::fs::write(directory.join(FILE), bad).unwrap();
        Store::open(&directory).ok();
    }
    let during = TOLD.load(Ordering::SeqCst);
    let other = std::thread::Builder::new().name("state-check".to_owned());
    let other = other.spawn(|| panic!("it is not of a damaged file"));
    other.unwrap().join().unwrap_err();
    let after = TOLD.load(Ordering::SeqCst);
    say(&format!("told {during} and {after}"));
}

#[test]
fn only_panics_over_damaged_files_are_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(arguments("child_that_looks_at_damage"))
        .env(DIRECTORY, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.lines().any(|line| line == "told 0 and 1"),
        "{output:?}"
    );
}
