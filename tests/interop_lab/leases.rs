//! What a client does with exporters and leases.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    commands::{Commands, available},
    embedded::caller::{Caller, Credentials},
    lab::Lab,
};

/// That many objects, in pages of this size.
const OBJECTS: usize = 10;
const PAGE: usize = 5;
/// In upstream's suite a lease that cannot be is over by then.
const HOPELESS: Duration = Duration::from_secs(20);

/// The names of the client's open leases.
#[track_caller]
fn leases(jmp: &mut Commands, args: &str) -> Vec<String> {
    jmp.names(&format!("get leases -o name{args}"))
}

/// Takes a lease; its name.
#[track_caller]
fn create(jmp: &mut Commands, args: &str) -> String {
    jmp.ok(&format!("create lease {args} -o name"))
        .trim()
        .to_owned()
}

/// The one lease that the client sees.
#[track_caller]
fn lease(jmp: &mut Commands, args: &str) -> Value {
    let all = jmp.json(&format!("get leases{args} -o json"));
    let all = all["leases"].as_array().unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn what_a_client_does_with_leases() {
    let Some(mut lab) = Lab::with(&["a", "b"]) else {
        return;
    };
    let mut jmp = lab.commands(&lab.own());
    assert_eq!(jmp.names("get exporters -o name"), ["a", "b"]);
    assert_eq!(jmp.names("get exporters -l board=b -o name"), ["b"]);
    let shown = jmp.ok("get exporters --with online --with status");
    let row = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let rows: Vec<_> = shown.lines().map(row).collect();
    assert_eq!(rows[0], ["NAME", "ONLINE", "STATUS", "LABELS"], "{shown}");
    assert_eq!(rows[1][..3], ["a", "yes", "AVAILABLE"], "{shown}");
    assert!(jmp.ok("get exporters -o yaml").contains("    board: a\n"));
    assert_eq!(jmp.ok("get leases"), "No resources found.\n");

    let name = create(&mut jmp, "--selector board=a --duration 30m");
    assert_eq!(leases(&mut jmp, ""), [name.as_str()]);
    let one = lease(&mut jmp, "");
    for (key, wanted) in [
        ("name", name.as_str()),
        ("selector", "board=a"),
        ("exporter", "a"),
    ] {
        assert_eq!(one[key], wanted, "{one}");
    }
    assert_eq!(one["client"], "default");
    assert_eq!(one["duration"], 1800.0);
    assert_eq!(one["conditions"][0]["type"], "Ready", "{one}");
    let yaml = jmp.ok("get leases -o yaml");
    assert!(yaml.contains(&format!("  name: {name}\n")), "{yaml}");
    let held = jmp.json("get exporters --with leases -o json");
    let held = held["exporters"].as_array().unwrap();
    assert_eq!(held[0]["lease"]["name"], name.as_str(), "{held:?}");
    assert_eq!(held[1]["lease"], Value::Null, "{held:?}");
    jmp.until("get exporters --with status", |text| {
        text.contains("LEASE_READY")
    });

    let longer = jmp.json(&format!("update lease {name} --duration 2h -o json"));
    assert_eq!(longer["duration"], 7200.0, "{longer}");
    assert_eq!(lease(&mut jmp, "")["duration"], 7200.0);

    let gone = jmp.ok(&format!("delete lease {name}"));
    assert_eq!(gone, format!("lease \"{name}\" deleted\n"));
    assert_eq!(jmp.ok("get leases"), "No resources found.\n");
    let ended = lease(&mut jmp, " --all");
    assert!(ended["effective_end_time"].is_string(), "{ended}");
    jmp.refused(&format!("delete lease {name}"), "already been released");
    lab.daemon.stop_cleanly();
}

#[test]
fn operate_on_leases() {
    let Some(lab) = Lab::with(&["a"]) else { return };
    let mut jmp = lab.commands(&lab.own());
    let day = create(&mut jmp, "--selector board=a --duration 1d");
    let next = create(&mut jmp, "--selector board=a,!broken --duration 1d");
    let table = jmp.ok("get leases");
    let row = table.lines().find(|line| line.starts_with(&day)).unwrap();
    let head = table.lines().next().unwrap();
    let column = |name: &str| {
        let at = head
            .find(name)
            .unwrap_or_else(|| panic!("no {name} in {table}"));
        row[at..].split("  ").next().unwrap()
    };
    assert_eq!(
        column("EXPIRES AT").len(),
        "2026-01-01 00:00:00".len(),
        "{table}"
    );
    assert!(column("REMAINING").starts_with("23h 59m"), "{table}");
    assert_eq!(column("EXPORTER"), "a", "{table}");
    assert_eq!(column("CLIENT"), "default", "{table}");

    let both = [day.as_str(), next.as_str()];
    assert_eq!(leases(&mut jmp, ""), both);
    assert_eq!(leases(&mut jmp, " -l board=a"), both);
    assert_eq!(leases(&mut jmp, " -l !broken"), [next.as_str()]);
    assert_eq!(leases(&mut jmp, " -l board=a,!broken"), [next.as_str()]);
    for none in ["board=b", "!other", "board=b,!broken"] {
        let said = jmp.ok(&format!("get leases -l {none}"));
        assert_eq!(said, "No resources found.\n", "{none}");
    }
    let deleted = jmp.ok("delete leases --all");
    for name in both {
        assert!(
            deleted.contains(&format!("lease \"{name}\" deleted")),
            "{deleted}"
        );
    }
    assert_eq!(jmp.ok("get leases"), "No resources found.\n");
}

#[test]
fn paginated_leases_and_exporters() {
    let Some(lab) = Lab::empty() else { return };
    let names: Vec<_> = (0..OBJECTS).map(|n| format!("rig-{n}")).collect();
    for name in &names {
        lab.site.ok(&[
            "controller",
            "create",
            "exporter",
            name,
            "--label",
            "rack=7",
            "--out",
            "-",
        ]);
    }
    let mut jmp = lab.commands(&lab.own());
    let mut taken: Vec<_> = (0..OBJECTS)
        .map(|_| create(&mut jmp, "--selector rack=7 --duration 1d"))
        .collect();
    taken.sort();
    for (kind, wanted) in [("exporters", names), ("leases", taken)] {
        let read = jmp.json(&format!("python {kind} {PAGE}"));
        let mut found: Vec<String> = serde_json::from_value(read["names"].clone()).unwrap();
        found.sort();
        assert_eq!(found, wanted, "{kind}");
        assert_eq!(read["pages"], OBJECTS / PAGE, "{kind}");
    }
}

#[test]
fn transfer_a_lease() {
    let Some(lab) = Lab::with(&["a"]) else { return };
    let other = lab.client("other");
    let mut jmp = lab.commands(&lab.own());
    let name = create(&mut jmp, "--selector board=a --duration 1h");
    let transfer = format!("update lease {name} --to-client");
    jmp.refused(&format!("{transfer} nobody"), "target client not found");
    let given = jmp.json(&format!("{transfer} other -o json"));
    assert_eq!(given["client"], "other", "{given}");
    assert_eq!(given["exporter"], "a", "{given}");
    // It is no longer theirs to use or to end, and is the other's.
    jmp.refused(&format!("delete lease {name}"), "permission denied");
    let (mut old, mut new) = (lab.shell(&format!("--lease {name}")), lab.commands(&other));
    let (code, said) = old.result();
    assert_eq!(code, Some(1), "{said}");
    // `jmp` looks first whose it is, and has not asked for a connection.
    let own = Credentials::read(&lab.own().join("clients/default.yaml"));
    let dial = async { Caller::connect(own).await.unwrap().dial(&name).await };
    let refused = Runtime::new().unwrap().block_on(dial).unwrap_err();
    assert_eq!(refused.message(), "permission denied");
    assert!(!lab.switched_on("a"));
    let config = format!("--client-config {}/clients/other.yaml", other.display());
    lab.shell(&format!("{config} --lease {name}")).succeeded();
    assert!(lab.switched_on("a"));
    assert_eq!(leases(&mut new, ""), [name.as_str()]);
    new.ok(&format!("delete lease {name}"));
}

#[test]
fn lease_and_connect_by_selector_by_name_and_by_both() {
    let Some(lab) = Lab::with(&["a", "b", "c"]) else {
        return;
    };
    let mut shells = [
        "--selector board=a",
        "--name b",
        "--selector board=c --name c",
    ]
    .map(|args| lab.shell(args));
    for shell in &mut shells {
        shell.succeeded();
    }
    let mut jmp = lab.commands(&lab.own());
    let status = "get exporters --with status -o json";
    jmp.until(status, |text| available(text) == 3);
    for name in ["a", "b", "c"] {
        assert!(lab.switched_on(name), "{name}");
    }
    // Both at once have to fit.
    let misfit = create(&mut jmp, "--selector board=a --name b --duration 1h");
    let all = jmp.json("get leases --all -o json");
    let mut all = all["leases"].as_array().unwrap().iter();
    let misfit = all.find(|lease| lease["name"] == misfit.as_str()).unwrap();
    assert_eq!(
        misfit["conditions"][0]["reason"], "SelectorMismatch",
        "{misfit}"
    );
}

#[test]
fn an_exporter_that_does_not_exist() {
    let Some(lab) = Lab::with(&["a"]) else { return };
    let begin = Instant::now();
    let (code, said) = lab.shell("--name nosuch").result();
    assert!(begin.elapsed() < HOPELESS, "{:?}\n{said}", begin.elapsed());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot be satisfied"), "{said}");
}
