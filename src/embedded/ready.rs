//! Tells people what to paste, once an exporter can be leased.

use std::{collections::BTreeMap, io::Write, time::Duration};

use rigd_controller::{
    model::World,
    presence::{self, OWN_LABELS},
};
use rigd_driver::Health;
use tokio::time::timeout;

use super::{Lab, own_client};
use crate::daemon::{handle::ExporterHandle, quote};

/// An exporter that is not ready by then has a line in the log that says why, and `rigd status`.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until the exporter can be leased, and prints how, with a `command` of `j`. Ends silently when
/// that is not soon.
pub(crate) async fn announce(lab: Lab, exporter: String, command: String, handle: ExporterHandle) {
    let mut version = lab.engine.version();
    let ready = async {
        loop {
            version.borrow_and_update();
            let selection = lab.engine.read(|world| {
                let found = world.exporters.get(&exporter)?;
                presence::assignable(found).then(|| selection(world, &exporter))
            });
            match selection {
                Some(selection) => return Some(selection),
                None => version.changed().await.ok()?,
            }
        }
    };
    let Ok(Some(selection)) = timeout(LIMIT, ready).await else {
        return;
    };
    let home = quote(&own_client::home(&lab.state).display().to_string());
    let mut text = format!("Exporter {exporter} is ready. In another terminal:\n");
    text += &format!("  JMP_CLIENT_CONFIG_HOME={home} jmp shell {selection} -- j {command}\n");
    if let Ok(snapshot) = handle.snapshot().await {
        for instance in snapshot.instances {
            if let Health::Absent(reason) | Health::Faulty(reason) = instance.health {
                text += &format!("  {} cannot be used: {reason}\n", instance.path);
            }
        }
    }
    // Nobody has to read along.
    std::io::stdout().lock().write_all(text.as_bytes()).ok();
}

/// By the labels of its file where they mean it alone, else by its name.
fn selection(world: &World, exporter: &str) -> String {
    let own = world.exporters.get(exporter).map(|one| {
        let mut labels = one.labels.clone();
        labels.retain(|key, _| !key.starts_with(OWN_LABELS));
        labels
    });
    let own = own.filter(|labels| !labels.is_empty());
    let includes = |all: &BTreeMap<String, String>, some: &BTreeMap<String, String>| {
        some.iter().all(|(key, value)| all.get(key) == Some(value))
    };
    let alone = |own: &BTreeMap<String, String>| {
        let others = world.exporters.iter().filter(|(name, _)| *name != exporter);
        !others
            .into_iter()
            .any(|(_, other)| includes(&other.labels, own))
    };
    match own.filter(|own| alone(own)) {
        Some(own) => {
            let pairs: Vec<_> = own
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("--selector {}", quote(&pairs.join(",")))
        }
        None => format!("--name {}", quote(exporter)),
    }
}
