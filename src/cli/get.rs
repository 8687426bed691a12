//! `rigd get`: what the embedded controller has, as objects and tables.

use std::time::SystemTime;

use clap::ValueEnum;
use rigd_controller::{
    admin::What,
    resources::{
        Client, Detail, Exporter, ExporterAccessPolicy, ExporterDevice, Lease, List, Resource, Row,
        names, table,
    },
};
use rigd_proto::control::v1::{GetRequest, GetResponse};

use super::{
    Failure,
    controller::{Absent, Desk, READ_LIMIT, print},
    daemon::{answer, failed},
};
use crate::control::controller::number;

/// As `jmp get` says it.
const NOTHING: &str = "No resources found.";

/// Arguments of `rigd get`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `exporters`, `leases`, `clients` or `policies`; singular or plural.
    #[arg(value_name = "KIND")]
    what: What,

    /// Only those of these names.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Only those with such labels, e.g. `board=rpi4,!broken`.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    selector: String,

    /// What to print in place of a table.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,

    #[command(flatten)]
    desk: Desk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The object that was named, else a list of them, as `kubectl apply` takes them.
    Json,
    /// The same in YAML.
    Yaml,
    /// Kind and name, a line each.
    Name,
    /// A table with all columns: of exporters a row for each instance.
    Wide,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let Args { what, output, .. } = args;
    let single = args.names.len() == 1;
    let request = GetRequest {
        kind: number(what),
        names: args.names,
        selector: args.selector,
    };
    args.desk.ask(Absent::Refuse, async |mut client| {
        let found = answer(READ_LIMIT, client.get(request)).await?;
        let GetResponse { list } = found;
        let text = match what {
            What::Client => text(&read::<Client>(&list)?, output, single),
            What::Exporter => text(&exporters(read(&list)?, output), output, single),
            What::Lease => text(&read::<Lease>(&list)?, output, single),
            What::Policy => text(&read::<ExporterAccessPolicy>(&list)?, output, single),
        };
        // A name that prints nothing prints no empty line either.
        if !text.is_empty() {
            print(text.trim_end_matches('\n'));
        }
        Ok(())
    })
}

fn read<T: Resource>(list: &str) -> Result<List<T>, Failure> {
    let list = List::from_json(list);
    list.map_err(|error| failed(format!("the daemon answers otherwise: {error}")))
}

/// A table with a row for each instance leaves out exporters that have none yet: those get an empty
/// one.
fn exporters(mut list: List<Exporter>, output: Option<Output>) -> List<Exporter> {
    if output == Some(Output::Wide) {
        let all = list.items.iter_mut();
        for status in all.filter_map(|exporter| exporter.status.as_mut()) {
            if status.devices.is_empty() {
                status.devices.push(ExporterDevice::default());
            }
        }
    }
    list
}

fn text<T: Resource + Row>(list: &List<T>, output: Option<Output>, single: bool) -> String {
    let one = list.items.first().filter(|_| single);
    let columns = |detail| match list.items.is_empty() {
        true => NOTHING.to_owned(),
        false => table(&list.items, detail, SystemTime::now()),
    };
    match output {
        Some(Output::Json) => one.map_or_else(|| list.dump_json(), Resource::dump_json),
        Some(Output::Yaml) => one.map_or_else(|| list.dump_yaml(), Resource::dump_yaml),
        Some(Output::Name) => names(&list.items),
        Some(Output::Wide) => columns(Detail::Wide),
        None => columns(Detail::Brief),
    }
}
