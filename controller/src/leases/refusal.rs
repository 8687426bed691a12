//! Why a wish is refused, in the codes and texts that clients of Jumpstarter's controller know.
//!
//! Its plain errors and those of the Kubernetes API cross the wire as `UNKNOWN`; clients look at the
//! text.

use tonic::{Code, Status};

use super::{MAX_DURATION, tags::TagError};
use crate::{names::NameError, selector::SelectorError};

/// Why a wish is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not say what it wants.
    #[error("one of selector or exporter_name is required")]
    NoTarget,
    /// Its tags are against the rules.
    #[error("invalid lease tags: {0}")]
    Tags(TagError),
    /// Its context is against the rules.
    #[error("invalid lease context: {0}")]
    Context(TagError),
    /// Its selector does not parse.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The lease's name is none.
    #[error("lease_id: {0}")]
    Name(#[source] NameError),
    /// There is a lease of this name.
    #[error("leases.jumpstarter.dev \"{0}\" already exists")]
    Exists(String),
    /// There is no lease of this name.
    #[error("Lease.jumpstarter.dev \"{0}\" not found")]
    NotFound(String),
    /// An exporter speaks of a lease that is not there.
    #[error("lease \"{0}\" not found")]
    NotFoundForExporter(String),
    /// There is neither a duration nor both of begin and end.
    #[error("duration is required (must specify Duration, or both BeginTime and EndTime)")]
    DurationRequired,
    /// It is no time at all, or less.
    #[error("duration must be positive, got {0}")]
    DurationNotPositive(String),
    /// It is absurd.
    #[error("duration must be at most {} days", MAX_DURATION.as_secs() / (24 * 60 * 60))]
    DurationTooLong,
    /// Duration, begin and end disagree.
    #[error("duration conflicts with begin_time and end_time")]
    DurationConflicts,
    /// A time is none, or not in the years 1970 to 9999.
    #[error("{0} is out of range: it must be a time in the years 1970 to 9999")]
    TimeOutOfRange(&'static str),
    /// The client has as many open leases as it may have.
    #[error(
        "client \"{client}\" has {limit} open leases, the most a client may have: release some of them first"
    )]
    TooMany {
        /// Its name.
        client: String,
        /// How many it may have.
        limit: usize,
    },
    /// The lease belongs to somebody else; `what` is the method.
    #[error("{0} permission denied")]
    NotYours(&'static str),
    /// What has begun cannot begin at another time.
    #[error("cannot update BeginTime: lease has already started")]
    AlreadyStarted,
    /// What is over stays so.
    #[error("cannot update lease \"{0}\": lease has already ended")]
    AlreadyEnded(String),
    /// A lease that waits has nothing to hand over.
    #[error("cannot transfer lease: lease has not started yet")]
    TransferBeforeStart,
    /// A lease that is over has nothing to hand over.
    #[error("cannot transfer lease: lease has already ended")]
    TransferAfterEnd,
    /// A lab is one namespace.
    #[error("cannot transfer lease to client in different namespace")]
    TransferElsewhere,
    /// Nobody has this name.
    #[error("target client not found: Client.jumpstarter.dev \"{0}\" not found")]
    TargetNotFound(String),
    /// The one who is to get the lease could not have asked for it.
    #[error(
        "cannot transfer lease: no policy admits client \"{client}\" to exporter \"{exporter}\" for this long"
    )]
    TargetNotAdmitted {
        /// Who is to get it.
        client: String,
        /// What it holds.
        exporter: String,
    },
    /// A client could not have asked for as much at first.
    #[error(
        "cannot lengthen lease: no policy admits client \"{client}\" to exporter \"{exporter}\" for this long"
    )]
    TooLongForPolicy {
        /// Who has it.
        client: String,
        /// What it holds.
        exporter: String,
    },
    /// The name is that in the request.
    #[error("lease \"{0}\" has already been released")]
    AlreadyReleased(String),
    /// An exporter may only release what it serves.
    #[error("lease \"{lease}\" is not held by exporter \"{exporter}\"")]
    NotHeld {
        /// Of the lease.
        lease: String,
        /// The caller.
        exporter: String,
    },
}

impl Refusal {
    /// The status code that goes with it.
    pub fn code(&self) -> Code {
        match self {
            Self::NoTarget | Self::Tags(_) | Self::Context(_) => Code::InvalidArgument,
            Self::NotFoundForExporter(_) => Code::NotFound,
            Self::AlreadyEnded(_) | Self::AlreadyReleased(_) | Self::NotHeld { .. } => {
                Code::FailedPrecondition
            }
            Self::TooMany { .. } => Code::ResourceExhausted,
            Self::Selector(_)
            | Self::Name(_)
            | Self::Exists(_)
            | Self::NotFound(_)
            | Self::DurationRequired
            | Self::DurationNotPositive(_)
            | Self::DurationTooLong
            | Self::DurationConflicts
            | Self::TimeOutOfRange(_)
            | Self::NotYours(_)
            | Self::AlreadyStarted
            | Self::TransferBeforeStart
            | Self::TransferAfterEnd
            | Self::TransferElsewhere
            | Self::TargetNotFound(_)
            | Self::TargetNotAdmitted { .. }
            | Self::TooLongForPolicy { .. } => Code::Unknown,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
