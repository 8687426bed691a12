//! Memory of several idle exporters: one process of rigd, one process tree each of Python's.

use crate::{
    Effort, Failure,
    controlled::{self, CLIENT, dial, start, wait},
    lab::Lab,
    peers::{Kind, Peer, Place, exporter_file, listening_file, rigd_command},
    process::{Memory, Process},
    table::{Goal, Table, Unit},
};
use rigd_client::{
    Exporter,
    ExporterStatus::{Available, LeaseReady},
};
use std::time::{Duration, Instant};

/// All of rigd's.
const GOAL: f64 = 24.0 * 1024.0 * 1024.0;

const START_LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn idle(place: &Place, effort: &Effort, table: &mut Table) {
    let (rss, pss) = match both(place, effort).await {
        Ok((python, rigd)) => (
            Ok((python.map(|it| it.rss), Some(rigd.rss))),
            Ok((python.map(|it| it.pss), Some(rigd.pss))),
        ),
        Err(failure) => {
            let text = failure.to_string();
            (Err(failure), Err(text.into()))
        }
    };
    let what = format!("memory, {} exporters idle", effort.exporters);
    table.add(
        &format!("{what}, RSS"),
        Unit::Bytes,
        Goal::AtMost(GOAL),
        rss,
    );
    table.add(&format!("{what}, PSS"), Unit::Bytes, Goal::None, pss);
}

async fn both(place: &Place, effort: &Effort) -> Result<(Option<Memory>, Memory), Failure> {
    let python = match place.venv {
        Some(_) => Some(python(place, effort).await?),
        None => None,
    };
    Ok((python, rigd(place, effort).await?))
}

async fn python(place: &Place, effort: &Effort) -> Result<Memory, Failure> {
    let mut peers = Vec::new();
    for number in 0..effort.exporters {
        let name = format!("idle{number}");
        let dir = place.fresh_dir(&name)?;
        let file = exporter_file(&dir, &name, "loop://")?;
        let Peer { process, .. } = Peer::start(place, Kind::Python, &dir, &file).await?;
        peers.push(process);
    }
    tokio::time::sleep(effort.idle).await;
    sum(&peers)
}

fn sum(processes: &[Process]) -> Result<Memory, Failure> {
    let mut sum = Memory { rss: 0.0, pss: 0.0 };
    for process in processes {
        let memory = process.memory()?;
        sum.rss += memory.rss;
        sum.pss += memory.pss;
    }
    Ok(sum)
}

async fn rigd(place: &Place, effort: &Effort) -> Result<Memory, Failure> {
    let dir = place.fresh_dir("idle-rigd")?;
    let mut sockets = Vec::new();
    for number in 0..effort.exporters {
        let name = format!("idle{number}");
        let socket = dir.join(format!("{name}.sock"));
        listening_file(&dir, &name, &socket)?;
        sockets.push(socket);
    }
    let mut program = rigd_command(&dir);
    program.arg("run").arg(dir.join("exporters"));
    let mut process = Process::start(&mut program, dir.join("log"))?;
    // Each answers a call, as Python's did.
    for socket in &sockets {
        let began = Instant::now();
        let exporter = loop {
            match Exporter::connect_unix(socket).await {
                Ok(exporter) => break exporter,
                Err(error) if began.elapsed() > START_LIMIT => return Err(error.into()),
                Err(_) => {
                    process.check()?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        exporter.device("power").await?.power().on().await?;
    }
    tokio::time::sleep(effort.idle).await;
    process.memory()
}

/// The same with a controller: each exporter is registered, has served a lease and waits for the
/// next one.
pub(crate) async fn registered(place: &Place, effort: &Effort, table: &mut Table) {
    let both = async {
        let python = match place.venv {
            Some(_) => Some(at_rest(place, Kind::Python, effort).await?.rss),
            None => None,
        };
        let rigd = at_rest(place, Kind::Rigd, effort).await?.rss;
        Ok((python, Some(rigd)))
    };
    let what = format!(
        "memory, {} exporters of a controller between leases, RSS",
        effort.exporters
    );
    table.add(&what, Unit::Bytes, Goal::AtMost(GOAL), both.await);
}

async fn at_rest(place: &Place, kind: Kind, effort: &Effort) -> Result<Memory, Failure> {
    let lab = Lab::start();
    let dir = place.fresh_dir(&format!("registered-{kind:?}"))?;
    let names: Vec<String> = (0..effort.exporters)
        .map(|it| format!("idle{it}"))
        .collect();
    for name in &names {
        controlled::exporter_file(&dir, &lab, name, "loop://")?;
    }
    let processes = match kind {
        Kind::Rigd => vec![start(place, kind, &dir, "all")?],
        Kind::Python => {
            (names.iter().map(|name| start(place, kind, &dir, name))).collect::<Result<_, _>>()?
        }
    };
    for name in &names {
        wait(&lab, name, Available)?;
        let lease = lab.lease(name, CLIENT);
        wait(&lab, name, LeaseReady)?;
        let (exporter, _door) = dial(&lab, &lease).await?;
        exporter.device("power").await?.power().on().await?;
        lab.end_lease(&lease);
        wait(&lab, name, Available)?;
    }
    tokio::time::sleep(effort.idle).await;
    sum(&processes)
}
