//! `rigd controller rotate`: a new token in place of the old one.

use rigd_controller::{
    admin::What,
    config_files::{self, Drivers, Existing},
};
use rigd_proto::control::v1::{RotateRequest, RotateResponse};

use super::{
    Absent, Desk,
    create::{access, hand_out, lost, role},
    desk::CHANGE_LIMIT,
    print,
    target::Destination,
};
use crate::{
    cli::{Failure, daemon::answer},
    control::controller::{full_name, number},
};

/// What is said of it.
const DONE: &str = "rotated";

/// Arguments of `rigd controller rotate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `client` or `exporter`.
    #[arg(value_name = "KIND", value_parser = kind)]
    what: What,

    /// Its name. The tokens that it has are no good any more once this is done, also those of
    /// programs that run: only the file named here gets the new one.
    name: String,

    #[command(flatten)]
    destination: Destination,

    #[command(flatten)]
    desk: Desk,
}

/// Those that have tokens.
fn kind(text: &str) -> Result<What, String> {
    match text.parse() {
        Ok(what @ (What::Client | What::Exporter)) => Ok(what),
        Ok(_) => Err("only clients and exporters have tokens".into()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let Args { what, name, .. } = args;
    let target = args.destination.target(role(what), &name)?;
    let renews = target.is_there();
    match renews {
        true => target.check_renewal(&name)?,
        false => target.check(Existing::Keep)?,
    }
    let request = RotateRequest {
        kind: number(what),
        name: name.clone(),
    };
    args.desk.ask(Absent::Refuse, async |mut client| {
        let rotated = answer(CHANGE_LIMIT, client.rotate(request)).await?;
        let RotateResponse { credentials } = rotated;
        let access = access(credentials)?;
        if !renews {
            let document = match what {
                What::Exporter => config_files::exporter(&access),
                _ => config_files::client(&access, &Drivers::installed()),
            };
            return hand_out(&target, &document, Existing::Keep, what, &name, DONE);
        }
        let renewed = target.renew(&access.token);
        let place = renewed.map_err(|failure| lost(what, &name, DONE, &failure))?;
        let full = full_name(what, &name);
        let place = place.unwrap_or_default();
        print(&format!("{full} {DONE}; the new token is in {place}"));
        Ok(())
    })
}
