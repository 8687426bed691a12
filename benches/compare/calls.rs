//! DriverCall: latency seen by a bare grpcio client and by the Rust client, and CPU time.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use rigd_client::Exporter;

use crate::{
    Effort, Failure, echo_server, median,
    peers::{Peer, Peers, Place, command, in_turns},
    process::Process,
    table::{Goal, Table, Unit},
};

/// A call that writes a line to the log, as every switching of power does on both sides.
pub(crate) const SWITCH: (&str, &str) = ("power", "on");
/// A call that does nothing, beside an echo that does nothing: what is left is the way of a call.
pub(crate) const QUIET: (&str, &str) = ("storage", "host");
/// Connections, allocators and branch predictors settle within these.
const WARM_UP: usize = 100;

/// An echo server is up within milliseconds.
const START_LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn measure(place: &Place, peers: &Peers, effort: &Effort, table: &mut Table) {
    let (p50, p99) = grpcio(place, peers, effort);
    let goal = Goal::AtMostTimes(0.3);
    table.add(
        "DriverCall p50, bare grpcio client",
        Unit::Seconds,
        goal,
        p50,
    );
    table.add(
        "DriverCall p99, bare grpcio client",
        Unit::Seconds,
        Goal::None,
        p99,
    );

    let latency = in_turns(peers, effort.repetitions, async |peer| {
        latency(&peer.exporter, SWITCH, effort.calls).await
    });
    table.add(
        "DriverCall p50, Rust client",
        Unit::Seconds,
        Goal::None,
        latency.await,
    );
    table.add(
        "DriverCall p50, Rust client, unix socket; left: a bare tonic echo",
        Unit::Seconds,
        Goal::AtMostTimes(1.5),
        beside_echo(place, peers, effort).await,
    );
    table.add(
        "server CPU per call",
        Unit::Seconds,
        Goal::AtMostTimes(0.1),
        cpu(peers, effort).await,
    );
}

type Figures = Result<(Option<f64>, Option<f64>), Failure>;

/// Percentiles 50 and 99.
fn grpcio(place: &Place, peers: &Peers, effort: &Effort) -> (Figures, Figures) {
    let take = || -> Result<_, Failure> {
        let (mut python, mut rigd) = (vec![], vec![]);
        let Some(venv) = place.venv else {
            return Ok((python, rigd));
        };
        let dir = place.fresh_dir("grpcio")?;
        for _ in 0..effort.repetitions {
            for (peer, figures) in [
                (peers.python.as_ref().map(|side| &side.peer), &mut python),
                (Some(&peers.rigd.peer), &mut rigd),
            ] {
                if let Some(peer) = peer {
                    let mut client = command(venv.python(), &dir);
                    figures.push(grpcio_once(&mut client, peer, effort.calls)?);
                }
            }
        }
        Ok((python, rigd))
    };
    let (python, rigd) = match take() {
        Ok(figures) => figures,
        Err(failure) => {
            let text = failure.to_string();
            return (Err(failure), Err(text.into()));
        }
    };
    let of = |figures: &[[f64; 2]], which: usize| {
        let column: Vec<f64> = figures.iter().map(|it| it[which]).collect();
        (!column.is_empty()).then(|| median(column))
    };
    (
        Ok((of(&python, 0), of(&rigd, 0))),
        Ok((of(&python, 1), of(&rigd, 1))),
    )
}

fn grpcio_once(client: &mut Command, peer: &Peer, calls: usize) -> Result<[f64; 2], Failure> {
    let script = crate::support::repository().join("benches/compare/grpcio_calls.py");
    let output = client
        .arg(script)
        .arg(&peer.address)
        .arg(calls.to_string())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = (said.split_whitespace())
        .filter_map(|word| word.parse().ok())
        .collect();
    figures.try_into().map_err(|_| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("the grpcio client gave {said:?}: {errors}").into()
    })
}

/// Median of calls one after the other, in seconds.
pub(crate) async fn latency(
    exporter: &Exporter,
    (device, method): (&str, &str),
    calls: usize,
) -> Result<f64, Failure> {
    let device = exporter.device(device).await?;
    let mut took = Vec::with_capacity(calls);
    for number in 0..WARM_UP + calls {
        let began = Instant::now();
        device.call(method, vec![]).await?;
        if number >= WARM_UP {
            took.push(began.elapsed().as_secs_f64());
        }
    }
    Ok(median(took))
}

async fn beside_echo(place: &Place, peers: &Peers, effort: &Effort) -> Figures {
    let dir = place.fresh_dir("echo")?;
    let socket = dir.join("echo.sock");
    let mut program = command(std::env::current_exe()?, &dir);
    program.arg(echo_server::FLAG).arg(&socket);
    let mut process = Process::start(&mut program, dir.join("log"))?;
    let began = Instant::now();
    let echo = loop {
        match Exporter::connect_unix(&socket).await {
            Ok(echo) => break echo,
            Err(error) if began.elapsed() > START_LIMIT => return Err(error.into()),
            Err(_) => {
                process.check()?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let rigd = Exporter::connect_unix(&peers.rigd.peer.socket).await?;
    let (mut bare, mut full) = (vec![], vec![]);
    for _ in 0..effort.repetitions {
        bare.push(latency(&echo, SWITCH, effort.calls).await?);
        full.push(latency(&rigd, QUIET, effort.calls).await?);
    }
    Ok((Some(median(bare)), Some(median(full))))
}

async fn cpu(peers: &Peers, effort: &Effort) -> Figures {
    let per_call = async |peer: &Peer, calls: usize| -> Result<f64, Failure> {
        let power = peer.exporter.device("power").await?;
        let before = peer.process.cpu()?;
        for _ in 0..calls {
            power.call("on", vec![]).await?;
        }
        Ok((peer.process.cpu()? - before) / calls as f64)
    };
    let python = match &peers.python {
        Some(side) => Some(per_call(&side.peer, effort.cpu_calls.python).await?),
        None => None,
    };
    let rigd = per_call(&peers.rigd.peer, effort.cpu_calls.rigd).await?;
    Ok((python, Some(rigd)))
}
