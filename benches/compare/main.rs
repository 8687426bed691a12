//! Compares rigd with the Python exporter 0.9.0: one command, one machine, one run, one table.
//!
//! ```text
//! cargo bench --bench compare              all of it, some minutes
//! cargo bench --bench compare -- --quick   few repetitions and small images, to see that it works
//! ```
//!
//! Both sides serve the same exporter file on loopback TCP, with everything they write on tmpfs,
//! and the same client drives them in turns. The table is Markdown. Figures are never a test: a
//! goal that is not reached is only shown, a measurement that fails makes the exit code 1.

mod calls;
mod echo_server;
mod life;
mod memory;
mod peers;
mod process;
mod storage;
mod streams;
mod table;

#[path = "../../tests/support/mod.rs"]
mod support;

use std::{process::ExitCode, time::Duration};

use peers::{Lab, Peers};
use table::{Goal, Table, Unit};

/// What any measurement gives when it cannot be done.
type Failure = Box<dyn std::error::Error>;

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
    exporters: 2,
    idle: Duration::from_millis(500),
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, socket] = args.as_slice()
        && flag == echo_server::FLAG
    {
        return finish(echo_server::serve(socket.as_ref()));
    }
    let mut effort = FULL;
    for arg in &args {
        match arg.as_str() {
            "--quick" => effort = QUICK,
            // Cargo adds it to every benchmark.
            "--bench" => {}
            other => {
                eprintln!("unknown argument {other}; there is only --quick");
                return ExitCode::from(2);
            }
        }
    }
    finish(run(&effort))
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

fn run(effort: &Effort) -> Result<(), Failure> {
    // One thread drives everything, so that the exporter under test has the other core.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut table = Table::default();
    runtime.block_on(async {
        let lab = Lab::new()?;
        life::measure(&lab, effort, &mut table).await;
        memory::idle(&lab, effort, &mut table).await;
        match Peers::start(&lab).await {
            Ok(peers) => {
                calls::measure(&lab, &peers, effort, &mut table).await;
                streams::measure(&peers, effort, &mut table).await;
                storage::measure(&peers, effort, &mut table).await;
            }
            Err(failure) => table.add(
                "calls, streams and images",
                Unit::Seconds,
                Goal::None,
                Err(failure),
            ),
        }
        storage::synced(&lab, effort, &mut table).await;
        Ok::<(), Failure>(())
    })?;
    println!("{table}");
    table.failures()
}

/// The middle one; of an even number the upper of the two.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
