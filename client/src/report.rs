//! The tree of devices that an exporter reports.

use std::collections::{BTreeMap, HashMap};

use rigd_proto::v1::{DriverInstanceReport, GetReportResponse};

/// Key of a device in its parent; absent on the root.
const NAME_LABEL: &str = "jumpstarter.dev/name";

/// Class that a Python client makes for the device.
const CLIENT_LABEL: &str = "jumpstarter.dev/client";

/// One node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Names from the root down, joined by dots; empty for the root.
    pub path: String,
    /// What calls address it by. Two paths may lead to the same device.
    pub uuid: String,
    /// All labels, those of the protocol included.
    pub labels: BTreeMap<String, String>,
    /// Text for people.
    pub description: Option<String>,
    /// Text for people, per method.
    pub methods: BTreeMap<String, String>,
}

impl DeviceInfo {
    /// Python class path of the client, which tells the kind of device.
    pub fn client(&self) -> &str {
        self.labels.get(CLIENT_LABEL).map_or("", String::as_str)
    }
}

/// What an exporter offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Id of the exporter.
    pub uuid: String,
    /// Labels of the exporter.
    pub labels: BTreeMap<String, String>,
    /// Message of the day, may be empty.
    pub motd: String,
    /// Devices by path; the root has the empty path.
    pub devices: BTreeMap<String, DeviceInfo>,
}

impl Report {
    /// A path that leads to the device.
    pub fn path_of(&self, uuid: &str) -> Option<&str> {
        self.devices
            .values()
            .find(|device| device.uuid == uuid && !device.path.is_empty())
            .map(|device| device.path.as_str())
    }

    /// Parents stand before their children. A parent is the one of that uuid seen last, because an
    /// alias repeats its target's subtree with the same uuids.
    pub(crate) fn from_wire(response: GetReportResponse) -> Result<Self, OrphanReport> {
        let mut last_path: HashMap<String, String> = HashMap::new();
        let mut devices = BTreeMap::new();
        for report in response.reports {
            let name = report.labels.get(NAME_LABEL).map_or("", String::as_str);
            let path = match &report.parent_uuid {
                None => name.to_owned(),
                Some(parent) => match last_path.get(parent) {
                    Some(parent) if parent.is_empty() => name.to_owned(),
                    Some(parent) => format!("{parent}.{name}"),
                    None => return Err(OrphanReport { uuid: report.uuid }),
                },
            };
            last_path.insert(report.uuid.clone(), path.clone());
            devices.insert(path.clone(), info(path, report));
        }
        Ok(Self {
            uuid: response.uuid,
            labels: response.labels,
            motd: response.motd,
            devices,
        })
    }
}

fn info(path: String, report: DriverInstanceReport) -> DeviceInfo {
    DeviceInfo {
        path,
        uuid: report.uuid,
        labels: report.labels,
        description: report.description,
        methods: report.methods_description,
    }
}

/// Why a report makes no tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OrphanReport {
    pub(crate) uuid: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(uuid: &str, parent: Option<&str>, name: &str) -> DriverInstanceReport {
        DriverInstanceReport {
            uuid: uuid.to_owned(),
            parent_uuid: parent.map(str::to_owned),
            labels: [(NAME_LABEL.to_owned(), name.to_owned())].into(),
            ..DriverInstanceReport::default()
        }
    }

    fn report(reports: Vec<DriverInstanceReport>) -> Result<Report, OrphanReport> {
        Report::from_wire(GetReportResponse {
            reports,
            ..GetReportResponse::default()
        })
    }

    #[test]
    fn paths_follow_the_tree_also_below_an_alias() {
        let found = report(vec![
            node("root", None, ""),
            node("a", Some("root"), "a"),
            node("p", Some("a"), "power"),
            node("a", Some("root"), "alias"),
            node("p", Some("a"), "power"),
        ])
        .unwrap();
        let paths: Vec<_> = found.devices.keys().map(String::as_str).collect();
        assert_eq!(paths, ["", "a", "a.power", "alias", "alias.power"]);
        assert_eq!(found.path_of("p"), Some("a.power"));
    }

    #[test]
    fn child_before_its_parent_is_refused() {
        let orphan = report(vec![node("p", Some("a"), "power")]).unwrap_err();
        assert_eq!(orphan.uuid, "p");
    }
}
