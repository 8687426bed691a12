//! `rigd controller create`: clients and exporters, with their configuration files.

use std::collections::BTreeMap;

use clap::Subcommand;
use rigd_controller::{
    admin::What,
    auth::Token,
    config_files::{self, Access, Drivers, Existing, Role},
};
use rigd_proto::control::v1::{CreateRequest, CreateResponse, Credentials};

use super::{
    Absent, Desk,
    desk::CHANGE_LIMIT,
    print,
    target::{Destination, Target},
};
use crate::{
    cli::{
        Failure,
        daemon::{answer, failed},
    },
    control::controller::{full_name, number},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a client: somebody who leases boards.
    Client(ClientArgs),
    /// Create an exporter: a board that another host serves.
    Exporter(ExporterArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ClientArgs {
    /// Its name.
    name: String,

    /// A label for access policies; may be repeated.
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    /// Driver clients that it loads, as globs over their class paths. Without it: every installed
    /// one.
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    allow: Vec<String>,

    /// Let it load driver clients from anywhere.
    #[arg(long = "unsafe")]
    unrestricted: bool,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExporterArgs {
    /// Its name.
    name: String,

    /// A label by which clients choose it, such as `board=rpi4`; may be repeated.
    #[arg(
        short,
        long = "label",
        value_name = "KEY=VALUE",
        value_parser = label,
        required = true
    )]
    labels: Vec<(String, String)>,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    destination: Destination,

    /// Overwrite a file that is there.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    desk: Desk,
}

/// `KEY=VALUE`; what may stand in them is the controller's to say.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as board=rpi4".into()),
    }
}

/// The same key twice would lose one of the values.
fn labels(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for (key, value) in pairs {
        if let Some(other) = labels.insert(key.clone(), value.clone())
            && other != value
        {
            let text = format!("label {key} is given twice, as '{other}' and as '{value}'");
            return Err(Failure::usage(text));
        }
    }
    Ok(labels)
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Client(args) => {
            let drivers = drivers(args.allow, args.unrestricted);
            let document = move |access: &Access| config_files::client(access, &drivers);
            create(What::Client, args.name, args.labels, args.common, document)
        }
        Command::Exporter(args) => create(
            What::Exporter,
            args.name,
            args.labels,
            args.common,
            config_files::exporter,
        ),
    }
}

fn drivers(allow: Vec<String>, unrestricted: bool) -> Drivers {
    match allow.is_empty() && !unrestricted {
        true => Drivers::installed(),
        false => Drivers {
            allow,
            unrestricted,
        },
    }
}

fn create(
    what: What,
    name: String,
    pairs: Vec<(String, String)>,
    common: Common,
    document: impl FnOnce(&Access) -> String,
) -> Result<(), Failure> {
    let existing = match common.force {
        true => Existing::Replace,
        false => Existing::Keep,
    };
    let target = common.destination.target(role(what), &name)?;
    target.check(existing)?;
    let request = CreateRequest {
        kind: number(what),
        name: name.clone(),
        labels: labels(pairs)?,
    };
    common.desk.ask(Absent::Make, async |mut client| {
        let created = answer(CHANGE_LIMIT, client.create(request)).await?;
        let CreateResponse { credentials } = created;
        let access = access(credentials)?;
        hand_out(
            &target,
            &document(&access),
            existing,
            what,
            &name,
            "created",
        )
    })
}

/// Which of the two kinds of files something has.
pub(super) fn role(what: What) -> Role {
    match what {
        What::Exporter => Role::Exporter,
        _ => Role::Client,
    }
}

/// What a file is made of.
pub(super) fn access(credentials: Option<Credentials>) -> Result<Access, Failure> {
    let credentials = credentials
        .ok_or_else(|| failed("the daemon answers without credentials; is it another version?"))?;
    Ok(Access {
        namespace: credentials.namespace,
        name: credentials.name,
        endpoint: credentials.endpoint,
        ca: credentials.ca,
        token: Token::new(credentials.token),
    })
}

/// Writes the file of something that was just made.
pub(super) fn hand_out(
    target: &Target,
    document: &str,
    existing: Existing,
    what: What,
    name: &str,
    done: &str,
) -> Result<(), Failure> {
    let full = full_name(what, name);
    match target.put(document, existing) {
        Ok(Some(place)) => print(&format!("{full} {done}; its file is {place}")),
        Ok(None) => {}
        Err(failure) => return Err(lost(what, name, done, &failure)),
    }
    Ok(())
}

/// The token was made, and is gone.
pub(super) fn lost(what: What, name: &str, done: &str, failure: &Failure) -> Failure {
    failed(format!(
        "{}; {what} '{name}' is {done}, and its token is lost: `rigd controller rotate {what} {name}` \
         makes another one",
        failure.text()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pairs() {
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(label("a="), Ok(("a".into(), String::new())));
        for text in ["", "a", "=b"] {
            assert!(label(text).is_err(), "{text:?}");
        }
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert!(labels(vec![pair("a", "1"), pair("a", "1")]).is_ok());
        let error = labels(vec![pair("a", "1"), pair("a", "2")]).unwrap_err();
        assert!(error.text().contains("label a is given twice"), "{error:?}");
    }

    #[test]
    fn every_installed_driver_unless_said_otherwise() {
        assert_eq!(drivers(vec![], false), Drivers::installed());
        let only = drivers(vec!["jumpstarter_driver_power.*".into()], false);
        assert_eq!(only.allow, ["jumpstarter_driver_power.*"]);
        let all = drivers(vec![], true);
        assert!(all.allow.is_empty() && all.unrestricted);
    }
}
