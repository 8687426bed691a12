//! Leases of the model and their objects.

use std::time::SystemTime;

use super::{
    Condition, GoDuration, Lab, Lease, LeaseSpec, LeaseStatus, ObjectMeta, ObjectReference,
    ReadError, Timestamp, meta::checked,
};
use crate::{
    model::{self, ConditionKind, End, Held, Labels, Over},
    selector::Selector,
};

/// The label of leases that are over.
pub(crate) const ENDED: &str = "jumpstarter.dev/lease-ended";

impl Lease {
    /// The object of a lease of a lab.
    pub fn from_model(name: &str, lease: &model::Lease, lab: &Lab<'_>) -> Self {
        let mut labels = Labels::new();
        if lease.over.is_some() {
            labels.insert(ENDED.into(), "true".into());
        }
        let held = lease.held.as_ref();
        Self {
            metadata: ObjectMeta::of(name, lease.uid, lease.created, labels, lab),
            spec: LeaseSpec {
                allow_disabled: lease.allow_disabled,
                begin_time: lease.begin.map(Timestamp::from),
                client_ref: ObjectReference::to(&lease.client),
                context: lease.context.clone(),
                duration: lease.duration.map(GoDuration),
                end_time: lease.end.map(Timestamp::from),
                exporter_ref: lease.pinned.as_ref().map(ObjectReference::to),
                // A released lease must not be taken up again where this object is applied.
                release: lease
                    .over
                    .as_ref()
                    .is_some_and(|over| over.how == End::Released),
                selector: (&lease.selector).into(),
                tags: lease.tags.clone(),
            },
            status: Some(LeaseStatus {
                begin_time: held.map(|held| held.since.into()),
                conditions: lease.conditions.iter().map(Condition::from).collect(),
                end_time: lease.over.as_ref().map(|over| over.at.into()),
                ended: lease.over.is_some(),
                exporter_ref: held.map(|held| ObjectReference::to(&held.exporter)),
                priority: lease.priority,
                spot_access: false,
            }),
        }
    }

    /// The lease of an object, with the place in the queue that it is to have.
    ///
    /// `spec.release` of a lease that is not over yet is a wish that is left to the caller. A lease
    /// that is held begins with the first epoch.
    ///
    /// # Errors
    /// A selector, tag, condition or the uid makes no sense.
    pub fn to_model(&self, number: u64, now: SystemTime) -> Result<model::Lease, ReadError> {
        let spec = &self.spec;
        let selector = Selector::try_from(&spec.selector);
        let tags = checked(&spec.tags).map_err(|error| error.under("tags").under("spec"))?;
        let created = self.metadata.created(now);
        let status = self.status.clone().unwrap_or_default();
        let mut conditions = Vec::new();
        for (at, condition) in status.conditions.iter().enumerate() {
            let condition = model::Condition::try_from(condition);
            conditions
                .push(condition.map_err(|error| error.at(at).under("conditions").under("status"))?);
        }
        let since = status.begin_time.map_or(created, SystemTime::from);
        let end = status.end_time.map_or(now, SystemTime::from);
        Ok(model::Lease {
            uid: self.metadata.uid()?,
            number,
            client: spec.client_ref.name.clone(),
            selector: selector.map_err(|error| error.under("selector").under("spec"))?,
            pinned: spec.exporter_ref.as_ref().map(|to| to.name.clone()),
            allow_disabled: spec.allow_disabled,
            duration: spec.duration.map(|duration| duration.0),
            begin: spec.begin_time.map(SystemTime::from),
            end: spec.end_time.map(SystemTime::from),
            tags,
            context: spec.context.clone(),
            created,
            priority: status.priority,
            held: status.exporter_ref.map(|to| Held {
                exporter: to.name,
                since,
                epoch: 0,
            }),
            over: status.ended.then(|| Over {
                at: end,
                how: how(&conditions),
            }),
            conditions,
        })
    }
}

/// How a lease that is over has ended.
fn how(conditions: &[model::Condition]) -> End {
    match conditions.last() {
        Some(last) if last.kind == ConditionKind::Unsatisfiable => End::Unsatisfiable,
        Some(last) if last.kind == ConditionKind::Invalid => End::Invalid,
        Some(last) if last.reason == "Expired" => End::Expired,
        _ => End::Released,
    }
}
