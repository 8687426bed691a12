//! How the embedded controller behaves with many exporters: one command, one machine, one run.
//!
//! ```text
//! cargo bench --bench lab              all of it, up to 1,000 exporters, some minutes
//! cargo bench --bench lab -- --quick   up to 100 exporters, less than a minute
//! ```
//!
//! The controller is `rigd controller run`, a process of its own; exporters and clients are in this
//! one, on loopback with TLS, each with a connection of its own. The state is on the disk. The tables
//! are Markdown. A goal that is not reached is only shown, a measurement that fails makes the exit
//! code 1.

mod client;
mod connection;
mod controller;
mod exporter;
mod load;
mod report;
mod running;
mod saturation;
mod site;
mod throughput;

#[path = "../compare/echo_server.rs"]
#[allow(dead_code, reason = "its server is for the other benchmark")]
mod echo_server;
#[path = "../compare/frames.rs"]
mod frames;
#[path = "../compare/markdown.rs"]
mod markdown;
#[path = "../compare/process.rs"]
#[allow(dead_code, reason = "some figures are for the other benchmark")]
mod process;

use std::{
    fs::File,
    io::Write as _,
    os::unix::fs::FileExt as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use report::Report;
use running::Running;

/// What any measurement gives when it cannot be done.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Labs that are measured, by their number of exporters.
    sizes: &'static [usize],
    /// Before memory is read.
    settle: Duration,
    /// How long the lab is left alone.
    idle: Duration,
    /// How long turns are counted.
    load: Duration,
    /// How long each pace is tried on the way to saturation.
    step: Duration,
    /// Of the second measurement of throughput.
    tunnels: usize,
    /// Bytes through all tunnels, a repetition.
    echoed: usize,
    /// How often throughput is taken; the median counts.
    repetitions: usize,
}

const FULL: Effort = Effort {
    sizes: &[10, 100, 1000],
    settle: Duration::from_secs(2),
    // Several times what exporters are noted as seen, and pinged.
    idle: Duration::from_secs(15),
    load: Duration::from_secs(20),
    step: Duration::from_secs(4),
    tunnels: 50,
    echoed: 256 * 1024 * 1024,
    repetitions: 3,
};

const QUICK: Effort = Effort {
    sizes: &[10, 100],
    settle: Duration::from_millis(500),
    idle: Duration::from_secs(1),
    load: Duration::from_secs(4),
    step: Duration::from_secs(1),
    tunnels: 10,
    echoed: 32 * 1024 * 1024,
    repetitions: 1,
};

/// Syncs of the disk that are timed.
const SYNCS: usize = 50;
/// What the store writes at least for a change.
const PAGE: usize = 4096;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut effort = FULL;
    for arg in &args {
        match arg.as_str() {
            "--quick" => effort = QUICK,
            // Cargo adds it to every benchmark.
            "--bench" => {}
            other => {
                eprintln!("unknown argument {other}; there is --quick");
                return ExitCode::from(2);
            }
        }
    }
    match run(&effort) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(effort: &Effort) -> Result<(), Failure> {
    // Here and, by inheritance, in the controller: each connection is one.
    rigd::os::limits::raise_open_files();
    let report = echo_server::runtime()?.block_on(async {
        // cancel-safe: what was begun is ended when it is dropped.
        tokio::select! {
            report = measure(effort) => report,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        }
    })?;
    println!("{report}");
    Ok(())
}

async fn measure(effort: &Effort) -> Result<Report, Failure> {
    let mut report = Report {
        sync: sync()?,
        ..Report::default()
    };
    let mut largest = None;
    for exporters in effort.sizes {
        // One lab at a time.
        drop(largest.take());
        let (running, figures) = Running::measure(*exporters, effort).await?;
        eprintln!("measured: {exporters} exporters");
        report.sizes.push(figures);
        largest = Some(running);
    }
    let mut running = largest.ok_or("nothing to measure")?;
    report.rates = throughput::measure(&running, effort).await?;
    eprintln!("measured: throughput");
    report.saturation = Some(saturation::find(&mut running, effort).await?);
    Ok(report)
}

/// What the disk takes for a page, in seconds: every acquisition and every release waits for one.
fn sync() -> Result<f64, Failure> {
    let mut file: File = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR"))?;
    file.write_all(&[0; PAGE])?;
    file.sync_all()?;
    let mut took = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS {
        let began = Instant::now();
        file.write_all_at(&[number as u8; PAGE], 0)?;
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64());
    }
    took.sort_by(f64::total_cmp);
    Ok(took.get(SYNCS / 2).copied().unwrap_or(f64::NAN))
}
