//! Configuration files: what is in them, and where they go.

use std::{fs, process::Command};

use serde_json::Value;

use super::{Site, mode, said, value};
use crate::{lab, support::python::venv};

#[test]
fn a_client_gets_a_file_for_its_owner_only() {
    let host = Site::new();
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
    let host = Site::new();
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
    said(wrong, "").refused(2, &["namespace", "My Lab"]);
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
