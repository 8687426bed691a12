//! Memory of several idle exporters: one process of rigd, one process tree each of Python's.

use crate::{
    Effort, Failure,
    peers::{Kind, Lab, Peer, command, exporter_file},
    process::{Memory, Process},
    table::{Goal, Table, Unit},
};
use rigd_client::Exporter;
use std::time::{Duration, Instant};

/// All of rigd's.
const GOAL: f64 = 24.0 * 1024.0 * 1024.0;

const START_LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn idle(lab: &Lab, effort: &Effort, table: &mut Table) {
    let (rss, pss) = match both(lab, effort).await {
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

async fn both(lab: &Lab, effort: &Effort) -> Result<(Option<Memory>, Memory), Failure> {
    let python = match lab.venv {
        Some(_) => Some(python(lab, effort).await?),
        None => None,
    };
    Ok((python, rigd(lab, effort).await?))
}

async fn python(lab: &Lab, effort: &Effort) -> Result<Memory, Failure> {
    let mut peers = Vec::new();
    for number in 0..effort.exporters {
        let name = format!("idle{number}");
        let dir = lab.fresh_dir(&name)?;
        let file = exporter_file(&dir, &name, "loop://")?;
        let Peer { process, .. } = Peer::start(lab, Kind::Python, &dir, &file).await?;
        peers.push(process);
    }
    tokio::time::sleep(effort.idle).await;
    let mut sum = Memory { rss: 0.0, pss: 0.0 };
    for process in &peers {
        let memory = process.memory()?;
        sum.rss += memory.rss;
        sum.pss += memory.pss;
    }
    Ok(sum)
}

async fn rigd(lab: &Lab, effort: &Effort) -> Result<Memory, Failure> {
    let dir = lab.fresh_dir("idle-rigd")?;
    for number in 0..effort.exporters {
        exporter_file(&dir, &format!("idle{number}"), "loop://")?;
    }
    let mut program = command(env!("CARGO_BIN_EXE_rigd"), &dir);
    program.arg("run").arg(dir.join("exporters"));
    let mut process = Process::start(&mut program, dir.join("log"))?;
    // Each answers a call, as Python's did.
    for number in 0..effort.exporters {
        let socket = dir.join("run").join(format!("idle{number}.sock"));
        let began = Instant::now();
        let exporter = loop {
            match Exporter::connect_unix(&socket).await {
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
