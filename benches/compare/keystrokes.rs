//! Keystroke to echo: one byte into a console, and back from the far end of its pseudo-terminal.

use std::time::Instant;

use bytes::Bytes;
use rigd_client::{
    ByteChannel, Exporter,
    ExporterStatus::{Available, LeaseReady},
};
use tokio::time::timeout;

use crate::{
    Effort, Failure,
    controlled::{CLIENT, dial, exporter_file, start, wait},
    lab::{Dialled, Lab},
    median,
    peers::{Kind, Peers, Place},
    process::Process,
    streams::{DEADLINE, EchoingTty},
    table::{Goal, Table, Unit},
};

/// The terminal, the connection and the scheduler settle within these.
const WARM_UP: usize = 100;

/// Without a controller. The Python exporter has no unix socket for that, so its figure stands in both
/// rows.
pub(crate) async fn direct(place: &Place, effort: &Effort, table: &mut Table) {
    let (tcp, unix) = match over_sockets(place, effort).await {
        Ok((tcp, unix)) => (Ok(tcp), Ok(unix)),
        Err(failure) => {
            let text = failure.to_string();
            (Err(failure), Err(text.into()))
        }
    };
    table.add(
        "keystroke to echo p50, Rust client, TCP",
        Unit::Seconds,
        Goal::None,
        tcp,
    );
    table.add(
        "keystroke to echo p50, Rust client, unix socket; left: Python, TCP",
        Unit::Seconds,
        Goal::None,
        unix,
    );
}

type Pair = (Option<f64>, Option<f64>);

async fn over_sockets(place: &Place, effort: &Effort) -> Result<(Pair, Pair), Failure> {
    let peers = Peers::start(place).await?;
    let python = peers.python.as_ref().map(|side| &side.peer.exporter);
    let tcp = in_turns(python, &peers.rigd.peer.exporter, effort).await?;
    let unix = Exporter::connect_unix(&peers.rigd.peer.socket).await?;
    let (_, over_unix) = in_turns(None, &unix, effort).await?;
    Ok((tcp, (tcp.0, over_unix)))
}

/// Through a router.
pub(crate) async fn tunnel(place: &Place, effort: &Effort, table: &mut Table) {
    table.add(
        "keystroke to echo p50, Rust client, tunnel",
        Unit::Seconds,
        Goal::None,
        through_a_router(place, effort).await,
    );
}

async fn through_a_router(place: &Place, effort: &Effort) -> Result<Pair, Failure> {
    let lab = Lab::start();
    let python = match place.venv {
        Some(_) => Some(Side::start(place, &lab, Kind::Python, "keys-python").await?),
        None => None,
    };
    let rigd = Side::start(place, &lab, Kind::Rigd, "keys-rigd").await?;
    let python = python.as_ref().map(|side| &side.exporter);
    in_turns(python, &rigd.exporter, effort).await
}

/// Medians of both in turns, each over one stream: a second one on the same port would share its
/// bytes.
async fn in_turns(
    python: Option<&Exporter>,
    rigd: &Exporter,
    effort: &Effort,
) -> Result<Pair, Failure> {
    let mut left = match python {
        Some(exporter) => Some((open(exporter).await?, vec![])),
        None => None,
    };
    let (mut channel, mut right) = (open(rigd).await?, vec![]);
    for _ in 0..effort.repetitions {
        if let Some((channel, figures)) = &mut left {
            figures.push(latency(channel, effort.calls).await?);
        }
        right.push(latency(&mut channel, effort.calls).await?);
    }
    let python = left.map(|(_, figures)| median(figures));
    Ok((python, Some(median(right))))
}

async fn open(exporter: &Exporter) -> Result<ByteChannel, Failure> {
    let mut channel = exporter.device("console").await?.console().open();
    channel.opened().await?;
    Ok(channel)
}

/// An exporter with a lease, and a connection to it.
struct Side {
    exporter: Exporter,
    _door: Dialled,
    _process: Process,
    _tty: EchoingTty,
}

impl Side {
    async fn start(place: &Place, lab: &Lab, kind: Kind, name: &str) -> Result<Self, Failure> {
        let dir = place.fresh_dir(name)?;
        let tty = EchoingTty::open()?;
        exporter_file(&dir, lab, name, &tty.path)?;
        let process = start(place, kind, &dir, name)?;
        wait(lab, name, Available)?;
        let lease = lab.lease(name, CLIENT);
        wait(lab, name, LeaseReady)?;
        let (exporter, door) = dial(lab, &lease).await?;
        Ok(Self {
            exporter,
            _door: door,
            _process: process,
            _tty: tty,
        })
    }
}

/// Median of bytes sent one after the other, each when the one before came back; seconds.
async fn latency(channel: &mut ByteChannel, keys: usize) -> Result<f64, Failure> {
    let mut took = Vec::with_capacity(keys);
    let typing = async {
        for number in 0..WARM_UP + keys {
            let key = (number % 251) as u8;
            let began = Instant::now();
            channel.send(Bytes::copy_from_slice(&[key])).await?;
            let echo = channel.recv().await?.ok_or("the console ended")?;
            if *echo != [key] {
                return Err(format!("{echo:?} came back for {key}").into());
            }
            if number >= WARM_UP {
                took.push(began.elapsed().as_secs_f64());
            }
        }
        Ok::<(), Failure>(())
    };
    timeout(DEADLINE, typing)
        .await
        .map_err(|_| format!("took over {DEADLINE:?}"))??;
    Ok(median(took))
}
