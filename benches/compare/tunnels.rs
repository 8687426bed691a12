//! Calls and bytes through a router, beside a bare echo at the end of the same way.
//!
//! ```text
//!   Rust client -- unix --> dialler -- TLS --> router <-- TLS -- rigd, or the bare echo
//! ```

use rigd_client::{
    Exporter,
    ExporterStatus::{Available, LeaseReady},
};
use tokio::time::timeout;

use crate::{
    Effort, Failure,
    calls::{QUIET, SWITCH, latency},
    controlled::{CLIENT, dial, exporter_file, start, wait},
    echo_tunnel,
    lab::{Dialled, Lab},
    median,
    peers::{Kind, Place, command},
    process::Process,
    streams::{DEADLINE, echo},
    table::{Goal, Table, Unit},
};

/// What the peers read from a socket at once, at most.
const FRAME: usize = 64 * 1024;

/// More than small frames, since these pass some hundred times as fast.
const MORE: usize = 16;

pub(crate) async fn measure(place: &Place, effort: &Effort, table: &mut Table) {
    let (calls, bytes) = match both(place, effort).await {
        Ok((calls, bytes)) => (Ok(calls), Ok(bytes)),
        Err(failure) => {
            let text = failure.to_string();
            (Err(failure), Err(text.into()))
        }
    };
    table.add(
        "DriverCall p50, Rust client, tunnel; left: a bare gRPC-in-gRPC echo",
        Unit::Seconds,
        Goal::AtMostTimes(1.5),
        calls,
    );
    table.add(
        "64 KiB frames, echo, tunnel; left: a bare gRPC-in-gRPC echo",
        Unit::Rate,
        Goal::None,
        bytes,
    );
}

type Figures = (Option<f64>, Option<f64>);

/// Latency of calls, and bytes a second.
async fn both(place: &Place, effort: &Effort) -> Result<(Figures, Figures), Failure> {
    let lab = Lab::start();
    let bare = Side::bare(place, &lab).await?;
    let rigd = Side::rigd(place, &lab).await?;
    let (mut calls, mut rates) = ([vec![], vec![]], [vec![], vec![]]);
    for _ in 0..effort.repetitions {
        for (side, call, took) in [(&bare, SWITCH, 0), (&rigd, QUIET, 1)] {
            calls[took].push(latency(&side.exporter, call, effort.calls).await?);
        }
    }
    let mut channels = [
        (bare.exporter.device("echo").await?.console().open(), 0),
        (rigd.exporter.device("echo").await?.console().open(), 0),
    ];
    for _ in 0..effort.repetitions {
        for (channel, rates) in channels.iter_mut().zip(&mut rates) {
            let rate = timeout(DEADLINE, echo(channel, effort.echoed * MORE, FRAME)).await;
            rates.push(rate.map_err(|_| format!("took over {DEADLINE:?}"))??);
        }
    }
    let medians = |[bare, rigd]: [Vec<f64>; 2]| (Some(median(bare)), Some(median(rigd)));
    Ok((medians(calls), medians(rates)))
}

/// A server with a lease, and a connection to it.
struct Side {
    exporter: Exporter,
    _door: Dialled,
    _process: Process,
}

impl Side {
    async fn rigd(place: &Place, lab: &Lab) -> Result<Self, Failure> {
        let dir = place.fresh_dir("tunnel-rigd")?;
        exporter_file(&dir, lab, "rigd", "loop://")?;
        let process = start(place, Kind::Rigd, &dir, "rigd")?;
        wait(lab, "rigd", Available)?;
        let lease = lab.lease("rigd", CLIENT);
        wait(lab, "rigd", LeaseReady)?;
        Self::dial(lab, &lease, process).await
    }

    async fn bare(place: &Place, lab: &Lab) -> Result<Self, Failure> {
        let dir = place.fresh_dir("tunnel-bare")?;
        // An exporter that never reported counts as ready.
        lab.exporter_token("bare");
        let lease = lab.lease("bare", CLIENT);
        let mut command = command(std::env::current_exe()?, &dir);
        echo_tunnel::arguments(&mut command, &dir, lab, "bare", &lease)?;
        let process = Process::start(&mut command, dir.join("log"))?;
        Self::dial(lab, &lease, process).await
    }

    async fn dial(lab: &Lab, lease: &str, mut process: Process) -> Result<Self, Failure> {
        match dial(lab, lease).await {
            Ok((exporter, door)) => Ok(Self {
                exporter,
                _door: door,
                _process: process,
            }),
            Err(failure) => {
                process.check()?;
                Err(failure)
            }
        }
    }
}
