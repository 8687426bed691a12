//! The beginning of a lease: how long an exporter without hooks lets its client wait.

use std::time::Instant;

use rigd_client::ExporterStatus::{Available, LeaseReady};

use crate::{
    Effort, Failure,
    controlled::{CLIENT, exporter_file, start, wait},
    lab::Lab,
    median,
    peers::{Kind, Place},
    process::Process,
    table::{Goal, Table, Unit},
};

/// The name of both.
const NAME: &str = "leased";

pub(crate) fn measure(place: &Place, effort: &Effort, table: &mut Table) {
    table.add(
        "lease: Status(leased) sent until LEASE_READY heard",
        Unit::Seconds,
        Goal::None,
        both(place, effort),
    );
}

fn both(place: &Place, effort: &Effort) -> Result<(Option<f64>, Option<f64>), Failure> {
    let python = place.venv.map(|_| Side::start(place, Kind::Python));
    let mut python = python.transpose()?;
    let mut rigd = Side::start(place, Kind::Rigd)?;
    for side in python.iter_mut().chain([&mut rigd]) {
        // Python loads modules with the first one.
        side.lease()?;
        side.took.clear();
    }
    for _ in 0..effort.leases {
        for side in python.iter_mut().chain([&mut rigd]) {
            side.lease()?;
        }
    }
    Ok((python.map(|it| median(it.took)), Some(median(rigd.took))))
}

/// An exporter, and a controller that has no other.
struct Side {
    // Ends before its controller.
    _process: Process,
    lab: Lab,
    took: Vec<f64>,
}

impl Side {
    fn start(place: &Place, kind: Kind) -> Result<Self, Failure> {
        let lab = Lab::start();
        let dir = place.fresh_dir(&format!("{NAME}-{kind:?}"))?;
        exporter_file(&dir, &lab, NAME, "loop://")?;
        let process = start(place, kind, &dir, NAME)?;
        wait(&lab, NAME, Available)?;
        Ok(Self {
            _process: process,
            lab,
            took: vec![],
        })
    }

    /// A lease from its start to the exporter's next rest.
    fn lease(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        let lease = self.lab.lease(NAME, CLIENT);
        wait(&self.lab, NAME, LeaseReady)?;
        self.took.push(began.elapsed().as_secs_f64());
        self.lab.end_lease(&lease);
        wait(&self.lab, NAME, Available)
    }
}
