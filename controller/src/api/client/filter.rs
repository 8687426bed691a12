//! Which leases a list is to have.

use rigd_proto::client::v1::ListLeasesRequest;
use tonic::Status;

use crate::{
    leases::TAG_PREFIX,
    model::{Labels, Lease},
    resources::ENDED,
    selector::{Selector, SelectorError},
};

/// What is asked of leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeaseFilter {
    labels: Selector,
    tags: Selector,
    only_active: bool,
}

impl LeaseFilter {
    /// From the fields of a request.
    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    pub(super) fn read(request: &ListLeasesRequest) -> Result<Self, Status> {
        let bad_tags = |why: String| Status::invalid_argument(format!("invalid tag_filter: {why}"));
        let tags: Selector = request
            .tag_filter
            .parse()
            .map_err(|error: SelectorError| bad_tags(error.to_string()))?;
        if let Some(wrong) = tags.requirements.iter().find(|r| r.key.contains('/')) {
            let key = &wrong.key;
            let why =
                format!("tag key {key:?} must not contain '/' (use simple names without prefix)");
            return Err(bad_tags(why));
        }
        Ok(Self {
            labels: request.filter.parse().map_err(no_selector)?,
            tags,
            only_active: request.only_active.unwrap_or(true),
        })
    }

    pub(super) fn matches(&self, lease: &Lease) -> bool {
        let active = lease.over.is_none() || !self.only_active;
        active
            && self.tags.matches(&lease.tags)
            && (self.labels.is_empty() || self.labels.matches(&labels(lease)))
    }
}

/// A filter of a list does not parse.
pub(super) fn no_selector(error: SelectorError) -> Status {
    Status::unknown(error.to_string())
}

/// The labels that a lease has on its object in Jumpstarter's controller: what its selector says of
/// one value for a key, its tags, and whether it is over.
pub(crate) fn labels(lease: &Lease) -> Labels {
    let asked = lease.selector.equalities();
    let asked = asked.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let tags = lease.tags.iter();
    let tags = tags.map(|(key, value)| (format!("{TAG_PREFIX}{key}"), value.clone()));
    let mut all: Labels = asked.chain(tags).collect();
    if lease.over.is_some() {
        all.insert(ENDED.to_owned(), "true".to_owned());
    }
    all
}
