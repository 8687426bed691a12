//! `rigd controller delete`: the end of clients, exporters, leases and policies.

use rigd_controller::admin::What;
use rigd_proto::control::v1::DeleteRequest;

use super::{Absent, Desk, desk::CHANGE_LIMIT, print};
use crate::{
    cli::{
        Failure,
        daemon::{answer, failed},
    },
    control::controller::{full_name, number},
};

/// Arguments of `rigd controller delete`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `client`, `exporter`, `lease` or `policy`.
    #[arg(value_name = "KIND")]
    what: What,

    /// Names. The leases of a client or an exporter end with it; a lease is released, and stays in
    /// the list of leases for a while.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    #[command(flatten)]
    desk: Desk,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let Args { what, names, desk } = args;
    desk.ask(Absent::Refuse, async |mut client| {
        let done = match what {
            What::Lease => "released",
            _ => "deleted",
        };
        let mut refused = Vec::new();
        // One that cannot be deleted does not keep the others.
        for name in names {
            let request = DeleteRequest {
                kind: number(what),
                name: name.clone(),
            };
            match answer(CHANGE_LIMIT, client.delete(request)).await {
                Ok(_) => print(&format!("{} {done}", full_name(what, &name))),
                Err(failure) => refused.push(failure.text()),
            }
        }
        match refused.is_empty() {
            true => Ok(()),
            false => Err(failed(refused.join("\nerror: "))),
        }
    })
}
