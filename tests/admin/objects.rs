//! What there is, as objects: shown, applied and deleted.

use std::fs;

use serde_json::Value;

use super::{Site, value};
use crate::lab;

#[test]
fn objects_in_every_form() {
    let host = lab();
    let table = host.ok(&["get", "exporters"]);
    let rows: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["NAME", "STATUS", "ENDPOINT", "DEVICES", "AGE"]);
    assert_eq!(rows[1][..4], ["rig-1", "Unknown", "127.0.0.1:8082", "0"]);
    assert_eq!(rows.len(), 3);
    // Also those that have no instances yet.
    let wide = host.ok(&["get", "exporters", "-o", "wide"]);
    assert!(
        wide.lines().next().unwrap().ends_with("LABELS  UUID"),
        "{wide}"
    );
    assert_eq!(wide.lines().count(), 3, "{wide}");
    for kind in ["exporter", "Exporters", "exporters.jumpstarter.dev"] {
        let names = host.ok(&["controller", "get", kind, "-o", "name"]);
        assert_eq!(
            names,
            "exporter.jumpstarter.dev/rig-1\nexporter.jumpstarter.dev/rig-2\n"
        );
    }
    let json = |args: &[&str]| -> Value {
        let text = host.ok(&[&["get"], args, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap()
    };
    let list = json(&["exporters"]);
    assert_eq!(list["kind"], "ExporterList");
    assert_eq!(list["items"][1]["metadata"]["labels"]["rack"], "7");
    let one = json(&["exporter", "rig-2"]);
    assert_eq!(
        (&one["kind"], &one["metadata"]["name"]),
        (&"Exporter".into(), &"rig-2".into())
    );
    assert_eq!(one["status"]["endpoint"], "127.0.0.1:8082");
    let list = json(&["exporters", "-l", "board=rpi4,!broken"]);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["metadata"]["name"], "rig-1");
    let list = json(&["exporters", "rig-2", "rig-1"]);
    assert_eq!(list["items"][0]["metadata"]["name"], "rig-2");
    let yaml = host.ok(&["get", "client", "ci", "-o", "yaml"]);
    assert!(
        yaml.starts_with("apiVersion: jumpstarter.dev/v1alpha1\nkind: Client\n"),
        "{yaml}"
    );
    assert!(yaml.ends_with('\n') && !yaml.ends_with("\n\n"));

    assert_eq!(host.ok(&["get", "leases"]), "No resources found.\n");
    assert_eq!(
        host.ok(&["get", "policies", "-o", "wide"]),
        "No resources found.\n"
    );
    assert_eq!(host.ok(&["get", "leases", "-o", "name"]), "");
    let none = json(&["leases"]);
    assert_eq!(
        (&none["kind"], &none["items"]),
        (&"LeaseList".into(), &Value::Array(vec![]))
    );

    host.rigd(&["get", "exporter", "rig-9"])
        .refused(1, &["default/rig-9 not found", "rig-1"]);
    host.rigd(&["get", "exporters", "-l", "a in"])
        .refused(1, &["selector: unable to parse requirement"]);
    host.rigd(&["get", "rigs"])
        .refused(2, &["unknown kind \"rigs\"", "exporters, leases"]);
    host.rigd(&["get", "leases", "-o", "xml"])
        .refused(2, &["yaml", "wide"]);
}

#[test]
fn what_get_prints_apply_takes() {
    let host = lab();
    let policy = "apiVersion: jumpstarter.dev/v1alpha1
kind: ExporterAccessPolicy
metadata: {name: evening}
spec:
  exporterSelector: {matchLabels: {board: rpi4}}
  policies:
  - {priority: 3, maximumDuration: 2h, from: [{clientSelector: {matchLabels: {team: a}}}]}
";
    host.write("policy.yaml", policy);
    let apply = ["controller", "apply", "-f", "policy.yaml"];
    let name = "exporteraccesspolicy.jumpstarter.dev/evening";
    assert_eq!(host.ok(&apply), format!("{name} created\n"));
    assert_eq!(host.ok(&apply), format!("{name} unchanged\n"));
    host.write("policy.yaml", &policy.replace("priority: 3", "priority: 4"));
    assert_eq!(host.ok(&apply), format!("{name} configured\n"));
    for form in ["yaml", "json"] {
        for kind in ["exporters", "clients", "policies"] {
            let text = host.ok(&["get", kind, "-o", form]);
            let names = host.ok(&["get", kind, "-o", "name"]);
            let applied = host
                .rigd_reads(&["controller", "apply", "-f", "-"], &text)
                .ok();
            assert!(names.contains('/'), "no {kind}");
            assert_eq!(
                applied,
                names.replace('\n', " unchanged\n"),
                "{kind} as {form}"
            );
            assert_eq!(host.ok(&["get", kind, "-o", form]), text);
        }
    }
    // The whole lab elsewhere.
    let other = Site::new();
    for kind in ["exporters", "clients", "policies"] {
        let text = host.ok(&["get", kind, "-o", "yaml"]);
        let applied = other
            .rigd_reads(&["controller", "apply", "-f", "-"], &text)
            .ok();
        assert!(
            applied.lines().all(|line| line.ends_with(" created")),
            "{applied}"
        );
    }
    // With tokens of its own.
    other.ok(&["controller", "rotate", "client", "ci", "--out", "ci.yaml"]);
    assert_ne!(
        value(&other.read("ci.yaml"), "token"),
        value(&host.read("ci.yaml"), "token")
    );
    let labels = |host: &Site| host.ok(&["get", "exporters", "-l", "rack=7", "-o", "name"]);
    assert_eq!(labels(&host), labels(&other));
}

#[test]
fn nothing_is_applied_when_one_object_is_wrong() {
    let host = lab();
    let good = "apiVersion: jumpstarter.dev/v1alpha1\nkind: Client\nmetadata: {name: new}\n";
    for (wrong, words) in [
        (
            "kind: Exportr\n",
            &["document 2", "unknown kind `Exportr`", "`Exporter`"][..],
        ),
        (
            "kind: Exporter\nmetadata: {name: x}\nspec: {enable: true}\n",
            &["enable", "`enabled`"],
        ),
        (
            "kind: Lease\nmetadata: {name: x}\nspec: {duration: 1h}\n",
            &["clientRef"],
        ),
        ("kind: Client\nmetadata: {name: X_Y}\n", &["X_Y"]),
    ] {
        let text = format!("{good}---\napiVersion: jumpstarter.dev/v1alpha1\n{wrong}");
        host.write("lab.yaml", &text);
        let said = host.rigd(&["controller", "apply", "-f", "lab.yaml"]);
        said.refused(1, &[&["error: lab.yaml: "], words].concat());
    }
    assert_eq!(
        host.ok(&["get", "clients", "-o", "name"]),
        "client.jumpstarter.dev/ci\n"
    );
    let apply = |file: &str| host.rigd(&["controller", "apply", "-f", file]);
    apply("none.yaml").refused(1, &["none.yaml: No such file"]);
    fs::write(host.home("binary"), [0xff, 0xfe]).unwrap();
    apply("binary").refused(1, &["binary: no UTF-8"]);
    fs::write(host.home("large"), vec![b'#'; 5 << 20]).unwrap();
    apply("large").refused(1, &["large has more than"]);
    host.rigd(&["controller", "apply"]).refused(2, &["--file"]);
}

#[test]
fn what_is_deleted_is_gone_and_one_failure_keeps_no_other() {
    let host = lab();
    let deleted = host.rigd(&[
        "controller",
        "delete",
        "exporter",
        "rig-1",
        "rig-9",
        "rig-2",
    ]);
    assert_eq!(deleted.code, Some(1), "{deleted:?}");
    assert_eq!(
        deleted.out,
        "exporter.jumpstarter.dev/rig-1 deleted\nexporter.jumpstarter.dev/rig-2 deleted\n"
    );
    assert!(
        deleted.err.contains("default/rig-9 not found"),
        "{deleted:?}"
    );
    assert_eq!(host.ok(&["get", "exporters"]), "No resources found.\n");
    host.ok(&["controller", "delete", "clients", "ci"]);
    host.rigd(&["get", "client", "ci"])
        .refused(1, &["not found"]);
    host.rigd(&["controller", "delete", "client"])
        .refused(2, &["NAME"]);
}

#[test]
fn a_lease_is_released_and_stays_to_be_looked_at() {
    let host = lab();
    let lease = "apiVersion: jumpstarter.dev/v1alpha1
kind: Lease
metadata: {name: nightly}
spec: {clientRef: {name: ci}, duration: 1h, selector: {matchLabels: {board: rpi4}}}
";
    let applied = host.rigd_reads(&["controller", "apply", "-f", "-"], lease);
    assert_eq!(applied.ok(), "lease.jumpstarter.dev/nightly created\n");
    let shown = || -> Value {
        let text = host.ok(&["get", "lease", "nightly", "-o", "json"]);
        serde_json::from_str(&text).unwrap()
    };
    let before = shown();
    assert_eq!(before["spec"]["duration"], "1h0m0s");
    assert_eq!(before["status"]["ended"], false);
    let delete = ["controller", "delete", "lease", "nightly"];
    assert_eq!(host.ok(&delete), "lease.jumpstarter.dev/nightly released\n");
    assert_eq!(shown()["status"]["ended"], true);
    host.rigd(&delete).refused(1, &["nightly"]);
}
