//! Conditions of leases as messages, which both services have.

use rigd_proto::v1::{Condition, Time};

use crate::{model, resources};

/// Objects of a lab count no generations: a condition is always that of the lease as it is.
const GENERATION: i64 = 1;

/// What is told of a lease.
pub(super) fn told(condition: &model::Condition) -> Condition {
    let object = resources::Condition::from(condition);
    let since = prost_types::Timestamp::from(condition.since);
    Condition {
        r#type: Some(object.kind),
        status: Some(object.status),
        observed_generation: Some(GENERATION),
        last_transition_time: Some(Time {
            seconds: Some(since.seconds),
            nanos: Some(since.nanos),
        }),
        reason: Some(object.reason),
        message: Some(object.message),
    }
}
