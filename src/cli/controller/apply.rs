//! `rigd controller apply`: objects as a file says.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use rigd_controller::admin::MAX_TEXT;
use rigd_proto::control::v1::{ApplyRequest, ApplyResponse, Outcome};

use super::{Absent, Desk, desk::CHANGE_LIMIT, print};
use crate::cli::{
    Failure,
    daemon::{answer, failed},
};

/// Arguments of `rigd controller apply`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// YAML documents or JSON with exporters, clients, leases and access policies, as `kubectl apply`
    /// takes them; `-` is standard input. Nothing changes when one of them is wrong.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    desk: Desk,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let (name, objects) = read(&args.file, MAX_TEXT).map_err(failed)?;
    let objects = String::from_utf8(objects).map_err(|_| failed(format!("{name}: no UTF-8")))?;
    args.desk.ask(Absent::Make, async |mut client| {
        let request = ApplyRequest { objects };
        let applied = answer(CHANGE_LIMIT, client.apply(request)).await;
        let ApplyResponse { objects } =
            applied.map_err(|failure| failed(format!("{name}: {}", failure.text())))?;
        for object in objects {
            let done = match object.outcome() {
                Outcome::Created => "created",
                Outcome::Configured => "configured",
                Outcome::Unchanged => "unchanged",
                Outcome::Unspecified => "applied",
            };
            print(&format!("{} {done}", object.name));
        }
        Ok(())
    })
}

/// What to call a file in messages, and its content.
pub(super) fn read(path: &Path, limit: usize) -> Result<(String, Vec<u8>), String> {
    let (name, source): (String, Box<dyn Read>) = if path == Path::new("-") {
        ("standard input".into(), Box::new(io::stdin()))
    } else {
        let name = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|error| format!("{name}: {error}"))?;
        (name, Box::new(file))
    };
    let mut content = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = source.take(most).read_to_end(&mut content);
    read.map_err(|error| format!("{name}: {error}"))?;
    match content.len() > limit {
        true => Err(format!("{name} has more than {limit} bytes")),
        false => Ok((name, content)),
    }
}
