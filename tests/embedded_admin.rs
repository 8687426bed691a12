//! `rigd controller …` and `rigd get`: the real binary, without a daemon and with one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod admin;
mod support;

use std::{fs, process::Command};

use admin::{Host, mode, value};
use rigd_controller::store::Store;
use serde_json::Value;
use support::python::venv;

/// A lab with two boards and a client.
fn lab() -> Host {
    let host = Host::new();
    let create = |args: &[&str]| host.ok(&[&["controller", "create"], args].concat());
    create(&["client", "ci", "--out", "ci.yaml"]);
    create(&[
        "exporter",
        "rig-1",
        "-l",
        "board=rpi4",
        "--out",
        "rig-1.yaml",
    ]);
    let labels = ["--label", "board=qemu", "--label", "rack=7"];
    create(&[&["exporter", "rig-2", "--out", "rig-2.yaml"], &labels[..]].concat());
    host
}

#[test]
fn a_client_gets_a_file_for_its_owner_only() {
    let host = Host::new();
    let made = host.rigd(&["controller", "create", "client", "ci", "--out", "ci.yaml"]);
    assert!(made.err.contains("a new lab was made in"), "{made:?}");
    let said = made.ok();
    assert_eq!(
        said,
        "client.jumpstarter.dev/ci created; its file is ci.yaml\n"
    );
    assert_eq!(mode(&host.home("ci.yaml")), 0o600);
    let text = host.read("ci.yaml");
    let (ca, token) = (value(&text, "ca"), value(&text, "token"));
    assert!(!ca.is_empty(), "{text}");
    assert_eq!(
        token.split('.').count(),
        3,
        "no token of three parts: {text}"
    );
    let wanted = format!(
        "apiVersion: jumpstarter.dev/v1alpha1
kind: ClientConfig
metadata:
  namespace: default
  name: ci
endpoint: 127.0.0.1:8082
tls:
  ca: {ca}
  insecure: false
token: {token}
grpcOptions: {{}}
drivers:
  allow:
  - '*'
  unsafe: false
shell:
  use_profiles: false
"
    );
    assert_eq!(text, wanted);
    // Nothing but that file and the state.
    let left = fs::read_dir(host.settings.path("home")).unwrap().count();
    assert_eq!(left, 1);
    assert_eq!(mode(&host.state()), 0o700);
    for file in fs::read_dir(host.state()).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn files_are_those_that_jumpstarter_itself_would_write() {
    let Some(venv) = venv() else { return };
    let host = lab();
    let globs = "jumpstarter_driver_power.*,a.b";
    let create = ["controller", "create", "client", "few", "--allow", globs];
    host.ok(&[&create[..], &["--out", "few.yaml"]].concat());
    let create = ["controller", "create", "client", "all", "--unsafe"];
    host.ok(&[&create[..], &["--out", "all.yaml"]].concat());
    let code = "
import sys
from pathlib import Path
from jumpstarter.config.client import ClientConfigV1Alpha1 as Client
from jumpstarter.config.exporter import ExporterConfigV1Alpha1 as Exporter
for path in sys.argv[1:]:
    kind = Exporter if 'rig' in path else Client
    read = kind.load_path(Path(path)) if 'rig' in path else kind.from_file(path)
    again = kind.dump_yaml(read)
    assert again == Path(path).read_text(), again
    print(path, *(read.drivers.allow if kind is Client else []))
";
    let mut python = Command::new(venv.python());
    python.current_dir(host.settings.path("home"));
    python.args(["-c", code, "ci.yaml", "few.yaml", "all.yaml", "rig-1.yaml"]);
    let output = python.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert_eq!(
        said,
        "ci.yaml *\nfew.yaml jumpstarter_driver_power.* a.b\nall.yaml\nrig-1.yaml\n"
    );
    assert_eq!(value(&host.read("all.yaml"), "unsafe"), "true");
}

#[test]
fn only_save_writes_into_the_callers_configuration() {
    let host = lab();
    assert!(!host.home(".config").exists());
    let said = host.ok(&["controller", "create", "client", "first", "--save"]);
    assert!(
        said.ends_with("first.yaml, and is the client that jmp uses\n"),
        "{said}"
    );
    let create = ["controller", "create", "client", "a.b", "--save"];
    let said = host.ok(&[&create[..], &["--alias", "second"]].concat());
    assert!(said.contains("`jmp config client use second`"), "{said}");
    let create = [
        "controller",
        "create",
        "exporter",
        "rig-3",
        "-l",
        "a=b",
        "--save",
    ];
    let said = host.ok(&create);
    assert!(said.contains("exporters/rig-3.yaml"), "{said}");
    for name in ["clients/first", "clients/second", "exporters/rig-3"] {
        let path = host.home(&format!(".config/jumpstarter/{name}.yaml"));
        assert_eq!(mode(&path), 0o600, "{name}");
    }
    let Some(venv) = venv() else { return };
    let listed = host.jmp(venv, &["config", "client", "list"]);
    let rows: Vec<Vec<_>> = listed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert!(
        rows.iter()
            .any(|row| row.starts_with(&["*", "first", "127.0.0.1:8082"])),
        "{listed}"
    );
    assert!(
        rows.iter()
            .any(|row| row.starts_with(&["second", "127.0.0.1:8082"])),
        "{listed}"
    );
    let listed = host.jmp(venv, &["config", "exporter", "list"]);
    assert!(listed.contains("rig-3"), "{listed}");
}

#[test]
fn what_cannot_be_written_is_found_before_anything_is_made() {
    let host = Host::new();
    host.write("taken.yaml", "mine\n");
    let create = |rest: &[&str]| {
        let args = [&["controller", "create", "client", "ci"], rest].concat();
        host.rigd(&args)
    };
    create(&["--out", "taken.yaml"]).refused(1, &["taken.yaml exists already; --force"]);
    create(&["--out", "none/ci.yaml"]).refused(1, &["none: No such file or directory"]);
    create(&["--out", "."]).refused(1, &["is a directory"]);
    create(&["--save", "--alias", "a.b"]).refused(2, &["cannot be an alias", "--alias"]);
    create(&["--save", "--out", "x"]).refused(2, &["cannot be used with"]);
    create(&["--alias", "x"]).refused(2, &["--save"]);
    create(&["-l", "board", "--out", "-"]).refused(2, &["KEY=VALUE"]);
    create(&["-l", "a=1", "-l", "a=2", "--out", "-"]).refused(2, &["label a is given twice"]);
    let exporter = ["controller", "create", "exporter", "rig-1", "--out", "-"];
    host.rigd(&exporter).refused(2, &["--label"]);
    fs::create_dir_all(host.home(".config/jumpstarter")).unwrap();
    fs::write(host.home(".config/jumpstarter/clients"), "").unwrap();
    create(&["--save"]).refused(1, &["clients is not a directory"]);
    let mut wrong = host.command(&["controller", "create", "client", "ci", "--out", "-"]);
    wrong.env("RIGD_CONTROLLER_NAMESPACE", "My Lab");
    admin::said(wrong, "").refused(2, &["namespace", "My Lab"]);
    assert!(!host.state().exists(), "a lab was made");
    assert_eq!(host.read("taken.yaml"), "mine\n");

    create(&["--out", "taken.yaml", "--force"]).ok();
    assert!(host.read("taken.yaml").starts_with("apiVersion:"));
    assert_eq!(mode(&host.home("taken.yaml")), 0o600);
    // What the controller refuses leaves no file either.
    create(&["--out", "other.yaml"]).refused(1, &["client default/ci already exists"]);
    let bad = [
        "controller",
        "create",
        "client",
        "CI",
        "--out",
        "other.yaml",
    ];
    host.rigd(&bad).refused(1, &["invalid name \"CI\""]);
    let bad = [&exporter[..4], &["-l", "a b=c", "--out", "other.yaml"]].concat();
    host.rigd(&bad).refused(1, &["a b"]);
    assert!(!host.home("other.yaml").exists());
}

#[test]
fn a_pipe_gets_the_document_alone() {
    let host = lab();
    for more in [&[][..], &["--out", "-"]] {
        let name = format!("ci-{}", more.len());
        let made = host.rigd(&[&["controller", "create", "client", &name], more].concat());
        assert!(made.err.is_empty(), "{made:?}");
        let text = made.ok();
        assert!(text.starts_with("apiVersion: jumpstarter.dev/v1alpha1\nkind: ClientConfig\n"));
        assert!(text.ends_with("use_profiles: false\n"));
    }
}

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
    let other = Host::new();
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
    let labels = |host: &Host| host.ok(&["get", "exporters", "-l", "rack=7", "-o", "name"]);
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

#[test]
fn a_new_token_goes_where_the_old_one_was() {
    let host = lab();
    let old = host
        .read("ci.yaml")
        .replace("grpcOptions: {}", "# mine\ngrpcOptions: {}");
    host.write("ci.yaml", &old);
    let rotate = |rest: &[&str]| host.rigd(&[&["controller", "rotate"], rest].concat());
    let said = rotate(&["client", "ci", "--out", "ci.yaml"]).ok();
    assert_eq!(
        said,
        "client.jumpstarter.dev/ci rotated; the new token is in ci.yaml\n"
    );
    let new = host.read("ci.yaml");
    let (before, after) = (value(&old, "token"), value(&new, "token"));
    assert_ne!(before, after);
    assert_eq!(
        new,
        old.replace(before, after),
        "more than the token has changed"
    );
    assert_eq!(mode(&host.home("ci.yaml")), 0o600);
    // A file that is not there is written whole.
    rotate(&["exporter", "rig-1", "--save"]).ok();
    let saved = host.read(".config/jumpstarter/exporters/rig-1.yaml");
    assert_ne!(
        value(&saved, "token"),
        value(&host.read("rig-1.yaml"), "token")
    );
    assert_eq!(value(&saved, "kind"), "ExporterConfig");

    // Somebody else's file, and files without a place for it, before the old token is revoked.
    rotate(&["client", "ci", "--out", "rig-1.yaml"])
        .refused(1, &["is not the ClientConfig of 'ci'"]);
    rotate(&["exporter", "rig-2", "--out", "rig-1.yaml"]).refused(1, &["of 'rig-2'"]);
    host.write("notes.yaml", "kind: ClientConfig\nmetadata: {name: ci}\n");
    rotate(&["client", "ci", "--out", "notes.yaml"]).refused(1, &["exactly one line `token: …`"]);
    let exported = host.ok(&["controller", "export"]);
    let world: Value = serde_json::from_str(&exported).unwrap();
    rotate(&["client", "nobody", "--out", "new.yaml"]).refused(1, &["default/nobody not found"]);
    assert!(!host.home("new.yaml").exists());
    let again: Value = serde_json::from_str(&host.ok(&["controller", "export"])).unwrap();
    assert_eq!(world, again);
    rotate(&["lease", "x"]).refused(2, &["only clients and exporters have tokens"]);
}

#[test]
fn an_export_makes_the_same_lab_elsewhere() {
    let host = lab();
    host.ok(&["controller", "export", "--out", "lab.json"]);
    assert_eq!(mode(&host.home("lab.json")), 0o600);
    let text = host.read("lab.json");
    assert_eq!(host.ok(&["controller", "export"]), text);
    let again = host.rigd(&["controller", "export", "--out", "lab.json"]);
    again.refused(1, &["lab.json exists already"]);

    let other = Host::new();
    other.write("lab.json", &text);
    let said = other.ok(&["controller", "import", "lab.json"]);
    assert!(
        said.starts_with("1 clients, 2 exporters, 0 leases and 0 policies"),
        "{said}"
    );
    for kind in ["exporters", "clients"] {
        let get = ["get", kind, "-o", "yaml"];
        assert_eq!(host.ok(&get), other.ok(&get));
    }
    assert_eq!(other.ok(&["controller", "export"]), text);
    other
        .rigd(&["controller", "import", "lab.json"])
        .refused(1, &["controller.redb exists already: move it away first"]);

    let third = Host::new();
    let import = |text: &str| third.rigd_reads(&["controller", "import", "-"], text);
    import("{}").refused(1, &["standard input: this is not an export of rigd"]);
    import(&text.replacen("\"created\"", "\"creation\"", 1))
        .refused(1, &["standard input: the export is damaged"]);
    assert!(!third.state().exists());
}

#[test]
fn one_process_at_a_time_has_the_state() {
    let host = lab();
    let store = Store::open(&host.state()).unwrap();
    let words = format!("error: state is in use by pid {}\n", std::process::id());
    host.rigd(&["get", "exporters"]).refused(1, &[&words]);
    let create = ["controller", "create", "client", "new", "--out", "new.yaml"];
    host.rigd(&create).refused(1, &[&words]);
    assert!(!host.home("new.yaml").exists());
    host.write("lab.json", "{}");
    drop(store);
    host.ok(&["get", "exporters"]);
}

#[test]
fn without_any_lab_commands_say_where_they_looked() {
    let host = Host::new();
    let state = host.state().display().to_string();
    for args in [
        &["get", "exporters"][..],
        &["controller", "delete", "client", "ci"],
        &["controller", "rotate", "client", "ci", "--out", "ci.yaml"],
        &["controller", "export"],
    ] {
        host.rigd(args)
            .refused(1, &["no rigd answers", "control.sock", &state]);
    }
    assert!(!host.state().exists(), "a lab was made");
    // A daemon that is named is meant.
    let create = ["controller", "create", "client", "ci", "--out", "ci.yaml"];
    let named = [&create[..], &["--socket", "run/none.sock"]].concat();
    host.rigd(&named)
        .refused(1, &["no rigd answers", "none.sock"]);
    assert!(!host.state().exists() && !host.home("ci.yaml").exists());
}

#[test]
fn a_file_that_is_no_state_is_left_as_it_is() {
    let host = lab();
    let file = host.state().join("controller.redb");
    fs::write(&file, "something else").unwrap();
    host.rigd(&["get", "exporters"])
        .refused(1, &["is not a state file of rigd"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "something else");
}
