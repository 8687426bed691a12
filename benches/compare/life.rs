//! Start, stop, and size of the program.

use std::{fs, path::Path};

use crate::{
    Effort, Failure, median,
    peers::{Kind, Peer, Place, exporter_file},
    table::{Goal, Table, Unit},
};

pub(crate) async fn measure(place: &Place, effort: &Effort, table: &mut Table) {
    let (starts, stops) = match both(place, effort).await {
        Ok((python, rigd)) => (
            Ok((python.map(|it| it.0), Some(rigd.0))),
            Ok((python.map(|it| it.1), Some(rigd.1))),
        ),
        Err(failure) => {
            let text = failure.to_string();
            (Err(failure), Err(text.into()))
        }
    };
    let goal = Goal::AtMost(0.050);
    table.add(
        "start until the first successful call",
        Unit::Seconds,
        goal,
        starts,
    );
    table.add(
        "SIGTERM to exit, idle",
        Unit::Seconds,
        Goal::AtMost(0.100),
        stops,
    );
    table.add(
        "stripped binary; left: the virtual environment",
        Unit::Bytes,
        Goal::AtMost(15e6),
        sizes(place),
    );
}

type StartStop = (f64, f64);

async fn both(place: &Place, effort: &Effort) -> Result<(Option<StartStop>, StartStop), Failure> {
    let python = match place.venv {
        Some(_) => Some(start_stop(place, Kind::Python, effort).await?),
        None => None,
    };
    Ok((python, start_stop(place, Kind::Rigd, effort).await?))
}

/// Seconds to start and to stop.
async fn start_stop(place: &Place, kind: Kind, effort: &Effort) -> Result<StartStop, Failure> {
    let (mut starts, mut stops) = (vec![], vec![]);
    // The first start reads files that no other has read yet, and is not counted.
    for number in 0..=effort.repetitions {
        let dir = place.fresh_dir("life")?;
        let file = exporter_file(&dir, "life", "loop://")?;
        let Peer {
            process,
            exporter,
            start,
            ..
        } = Peer::start(place, kind, &dir, &file).await?;
        drop(exporter);
        // The connection is closed by a task of the runtime, which needs a turn for it.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let stop = process.terminate()?;
        if number > 0 {
            starts.push(start.as_secs_f64());
            stops.push(stop.as_secs_f64());
        }
    }
    Ok((median(starts), median(stops)))
}

fn sizes(place: &Place) -> Result<(Option<f64>, Option<f64>), Failure> {
    let rigd = fs::metadata(env!("CARGO_BIN_EXE_rigd"))?.len();
    let venv = match place.venv {
        Some(venv) => {
            let python = venv.python();
            let root = python.parent().and_then(Path::parent);
            Some(size_below(root.ok_or("no virtual environment")?)? as f64)
        }
        None => None,
    };
    Ok((venv, Some(rigd as f64)))
}

fn size_below(dir: &Path) -> Result<u64, Failure> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sum += size_below(&entry.path())?;
        } else if kind.is_file() {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}
