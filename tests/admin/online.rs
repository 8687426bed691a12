//! The same commands while a daemon has the lab.

use std::fs;

use serde_json::Value;

use super::{Site, value};
use crate::{
    lab,
    support::{daemon::Daemon, jmp::Python, python::venv},
};

/// `rigd controller run` on a port of the test's own.
fn serve(host: &Site, flags: &[&str]) -> Daemon {
    let listen = format!("127.0.0.1:{}", host.settings.port);
    let mut command = host.command(&["controller", "run", "--controller-listen", &listen]);
    command.args(flags);
    Daemon::serve_by(command, &host.settings)
}

#[test]
fn what_is_made_through_the_daemon_is_good_at_once_and_no_longer_than_meant() {
    let Some(venv) = venv() else { return };
    let host = lab();
    let _daemon = serve(&host, &[]);
    host.ok(&["controller", "create", "client", "bench", "--save"]);
    assert!(host.jmp(venv, &["get", "exporters"]).contains("rig-1"));
    // Tokens from before the daemon are as good.
    let before = host.read("ci.yaml");
    let endpoint = format!("127.0.0.1:{}", host.settings.port);
    let clients = host.home(".config/jumpstarter/clients");
    let early = before.replace("127.0.0.1:8082", &endpoint);
    fs::write(clients.join("early.yaml"), early).unwrap();
    assert!(
        host.jmp(venv, &["get", "exporters", "--client", "early"])
            .contains("rig-2")
    );

    fs::copy(clients.join("bench.yaml"), clients.join("old.yaml")).unwrap();
    host.ok(&["controller", "rotate", "client", "bench", "--save"]);
    assert!(host.jmp(venv, &["get", "exporters"]).contains("rig-1"));
    let fails = |client: &str| {
        let home = host.settings.path("home");
        let config = home.join(".config/jumpstarter");
        let variables = [("JMP_CLIENT_CONFIG_HOME", config.to_str().unwrap())];
        let args = ["get", "exporters", "--client", client];
        let (code, said) = Python::start_at(venv, &home, "jmp", &args, &variables).result();
        assert_eq!(code, Some(1), "{said}");
        assert!(!said.contains("rig-1"), "{said}");
    };
    fails("old");
    host.ok(&["controller", "delete", "client", "bench"]);
    fails("bench");
}

#[test]
fn a_stopped_daemon_leaves_the_lab_to_commands() {
    let host = lab();
    let forms = |host: &Site| {
        ["exporters", "clients", "policies"].map(|kind| host.ok(&["get", kind, "-o", "yaml"]))
    };
    let before = forms(&host);
    // A flag, which commands know of only by what it led to.
    let mut daemon = serve(&host, &["--namespace", "lab-a"]);
    host.ok(&[
        "controller",
        "create",
        "client",
        "later",
        "--out",
        "later.yaml",
    ]);
    let policy = "apiVersion: jumpstarter.dev/v1alpha1\nkind: ExporterAccessPolicy\n\
                  metadata: {name: all}\nspec: {policies: [{from: [{}]}]}\n";
    let applied = host.rigd_reads(&["controller", "apply", "-f", "-"], policy);
    assert!(applied.ok().ends_with("/all created\n"));
    let while_it_runs = forms(&host);
    // One that does not find its socket does not touch what it has.
    let mut blind = host.command(&["get", "exporters"]);
    blind.env("RIGD_SOCKET", host.settings.path("run/none.sock"));
    let words = format!("error: state is in use by pid {}\n", daemon.pid());
    super::said(blind, "").refused(1, &[&words]);
    let import = host.rigd_reads(
        &["controller", "import", "-"],
        &host.ok(&["controller", "export"]),
    );
    import.refused(1, &[&words]);

    daemon.stop_cleanly();
    assert_eq!(while_it_runs, forms(&host));
    assert_ne!(before, while_it_runs);
    // What it was last reached by goes into new files.
    host.ok(&[
        "controller",
        "create",
        "client",
        "last",
        "--out",
        "last.yaml",
    ]);
    let endpoint = format!("127.0.0.1:{}", host.settings.port);
    for file in ["later.yaml", "last.yaml"] {
        assert_eq!(value(&host.read(file), "endpoint"), endpoint);
        assert_eq!(value(&host.read(file), "namespace"), "lab-a");
    }
    assert_eq!(
        value(&host.read("later.yaml"), "ca"),
        value(&host.read("ci.yaml"), "ca")
    );
    let Some(venv) = venv() else { return };
    let _again = serve(&host, &["--namespace", "lab-a"]);
    let path = host.home("last.yaml");
    let args = [
        "get",
        "exporters",
        "--client-config",
        path.to_str().unwrap(),
    ];
    assert!(host.jmp(venv, &args).contains("rig-1"));
}

#[test]
fn a_daemon_without_a_controller_leaves_the_state_to_commands() {
    let host = Site::new();
    host.write(
        "rig.yaml",
        "metadata: {name: rig}\nexport:\n  power: {type: power.mock}\n",
    );
    let run = host.command(&["run", "rig.yaml", "--unix", "rig.sock"]);
    let _daemon = Daemon::serve_by(run, &host.settings);
    let create = ["controller", "create", "client", "ci", "--out", "ci.yaml"];
    let words = [
        "no embedded controller runs in this daemon",
        "rigd controller run",
    ];
    for args in [&["get", "leases"][..], &create] {
        host.rigd(args).refused(1, &words);
    }
    assert!(!host.state().exists(), "a lab was made");
    let exported = lab().ok(&["controller", "export"]);
    host.rigd_reads(&["controller", "import", "-"], &exported)
        .ok();
    let shown = host.ok(&["get", "exporters", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["items"].as_array().unwrap().len(), 2);
    // It goes on.
    assert_eq!(host.rigd(&["status"]).code, Some(0));
}
