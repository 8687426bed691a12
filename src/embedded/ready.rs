//! Tells people what to paste, once an exporter can be leased.

use std::{collections::BTreeMap, io::Write, time::Duration};

use rigd_controller::{
    model::{Device, World},
    presence,
};
use rigd_driver::Health;
use tokio::time::timeout;

use super::Lab;
use crate::daemon::{handle::ExporterHandle, quote};

/// An exporter that is not ready by then has a line in the log that says why, and `rigd status`.
const LIMIT: Duration = Duration::from_secs(60);
/// Labels that an exporter gives itself begin so.
const REGISTERED: &str = "jumpstarter.dev/";
const NAME: &str = "jumpstarter.dev/name";
const CLIENT: &str = "jumpstarter.dev/client";
const POWER: &str = "jumpstarter_driver_power.client.PowerClient";

/// Waits until the exporter can be leased, and prints how. Ends silently when that is not soon.
pub(crate) async fn announce(lab: Lab, exporter: String, handle: ExporterHandle) {
    let mut version = lab.engine.version();
    let ready = async {
        loop {
            version.borrow_and_update();
            let lines = lab.engine.read(|world| {
                let found = world.exporters.get(&exporter)?;
                presence::assignable(found).then(|| {
                    let selection = selection(world, &exporter);
                    let command = power(&found.devices);
                    (selection, command.map(|path| format!("{path} on")))
                })
            });
            match lines {
                Some(lines) => return Some(lines),
                None => version.changed().await.ok()?,
            }
        }
    };
    let Ok(Some((selection, command))) = timeout(LIMIT, ready).await else {
        return;
    };
    let command = command.unwrap_or_else(|| "--help".into());
    let home = quote(&lab.client_home.display().to_string());
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
        labels.retain(|key, _| !key.starts_with(REGISTERED));
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

/// The first power switch, as `j` names it.
fn power(devices: &[Device]) -> Option<String> {
    let by_id: BTreeMap<&str, &Device> =
        devices.iter().map(|one| (one.uuid.as_str(), one)).collect();
    let found = devices.iter().find(|device| {
        device
            .labels
            .get(CLIENT)
            .is_some_and(|class| class == POWER)
    })?;
    let mut path = Vec::new();
    let mut at = Some(found);
    while let Some(device) = at {
        // The root has no name. A tree that is none does not hold us up.
        if path.len() > devices.len() {
            return None;
        }
        path.extend(
            device
                .labels
                .get(NAME)
                .filter(|_| device.parent_uuid.is_some()),
        );
        at = device
            .parent_uuid
            .as_deref()
            .and_then(|id| by_id.get(id).copied());
    }
    path.reverse();
    let path: Vec<_> = path.into_iter().map(String::as_str).collect();
    (!path.is_empty()).then(|| path.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str, parent: Option<&str>, name: &str, class: &str) -> Device {
        let labels = [(NAME, name), (CLIENT, class)];
        Device {
            uuid: id.into(),
            parent_uuid: parent.map(str::to_owned),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }
    }

    #[test]
    fn the_first_power_switch_by_its_path() {
        let devices = [
            device("r", None, "", "composite"),
            device("a", Some("r"), "dutlink", "composite"),
            device("b", Some("a"), "console", "serial"),
            device("c", Some("a"), "power", POWER),
        ];
        assert_eq!(power(&devices).as_deref(), Some("dutlink power"));
        assert_eq!(power(&devices[..3]), None);
        let ring = [
            device("a", Some("b"), "x", POWER),
            device("b", Some("a"), "y", ""),
        ];
        assert_eq!(power(&ring), None);
    }
}
