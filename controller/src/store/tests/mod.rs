//! What is kept, and what is refused.

mod children;
mod faults;
mod trim;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::*;
use crate::model::{AccessPolicy, Client, Device, Exporter, Held, Labels, Lease, Presence};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(987_654_321)
}

fn client() -> Client {
    Client {
        uid: Uuid::from_u128(1),
        labels: Labels::from([("team".into(), "ci".into())]),
        created: at(5),
        tokens_from: at(6),
    }
}

fn exporter() -> Exporter {
    Exporter {
        uid: Uuid::from_u128(2),
        labels: Labels::from([("board".into(), "rpi4".into())]),
        created: at(7),
        tokens_from: at(8),
        enabled: true,
        held: None,
        hosted: false,
        devices: vec![Device {
            uuid: "d".into(),
            parent_uuid: None,
            labels: Labels::new(),
        }],
        presence: Presence::default(),
    }
}

fn lease(number: u64) -> Lease {
    Lease {
        uid: Uuid::from_u128(u128::from(number)),
        number,
        client: "bench".into(),
        selector: "board=rpi4,!broken,zone in (a,b)".parse().unwrap(),
        pinned: Some("rig-3".into()),
        allow_disabled: false,
        duration: Some(Duration::from_millis(1_800_500)),
        begin: None,
        end: Some(at(99)),
        tags: Labels::new(),
        context: Labels::new(),
        created: at(10),
        priority: -3,
        held: Some(Held {
            exporter: "rig-3".into(),
            since: at(11),
            epoch: 4,
        }),
        over: None,
        conditions: vec![],
    }
}

fn policy() -> AccessPolicy {
    AccessPolicy {
        uid: Uuid::from_u128(3),
        created: at(1),
        exporters: "board".parse().unwrap(),
        rules: vec![],
    }
}

/// One of each kind.
fn some() -> Vec<Change> {
    vec![
        Change::Client("bench".into(), Some(client())),
        Change::Exporter("rig-3".into(), Some(exporter())),
        Change::Lease("l-1".into(), Some(lease(41))),
        Change::Policy("all".into(), Some(policy())),
    ]
}

fn put(number: u64) -> Vec<Change> {
    vec![Change::Lease(format!("l-{number}"), Some(lease(number)))]
}

#[test]
fn what_is_kept_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::default();
    for change in some() {
        change.apply(&mut world);
    }
    let store = Store::open(dir.path()).unwrap();
    let keys = store.load().unwrap().keys;
    store.commit_blocking(some()).unwrap();
    assert_eq!(
        store.load().unwrap(),
        Loaded {
            world: world.clone(),
            keys: keys.clone()
        }
    );
    drop(store);

    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.load().unwrap(), Loaded { world, keys });
    let gone = vec![
        Change::Client("bench".into(), None),
        Change::Exporter("rig-3".into(), None),
        Change::Lease("l-1".into(), None),
        Change::Policy("all".into(), None),
        Change::Policy("never was".into(), None),
    ];
    store.commit_blocking(gone).unwrap();
    drop(store);
    let left = Store::open(dir.path()).unwrap().load().unwrap().world;
    assert_eq!(
        left,
        World {
            last_number: 41,
            ..World::default()
        },
        "numbers are not given twice"
    );
}

#[test]
fn the_files_are_private_and_nothing_is_left_of_their_making() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/b");
    drop(Store::open(&state).unwrap());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let mut names = vec![];
    for entry in std::fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["controller.lock", "controller.redb"]);
}

#[tokio::test]
async fn commits_that_wait_share_a_sync_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let all: Vec<_> = (0..2000)
        .map(|n| {
            let mut one = client();
            one.labels.insert("n".into(), n.to_string());
            store.commit(vec![Change::Client("bench".into(), Some(one))])
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(
        store.load().unwrap().world.clients["bench"].labels["n"],
        "1999"
    );
    assert!(
        store.syncs() < 200,
        "{} syncs for 2000 commits",
        store.syncs()
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    drop(store.commit(put(1)));
    store.commit(put(2)).await.unwrap();
    assert_eq!(store.load().unwrap().world.leases.len(), 2);
    // Nor does the end of the program.
    drop(store.commit(put(3)));
    drop(store);
    assert_eq!(
        Store::open(dir.path())
            .unwrap()
            .load()
            .unwrap()
            .world
            .leases
            .len(),
        3
    );
}

#[tokio::test]
async fn the_queue_has_an_end_and_what_is_refused_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.room(), MAX_QUEUE);
    // A transaction of somebody else holds the writer up.
    let held = store.hold();
    let all: Vec<_> = (1..=2 * MAX_QUEUE as u64)
        .map(|n| (n, store.commit(put(n))))
        .collect();
    assert_eq!(store.room(), 0);
    drop(held);
    let mut refused = 0;
    let mut kept = vec![];
    for (number, commit) in all {
        match commit.await {
            Ok(()) => kept.push(number),
            Err(StoreError::Overloaded) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        kept.len() >= MAX_QUEUE && refused > 0,
        "{} kept, {refused} refused",
        kept.len()
    );
    let world = store.load().unwrap().world;
    let mut there: Vec<_> = world.leases.values().map(|lease| lease.number).collect();
    there.sort_unstable();
    assert_eq!(there, kept);
}

#[test]
fn what_cannot_be_written_down_harms_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut bad = client();
    bad.created = UNIX_EPOCH - Duration::from_secs(1);
    let changes = vec![
        Change::Policy("all".into(), Some(policy())),
        Change::Client("old".into(), Some(bad)),
    ];
    let error = store.commit_blocking(changes).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("clients old cannot be kept: "),
        "{error}"
    );
    assert_eq!(
        store.load().unwrap().world,
        World::default(),
        "all or nothing"
    );
    store.commit_blocking(put(1)).unwrap();
}

#[test]
fn an_export_brings_all_of_it_elsewhere() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    let store = Store::open(&here).unwrap();
    store.commit_blocking(some()).unwrap();
    store
        .commit_blocking(vec![Change::Lease("l-1".into(), None)])
        .unwrap();
    let loaded = store.load().unwrap();
    let file = dir.path().join("export.json");
    Dump::new(loaded.world.clone(), loaded.keys.clone())
        .write(&file)
        .unwrap();
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let text = std::fs::read(&file).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert!(value["secrets"]["identity"].is_string());
    import(&there, Dump::parse(&text).unwrap()).unwrap();
    assert_eq!(Store::open(&there).unwrap().load().unwrap(), loaded);

    let error = import(&there, Dump::parse(&text).unwrap()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("exists already: move it away first"),
        "{error}"
    );
    let error = import(&here, Dump::parse(&text).unwrap()).unwrap_err();
    assert!(
        error.to_string().starts_with("state is in use by pid "),
        "{error}"
    );
}

#[test]
fn what_earlier_versions_did_not_keep_has_its_default() {
    let exporter = Exporter {
        held: Some("why".into()),
        hosted: true,
        ..exporter()
    };
    let mut value = serde_json::to_value(&exporter).unwrap();
    let fields = value.as_object_mut().unwrap();
    assert!(fields.remove("held").is_some() && fields.remove("hosted").is_some());
    let read: Exporter = serde_json::from_value(value).unwrap();
    assert_eq!(read, self::exporter());
}

#[test]
fn what_is_no_export_is_refused_without_quoting_it() {
    let dump = Dump::new(World::default(), Keys::generate().unwrap())
        .to_json()
        .unwrap();
    for (text, told) in [
        (
            "kind: Lease".to_owned(),
            "this is not an export of rigd: no JSON at line 1, column 1",
        ),
        (
            "{}".to_owned(),
            "this is not an export of rigd: unexpected content at line 1, column 2",
        ),
        (
            dump[..dump.len() / 2].to_owned(),
            "this is not an export of rigd: it ends too early",
        ),
        (
            dump.replace("controller state", "x"),
            "this is not an export of rigd: its kind is not",
        ),
        (
            dump.replace("\"format\": 1", "\"format\": 7"),
            "the export has format 7, this version",
        ),
        (
            dump.replace("\"router\"", "\"rooter\""),
            "the export is damaged: unexpected content",
        ),
    ] {
        let error = Dump::parse(text.as_bytes()).unwrap_err();
        assert!(error.starts_with(told), "{error}");
    }
    // Keys that are none are found now, and no state is made.
    let dir = tempfile::tempdir().unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&dump).unwrap();
    value["secrets"]["router"] = "AAAA".into();
    let dump = Dump::parse(value.to_string().as_bytes()).unwrap();
    assert!(matches!(import(dir.path(), dump), Err(StoreError::Keys(_))));
    assert!(!Store::exists(dir.path()));
}
