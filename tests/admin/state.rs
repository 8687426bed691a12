//! The state on disk: exported, imported, in use, missing, and somebody else's.

use std::fs;

use rigd_controller::store::Store;

use super::{Site, mode};
use crate::lab;

#[test]
fn an_export_makes_the_same_lab_elsewhere() {
    let host = lab();
    host.ok(&["controller", "export", "--out", "lab.json"]);
    assert_eq!(mode(&host.home("lab.json")), 0o600);
    let text = host.read("lab.json");
    assert_eq!(host.ok(&["controller", "export"]), text);
    let again = host.rigd(&["controller", "export", "--out", "lab.json"]);
    again.refused(1, &["lab.json exists already"]);

    let other = Site::new();
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

    let third = Site::new();
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
    let host = Site::new();
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
