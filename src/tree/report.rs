//! What clients are told of a tree: a flat list, the root first, each parent before its children.
//!
//! Clients look a parent up among the entries they have read, and name children by a label.

use rigd_proto::v1::{DriverInstanceReport, GetReportResponse};
use uuid::Uuid;

use super::plan::{Plan, PlannedInstance};

/// Label with the class path of the client; on every node.
const CLIENT: &str = "jumpstarter.dev/client";
/// Label with the name of a node below its parent; on every node but the root.
const NAME: &str = "jumpstarter.dev/name";

/// The report of a plan.
pub(super) fn report(plan: &Plan, motd: Option<String>) -> GetReportResponse {
    let mut reports = Vec::new();
    node(&plan.root, &plan.root, None, &mut reports);
    GetReportResponse {
        uuid: plan.id.to_string(),
        labels: [(NAME.into(), plan.exporter.clone())].into(),
        reports,
        alternative_endpoints: Vec::new(),
        motd: motd.unwrap_or_default(),
    }
}

/// An instance and everything below it, under the name and parent by which it is reached: another
/// name for an instance repeats all of it with the same ids.
fn node(
    instance: &PlannedInstance,
    root: &PlannedInstance,
    reached: Option<(&str, Uuid)>,
    reports: &mut Vec<DriverInstanceReport>,
) {
    let mut labels = instance.generic.labels.clone();
    labels.extend(instance.blueprint.labels());
    labels.insert(CLIENT.into(), instance.blueprint.client().into());
    if let Some((name, _)) = reached {
        labels.insert(NAME.into(), name.into());
    }
    reports.push(DriverInstanceReport {
        uuid: instance.id.to_string(),
        parent_uuid: reached.map(|(_, parent)| parent.to_string()),
        labels,
        description: instance.generic.description.clone(),
        methods_description: instance.generic.methods_description.clone(),
    });
    for child in instance.children() {
        if let Some(target) = child.resolve(root) {
            node(target, root, Some((&child.name, instance.id)), reports);
        }
    }
}
