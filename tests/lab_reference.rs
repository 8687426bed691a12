//! Checks the tests' own controller and router against the released exporter and clients, so that
//! what they say about rigd can be believed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use lab::{Fault, Heard, Lab, Rpc, What};
use rigd_client::{
    Code, Exporter,
    ExporterStatus::{Available, LeaseReady},
};
use support::{
    jmp::{LIMIT, Python},
    python::{Venv, venv},
    settings::Settings,
};

const POWER: &str = "export:\n  power: {type: jumpstarter_driver_power.driver.MockPower}\n";

fn config(lab: &Lab, settings: &Settings, rest: &str) -> PathBuf {
    let file = settings.path("exporter.yaml");
    fs::write(&file, lab.exporter_yaml("rig", rest)).unwrap();
    file
}

fn exporter(venv: &Venv, settings: &Settings, file: &Path) -> Python {
    let file = file.to_str().unwrap();
    Python::start(venv, settings, "jmp", &["run", "--exporter-config", file])
}

/// What the exporter said, in short.
fn story(heard: &[Heard]) -> Vec<String> {
    let word = |it: &Heard| {
        Some(match &it.what {
            What::Register { .. } => "register".to_owned(),
            What::Unregister { reason } => format!("unregister: {reason}"),
            What::Report {
                message,
                release: false,
                ..
            } => message.clone(),
            What::Report { message, .. } => format!("releasing: {message}"),
            What::StatusOpened => "status".to_owned(),
            What::Listen { .. } => "listen".to_owned(),
            What::ListenClosed { .. } => "listen closed".to_owned(),
            What::ReleaseLease { .. } => "release".to_owned(),
            _ => return None,
        })
    };
    heard
        .iter()
        .filter(|it| it.from == "rig")
        .filter_map(word)
        .collect()
}

#[test]
fn a_lease_from_start_to_end() {
    let Some(venv) = venv() else { return };
    let (lab, settings) = (Lab::start(), Settings::new());
    lab.label("rig", "board", "x");
    lab.client_home(&settings.path("home"), "bench");
    let mut exporter = exporter(venv, &settings, &config(&lab, &settings, POWER));
    lab.wait(LIMIT, |heard| {
        heard.iter().any(|it| it.what == What::StatusOpened)
    });

    let shell = ["shell", "--selector", "board=x", "--", "j", "power", "on"];
    Python::start(venv, &settings, "jmp", &shell).succeeded();
    exporter.terminate();
    exporter.ended();
    let heard = lab.wait(LIMIT, |heard| {
        heard
            .iter()
            .any(|it| matches!(it.what, What::Unregister { .. }))
    });
    let mut story = story(&heard);
    // These two race with each other.
    story[3..5].sort();
    assert_eq!(
        story,
        [
            "register",
            "Exporter registered and available",
            "status",
            "Ready for commands",
            "listen",
            "Available for new lease",
            "listen closed",
            "Exporter shutting down",
            "unregister: Exporter shutdown",
        ],
        "{}",
        lab::listing(&heard)
    );
}

/// Hooks that leave a trace, of which the first one takes long enough to be seen at work.
const HOOKS: &str = "\
hooks:
  beforeLease: {script: 'echo before $LEASE_NAME >> trace; sleep 0.3'}
  afterLease: {script: 'echo after $LEASE_NAME >> trace'}
";

#[test]
fn hooks_and_the_ways_in_which_a_lease_ends() {
    let Some(venv) = venv() else { return };
    let (lab, settings) = (Lab::start_with_router_port(), Settings::new());
    let file = config(&lab, &settings, &format!("{POWER}{HOOKS}"));
    lab.label("rig", "board", "x");
    lab.client_home(&settings.path("home"), "bench");

    // The client comes before the exporter.
    let shell = ["shell", "--selector", "board=x", "--", "j", "power", "on"];
    let mut shell = Python::start(venv, &settings, "jmp", &shell);
    let asked = What::Looked { rpc: Rpc::GetLease };
    lab.wait(LIMIT, |heard| heard.iter().any(|it| it.what == asked));
    let mut exporter = exporter(venv, &settings, &file);
    shell.succeeded();
    let first = lab.wait(LIMIT, |heard| closed(heard) == 1);
    let begin = ["register", "Exporter registered and available", "status"];
    let client = [&begin[..], &WITH_HOOKS, &["listen closed"]].concat();
    assert_eq!(story(&first), client, "{}", lab::listing(&first));

    // The exporter ends the lease after the client's EndSession.
    let again = "Exporter available after lease release";
    let released = [&WITH_HOOKS[..], &["release", "listen closed", again]].concat();
    assert_story(&ends_by_client(&lab, first.len()), &released);

    // The same on a controller that does not let it.
    let text = "object kind mismatch";
    lab.inject(Fault::refuse(
        Rpc::ReleaseLease,
        Code::InvalidArgument,
        text,
    ));
    let compat = "releasing: Lease released (compat: ReportStatus with release_lease)";
    let refused = [
        &WITH_HOOKS[..],
        &["release", compat, "listen closed", again],
    ]
    .concat();
    assert_story(&ends_by_client(&lab, lab.heard().len()), &refused);

    // The time of a lease is over.
    let past = lab.heard().len();
    let lease = lab.lease_for("rig", "bench", Duration::from_secs(3));
    let available = |it: &Heard| it.reports(Available);
    let heard = lab.wait(LIMIT, |heard| {
        closed(&heard[past..]) == 1 && heard[past..].iter().any(available)
    });
    let expired = What::Expired { name: lease };
    assert!(heard[past..].iter().any(|it| it.what == expired));
    let mut expiry = WITH_HOOKS.to_vec();
    expiry.insert(3, "listen closed");
    assert_story(&heard[past..], &expiry);

    exporter.terminate();
    exporter.ended();
    let trace = fs::read_to_string(settings.path("home/trace")).unwrap();
    let order: Vec<_> = trace
        .lines()
        .filter_map(|it| it.split(' ').next())
        .collect();
    assert_eq!(order, ["before", "after"].repeat(4), "{trace}");
}

/// What every lease with these hooks begins and ends with.
const WITH_HOOKS: [&str; 5] = [
    "listen",
    "Running beforeLease hook",
    "Ready for commands",
    "Running afterLease hooks",
    "Available for new lease",
];

fn closed(heard: &[Heard]) -> usize {
    let closed = |it: &&Heard| matches!(it.what, What::ListenClosed { .. });
    heard.iter().filter(closed).count()
}

/// The end of the Listen stream races with what is said next, and must only come once.
#[track_caller]
fn assert_story(heard: &[Heard], wanted: &[&str]) {
    let said = |word: &&str| *word != "listen closed";
    let story = story(heard);
    let found: Vec<_> = story.iter().map(String::as_str).filter(said).collect();
    let wanted: Vec<_> = wanted.iter().copied().filter(said).collect();
    assert_eq!(found, wanted, "{}", lab::listing(heard));
    assert_eq!(closed(heard), 1, "{}", lab::listing(heard));
}

/// A lease that its client ends with EndSession; what was heard of it.
fn ends_by_client(lab: &Lab, past: usize) -> Vec<Heard> {
    let lease = lab.lease("rig", "bench");
    let ready = |it: &Heard| it.reports(LeaseReady);
    lab.wait(LIMIT, |heard| heard[past..].iter().any(ready));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let socket = lab.dial(&lease);
        let client = Exporter::connect_unix(socket.path()).await.unwrap();
        let power = client.device("power").await.unwrap().power();
        power.on().await.unwrap();
        assert!(client.end_session().await.unwrap().accepted);
    });
    let available = |it: &&Heard| it.reports(Available);
    let heard = lab.wait(LIMIT, |heard| {
        closed(&heard[past..]) == 1 && heard[past..].iter().filter(available).count() == 2
    });
    heard[past..].to_vec()
}

#[test]
fn leases_at_the_command_line() {
    let Some(venv) = venv() else { return };
    let (lab, settings) = (Lab::start(), Settings::new());
    lab.exporter_token("rig");
    lab.label("rig", "board", "x");
    lab.client_home(&settings.path("home"), "bench");
    lab.client_token("other");
    let jmp = |line: &str| {
        let args: Vec<_> = line.split(' ').collect();
        Python::start(venv, &settings, "jmp", &args).succeeded()
    };
    let running = lab.lease("rig", "bench");

    let made = jmp("create lease --selector board=x --duration 1h -o name");
    let leases = jmp("get leases -o json");
    let leases: serde_json::Value = serde_json::from_str(&leases).unwrap();
    let [first, second] = [&leases["leases"][0], &leases["leases"][1]];
    assert_eq!(
        [&first["name"], &first["exporter"]],
        [running.as_str(), "rig"]
    );
    assert_eq!(first["conditions"][0]["reason"], "Ready", "{leases}");
    assert_eq!(second["name"], made.trim(), "{leases}");
    assert_eq!(second["conditions"][0]["reason"], "Offline", "{leases}");
    assert_eq!(second["duration"], 3600.0, "{leases}");

    let moved = jmp(&format!("update lease {running} --to-client other -o json"));
    assert!(moved.contains("\"client\": \"other\""), "{moved}");
    // Its own only: the other one belongs to somebody else now.
    let deleted = jmp("delete leases --all");
    assert_eq!(deleted.trim(), format!("lease \"{}\" deleted", made.trim()));
    assert_eq!(lab.lease_of("rig"), Some(running));
}
