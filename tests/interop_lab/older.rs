//! Clients and exporters of Jumpstarter 0.7.4: they neither tell nor ask for a status.

use crate::{
    exporters::{PYTHON_MOCK, waits},
    lab::Lab,
    python_exporter::PythonExporter,
    support::python::older_venv,
};

/// A power switch is all that its packages are installed for.
const OWN: &str =
    "metadata: {name: own}\nlabels: {board: own}\nexport:\n  power: {type: power.mock}\n";

#[test]
fn clients_and_exporters_of_an_older_release() {
    let Some(mut lab) = Lab::with_file("own", OWN) else {
        return;
    };
    let Some(older) = older_venv() else { return };
    let file = lab.exporter_file("old", "board=old", PYTHON_MOCK);
    let mut early = lab.shell_of(older, "--selector board=old");
    lab.site.until("a lease that waits", || waits(&lab.site));
    let exporter = PythonExporter::start_of(older, &lab, &file);
    early.succeeded();
    exporter.expect_line("MockPower:power on");

    // The old client with the new exporter, and the new client with the old exporter.
    let mut shells = [
        lab.shell_of(older, "--selector board=own"),
        lab.shell("--selector board=old"),
    ];
    for shell in &mut shells {
        shell.succeeded();
    }
    assert!(lab.switched_on("own"));
    let mut jmp = lab.commands(&lab.own());
    let online = |text: &str| text.matches("\"online\": true").count() == 2;
    jmp.until("get exporters --with online -o json", online);
    let leases = jmp.json("get leases --all -o json");
    let on_old = |lease: &&serde_json::Value| lease["exporter"] == "old";
    assert_eq!(
        leases["leases"]
            .as_array()
            .unwrap()
            .iter()
            .filter(on_old)
            .count(),
        2
    );
    lab.daemon.stop_cleanly();
}
