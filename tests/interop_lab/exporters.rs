//! Exporters of other processes, rigd's and Python's.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    commands::available,
    embedded::Site,
    lab::Lab,
    python_exporter::PythonExporter,
    running::Running,
    support::{daemon::Daemon, settings::Settings},
};

const MOCK: &str = "power.mock";
pub(crate) const PYTHON_MOCK: &str = "jumpstarter_driver_power.driver.MockPower";
const REGISTERED: &str = "Registered with the controller.";

/// Another host, whose `rigd` serves these files.
fn other_host(settings: &Settings, files: &[PathBuf]) -> Running {
    let mut command = Daemon::command(settings);
    command.env("RIGD_SOCKET", settings.path("run/control.sock"));
    command.arg("run").args(files);
    Running::spawn(command)
}

#[test]
fn three_become_online_and_available() {
    let Some(lab) = Lab::empty() else { return };
    let names = ["left", "middle", "right"];
    let files = names.map(|name| lab.exporter_file(name, "rack=7", MOCK));
    let mut jmp = lab.commands(&lab.own());
    let line = "get exporters --with online --with status -o json";
    let before = jmp.json(line);
    let before = before["exporters"].as_array().unwrap();
    assert_eq!(before.len(), names.len());
    assert!(
        before.iter().all(|one| one["online"] == false),
        "{before:?}"
    );

    let settings = Settings::new();
    let _host = other_host(&settings, &files);
    jmp.until(line, |text| available(text) == names.len());
    let after = jmp.json(line);
    for (one, name) in after["exporters"].as_array().unwrap().iter().zip(names) {
        assert_eq!(one["name"], name);
        assert_eq!(one["online"], true, "{one}");
        assert_eq!(one["labels"]["rack"], "7", "{one}");
    }
}

#[test]
fn the_python_exporter_beside_ones_own() {
    let Some(mut lab) = Lab::with(&["own"]) else {
        return;
    };
    let file = lab.exporter_file("board-py", "board=py", PYTHON_MOCK);
    let python = PythonExporter::start(&lab, &file);
    lab.daemon.expect_line("exporter of Python", |line| {
        line.contains("An exporter registered.") && line.contains("board-py")
    });
    let script = "j power on; j power off";
    let mut shells = ["board=own", "board=py"].map(|selector| {
        lab.start(
            "jmp",
            &["shell", "--selector", selector, "--", "sh", "-ec", script],
        )
    });
    for shell in &mut shells {
        shell.succeeded();
    }
    python.expect_line("MockPower:power on");
    python.expect_line("MockPower:power off");
    assert!(lab.switched_on("own"));
    // Each has acted for its own lease, and is there for the next one.
    let acts = lab.daemon.output.text().matches(": power on").count();
    assert_eq!(acts, 1);
    let mut jmp = lab.commands(&lab.own());
    let status = "get exporters --with online --with status -o json";
    jmp.until(status, |text| available(text) == 2);
    let leases = jmp.json("get leases --all -o json");
    let leases = leases["leases"].as_array().unwrap();
    let mut exporters: Vec<_> = leases
        .iter()
        .map(|lease| lease["exporter"].clone())
        .collect();
    exporters.sort_by_key(ToString::to_string);
    assert_eq!(exporters, ["board-py", "own"]);
    drop(python);
    lab.daemon.stop_cleanly();
}

#[test]
fn the_client_before_the_exporter() {
    let Some(lab) = Lab::empty() else { return };
    let file = lab.exporter_file("late", "board=late", MOCK);
    let mut shell = lab.shell("--selector board=late");
    lab.site.until("a lease that waits", || waits(&lab.site));
    shell.expect_line("late");

    let settings = Settings::new();
    let host = other_host(&settings, &[file]);
    host.expect_line(REGISTERED);
    shell.succeeded();
    host.expect_line(": power on");
}

/// Whether there is a lease that waits for an exporter to come.
pub(crate) fn waits(site: &Site) -> bool {
    let leases = site.get("leases");
    let condition = |lease: &Value| lease["status"]["conditions"][0].clone();
    let mut conditions = leases.iter().map(condition);
    conditions.any(|one| one["type"] == "Pending" && one["reason"] == "Offline")
}
