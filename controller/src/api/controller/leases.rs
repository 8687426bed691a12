//! Leases as the older clients ask for them, and their release by whoever has them.

use std::time::SystemTime;

use rigd_proto::v1::{
    GetLeaseResponse, LabelSelector, LabelSelectorRequirement, RequestLeaseRequest,
};
use tonic::Status;
use uuid::Uuid;

use super::ControllerService;
use crate::{
    api::condition,
    auth::Kind,
    leases::{self, Refusal, Request, WantedTimes},
    resources::{self, SelectorOperator, SelectorRequirement},
    selector::Selector,
    store::Change,
};

impl ControllerService {
    /// Ends a lease that its client or its exporter has done with; one that is over stays so.
    pub(super) async fn do_release(
        &self,
        kind: Kind,
        caller: &str,
        lease: String,
    ) -> Result<(), Status> {
        let released = self.engine.change(|world, now| {
            let over = match kind {
                Kind::Client => leases::release_as_client(world, caller, &lease, now),
                Kind::Exporter => leases::release_as_exporter(world, caller, &lease, now),
            };
            let change = over?.map(|over| Change::Lease(lease, Some(over)));
            Ok(((), Vec::from_iter(change)))
        });
        released.await
    }

    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    pub(super) fn do_get(&self, client: &str, name: &str) -> Result<GetLeaseResponse, Status> {
        let now = SystemTime::now();
        let answer = self.engine.read(|world| {
            let lease = world.leases.get(name);
            let lease = lease.ok_or_else(|| Refusal::NotFound(name.to_owned()))?;
            if lease.client != client {
                return Err(Refusal::NotYours("GetLease"));
            }
            let exporter = lease.held.as_ref().map(|held| &held.exporter);
            let exporter = exporter.and_then(|name| world.exporters.get(name));
            let effective = leases::effective(lease, now);
            Ok(GetLeaseResponse {
                duration: lease.duration.and_then(|it| it.try_into().ok()),
                selector: Some(told_selector(&lease.selector)),
                begin_time: effective.begin.map(prost_types::Timestamp::from),
                end_time: effective.end.map(prost_types::Timestamp::from),
                exporter_uuid: exporter.map(|exporter| exporter.uid.to_string()),
                conditions: lease.conditions.iter().map(condition::told).collect(),
            })
        });
        Ok(answer?)
    }

    /// Gives the name of the new lease.
    pub(super) async fn do_request(
        &self,
        client: &str,
        request: RequestLeaseRequest,
    ) -> Result<String, Status> {
        let selector = asked_selector(request.selector.unwrap_or_default())?;
        let wanted = Request {
            // An empty one is for "not given" here.
            selector: match selector.is_empty() {
                true => String::new(),
                false => selector.to_string(),
            },
            times: WantedTimes {
                duration: request.duration,
                ..WantedTimes::default()
            },
            ..Request::default()
        };
        let created = self.engine.change(|world, now| {
            let limits = &self.limits;
            let created = leases::create(world, limits, client, &wanted, Uuid::now_v7(), now)?;
            let change = Change::Lease(created.name.clone(), Some(created.lease));
            Ok((created.name, vec![change]))
        });
        created.await
    }

    pub(super) fn do_list(&self, client: &str) -> Vec<String> {
        self.engine.read(|world| {
            let open = world
                .leases
                .iter()
                .filter(|(_, lease)| lease.over.is_none());
            let own = open.filter(|(_, lease)| lease.client == client);
            own.map(|(name, _)| name.clone()).collect()
        })
    }
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn asked_selector(asked: LabelSelector) -> Result<Selector, Status> {
    let expressions = asked.match_expressions.into_iter().map(|asked| {
        let operator = match asked.operator.as_str() {
            "In" => SelectorOperator::In,
            "NotIn" => SelectorOperator::NotIn,
            "Exists" => SelectorOperator::Exists,
            "DoesNotExist" => SelectorOperator::DoesNotExist,
            other => {
                return Err(Status::unknown(format!(
                    "{other:.40?} is not a valid label selector operator: it is one of In, NotIn, \
                     Exists and DoesNotExist"
                )));
            }
        };
        Ok(SelectorRequirement {
            key: asked.key,
            operator,
            values: asked.values,
        })
    });
    let object = resources::LabelSelector {
        match_labels: asked.match_labels,
        match_expressions: expressions.collect::<Result<_, _>>()?,
    };
    Selector::try_from(&object).map_err(|error| Status::unknown(error.to_string()))
}

fn told_selector(selector: &Selector) -> LabelSelector {
    let object = resources::LabelSelector::from(selector);
    let expressions = object.match_expressions.into_iter();
    LabelSelector {
        match_labels: object.match_labels,
        match_expressions: expressions
            .map(|told| LabelSelectorRequirement {
                key: told.key,
                operator: match told.operator {
                    SelectorOperator::In => "In",
                    SelectorOperator::NotIn => "NotIn",
                    SelectorOperator::Exists => "Exists",
                    SelectorOperator::DoesNotExist => "DoesNotExist",
                }
                .to_owned(),
                values: told.values,
            })
            .collect(),
    }
}
