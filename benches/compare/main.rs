//! Compares rigd with the Python exporter 0.9.0: one command, one machine, one run, one table.
//!
//! ```text
//! cargo bench --bench compare              all of it, some minutes
//! cargo bench --bench compare -- --quick   few repetitions and small images, to see that it works
//! cargo bench --bench compare -- --leased  only what passes a controller or a router
//! cargo bench --bench compare -- --keys    only keystrokes and their echo
//! cargo bench --bench compare -- --flash   images onto a card, a quarter of an hour; not among the others
//! ```
//!
//! Both sides serve the same exporter file on loopback TCP, with everything they write on tmpfs,
//! and the same client drives them in turns. The table is Markdown. Figures are never a test: a
//! goal that is not reached is only shown, a measurement that fails makes the exit code 1.

mod calls;
mod controlled;
mod echo_server;
mod echo_tunnel;
mod flash;
mod frames;
mod keystrokes;
mod leases;
mod life;
mod markdown;
mod memory;
mod peers;
mod process;
mod storage;
mod streams;
mod table;
mod tunnels;

#[path = "../../tests/lab/mod.rs"]
mod lab;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::{process::ExitCode, time::Duration};

use peers::{Peers, Place};
use table::{Goal, Table, Unit};

/// What any measurement gives when it cannot be done.
type Failure = Box<dyn std::error::Error>;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    All,
    /// What passes a controller or a router.
    Leased,
    Keystrokes,
    Flash,
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// How often a figure is taken; the median counts.
    repetitions: usize,
    /// Calls of which latencies are taken, a repetition.
    calls: usize,
    /// Calls over which CPU time is counted, in ticks of 10 ms.
    cpu_calls: Cpu,
    /// Bytes of the image.
    image: u64,
    /// Bytes through each echo, a repetition.
    echoed: usize,
    /// Leases of which the beginning is timed.
    leases: usize,
    /// Exporters that run side by side.
    exporters: usize,
    /// How long exporters are left alone before their memory is read.
    idle: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Cpu {
    python: usize,
    rigd: usize,
}

const FULL: Effort = Effort {
    repetitions: 5,
    calls: 1000,
    cpu_calls: Cpu {
        python: 2000,
        rigd: 20_000,
    },
    image: 512 * 1024 * 1024,
    echoed: 8 * 1024 * 1024,
    leases: 15,
    exporters: 8,
    idle: Duration::from_secs(3),
};

const QUICK: Effort = Effort {
    repetitions: 1,
    calls: 200,
    cpu_calls: Cpu {
        python: 200,
        rigd: 2000,
    },
    image: 64 * 1024 * 1024,
    echoed: 2 * 1024 * 1024,
    leases: 3,
    exporters: 2,
    idle: Duration::from_millis(500),
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((flag, [socket])) if flag == echo_server::FLAG => {
            return finish(echo_server::serve(socket.as_ref()));
        }
        Some((flag, way)) if flag == echo_tunnel::FLAG => {
            return finish(echo_tunnel::serve(way));
        }
        _ => {}
    }
    let mut effort = FULL;
    let mut rows = Rows::All;
    for arg in &args {
        match arg.as_str() {
            "--quick" => effort = QUICK,
            "--leased" => rows = Rows::Leased,
            "--keys" => rows = Rows::Keystrokes,
            "--flash" => rows = Rows::Flash,
            // Cargo adds it to every benchmark.
            "--bench" => {}
            other => {
                eprintln!(
                    "unknown argument {other}; there are --quick, --leased, --keys and --flash"
                );
                return ExitCode::from(2);
            }
        }
    }
    finish(run(&effort, rows))
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(effort: &Effort, rows: Rows) -> Result<(), Failure> {
    // One thread drives everything, so that the exporter under test has the other core.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut table = Table::default();
    runtime.block_on(async {
        let place = Place::new()?;
        if rows == Rows::Flash {
            flash::measure(&place, effort, &mut table).await;
            return Ok(());
        }
        if rows == Rows::All {
            direct(&place, effort, &mut table).await;
        }
        if rows != Rows::Leased {
            keystrokes::direct(&place, effort, &mut table).await;
        }
        if rows != Rows::Keystrokes {
            memory::registered(&place, effort, &mut table).await;
            leases::measure(&place, effort, &mut table);
            tunnels::measure(&place, effort, &mut table).await;
        }
        keystrokes::tunnel(&place, effort, &mut table).await;
        Ok::<(), Failure>(())
    })?;
    println!("{table}");
    table.failures()
}

/// All that needs no controller.
async fn direct(place: &Place, effort: &Effort, table: &mut Table) {
    life::measure(place, effort, table).await;
    memory::idle(place, effort, table).await;
    match Peers::start(place).await {
        Ok(peers) => {
            calls::measure(place, &peers, effort, table).await;
            streams::measure(&peers, effort, table).await;
            storage::measure(&peers, effort, table).await;
        }
        Err(failure) => table.add(
            "calls, streams and images",
            Unit::Seconds,
            Goal::None,
            Err(failure),
        ),
    }
    storage::synced(place, effort, table).await;
}

/// The middle one; of an even number the upper of the two.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
