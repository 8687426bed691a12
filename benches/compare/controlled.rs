//! Exporters of a controller: the tests' own one with its router, which runs in this process on a
//! thread of its own, and servers that are registered with it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use rigd_client::{Exporter, ExporterStatus};

use crate::{
    Failure,
    lab::{Dialled, Heard, Lab, reported},
    peers::{Kind, Place, command, export, rigd_command, write_exporter},
    process::Process,
};

/// Eight times Python on two cores take seconds to register.
const LIMIT: Duration = Duration::from_secs(60);

/// Whose leases they are.
pub(crate) const CLIENT: &str = "bench";

/// Writes the file of an exporter that belongs to the lab, with the devices that all have.
pub(crate) fn exporter_file(dir: &Path, lab: &Lab, name: &str, tty: &str) -> Result<(), Failure> {
    let text = lab.exporter_yaml(name, &export(tty)?);
    write_exporter(dir, name, &text).map(drop)
}

/// Starts what those files describe: all exporters with rigd, the one of that name with Python.
pub(crate) fn start(place: &Place, kind: Kind, dir: &Path, name: &str) -> Result<Process, Failure> {
    let exporters = dir.join("exporters");
    let mut command = match kind {
        Kind::Rigd => {
            let mut command = rigd_command(dir);
            command.arg("run").arg(exporters);
            command
        }
        Kind::Python => {
            let venv = place.venv.ok_or("there is no suitable Python")?;
            let mut command = command(venv.bin("jmp"), dir);
            let file = exporters.join(format!("{name}.yaml"));
            command.arg("run").arg("--exporter-config").arg(file);
            command
        }
    };
    Process::start(&mut command, dir.join(format!("{name}.log")))
}

/// Waits until the controller heard that from the exporter last. It blocks, since nothing else has
/// to happen on this thread.
pub(crate) fn wait(lab: &Lab, name: &str, wanted: ExporterStatus) -> Result<(), Failure> {
    let met = |heard: &[Heard]| reported(heard, name, wanted);
    // The lab panics with all that it heard, as tests want it; here the other rows shall go on.
    catch_unwind(AssertUnwindSafe(|| lab.wait(LIMIT, met)))
        .map(drop)
        .map_err(|_| format!("{name} did not report {wanted:?} in {LIMIT:?}").into())
}

/// Connects to whoever holds the lease. The connection ends with the [`Dialled`].
pub(crate) async fn dial(lab: &Lab, lease: &str) -> Result<(Exporter, Dialled), Failure> {
    let door = lab.dial(lease);
    Ok((Exporter::connect_unix(door.path()).await?, door))
}
