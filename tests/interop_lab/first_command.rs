//! What somebody meets who starts `rigd` for the first time.

use std::fs;

use rustix::process::Signal;

use crate::{
    embedded::LIMIT,
    lab::Lab,
    running::Running,
    support::{
        daemon::Daemon, jmp::Python, python::venv, python_file, repository, settings::Settings,
    },
};

/// The last line that `rigd run` prints once a board can be leased.
const PASTE: &str = "  JMP_CLIENT_CONFIG_HOME=";

#[test]
fn the_printed_line_works_as_it_stands() {
    let Some(venv) = venv() else { return };
    let settings = Settings::new();
    let home = settings.path("home");
    fs::copy(
        repository().join("exporter.yaml"),
        home.join("exporter.yaml"),
    )
    .unwrap();
    let mut command = Daemon::command(&settings);
    // As a person's shell has it: no directory of a service, and the default port or the next one.
    for name in [
        "STATE_DIRECTORY",
        "RUNTIME_DIRECTORY",
        "RIGD_SOCKET",
        "RIGD_CONFIG",
    ] {
        command.env_remove(name);
    }
    command.args(["run", "--log", "debug"]);
    let mut daemon = Running::spawn(command);
    daemon.expect_line("Exporter rpi4 is ready. In another terminal:");
    let line = daemon.expect_line(PASTE);
    assert!(
        line.ends_with("jmp shell --selector board=rpi4 -- j dutlink power on"),
        "{line}"
    );

    // Another directory, and no variable but those of a login.
    let elsewhere = settings.path("root");
    let said = Python::start_at(venv, &elsewhere, "/bin/bash", &["-c", &line], &[]).succeeded();
    assert!(said.contains("acquired successfully"), "{said}");
    let acted = daemon.output.text();
    assert!(acted.contains("operation=\"on\""), "{acted}");
    let configuration = home.join(".config/jumpstarter");
    assert!(!configuration.exists(), "written without being asked");
    daemon.signal(Signal::TERM);
    assert!(daemon.ended(LIMIT).success());
}

/// The example with its virtual board, where all else is as in other tests.
fn example() -> Option<Lab> {
    let text = fs::read_to_string(repository().join("exporter.yaml")).unwrap();
    Lab::with_file("rpi4", &text)
}

#[test]
fn pytest_in_a_shell() {
    let Some(mut lab) = example() else { return };
    let (python, case) = (lab.venv.python(), python_file("board_in_a_lease.py"));
    let shell = ["shell", "--selector", "board=rpi4", "--"];
    let pytest = [
        python.to_str().unwrap(),
        "-m",
        "pytest",
        case.to_str().unwrap(),
    ];
    let said = lab.start("jmp", &[shell, pytest].concat()).succeeded();
    assert!(said.contains("1 passed"), "{said}");
    lab.daemon.stop_cleanly();
}

#[test]
fn the_python_interface_without_a_shell() {
    let Some(mut lab) = example() else { return };
    let script = python_file("leased_by_label.py");
    let said = lab.start("python", &[script.to_str().unwrap()]).succeeded();
    assert!(said.contains("acted on rpi4 in lease "), "{said}");
    lab.daemon.stop_cleanly();
}
