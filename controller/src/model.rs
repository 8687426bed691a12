//! What a lab is: its clients, exporters, leases and policies, as plain data.
//!
//! Times are those of the lab's wall clock. Names are DNS-1123 subdomains, unique in their kind; a
//! lab has one namespace. What is here is kept on disk, except for what [`Presence`] holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::selector::Selector;

/// Labels or tags.
pub type Labels = BTreeMap<String, String>;

/// Everything that the controller knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// By name.
    pub clients: BTreeMap<String, Client>,
    /// By name.
    pub exporters: BTreeMap<String, Exporter>,
    /// By name; ended ones are kept for a while.
    pub leases: BTreeMap<String, Lease>,
    /// By name.
    pub policies: BTreeMap<String, AccessPolicy>,
    /// Number of the lease that was created last; a lease's own number is its place in the queue.
    pub last_number: u64,
}

/// Who may ask for leases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Fixed at creation; tokens name it, so that one of a former client of this name is no good.
    pub uid: Uuid,
    /// For policies.
    pub labels: Labels,
    /// When it was created.
    pub created: SystemTime,
    /// Tokens that were issued before this moment are no good any more.
    pub tokens_from: SystemTime,
}

/// One leasable board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exporter {
    /// As for [`Client::uid`].
    pub uid: Uuid,
    /// What selectors look at.
    pub labels: Labels,
    /// When it was created.
    pub created: SystemTime,
    /// As for [`Client::tokens_from`].
    pub tokens_from: SystemTime,
    /// An administrator's switch: leases must ask for disabled exporters by name.
    pub enabled: bool,
    /// Why it is not given out for now; what is leased stays so.
    #[serde(default)]
    pub held: Option<String>,
    /// Its file is served by the same process as the controller: it comes and goes with that.
    #[serde(default)]
    pub hosted: bool,
    /// Instances, as it registered them last.
    pub devices: Vec<Device>,
    /// What is known of it while it is there.
    #[serde(skip)]
    pub presence: Presence,
}

/// One instance of an exporter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub uuid: String,
    /// That of the instance above it.
    pub parent_uuid: Option<String>,
    /// As the exporter gave them.
    pub labels: Labels,
}

/// What is only true while an exporter is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Presence {
    /// It has registered since the controller started, and not signed off.
    pub registered: bool,
    /// Open Status streams.
    pub streams: usize,
    /// The status it reported last; `None` is "not told", which counts as available.
    pub status: Option<ExporterState>,
    /// Its text.
    pub message: String,
    /// When it was heard of last.
    pub last_seen: Option<SystemTime>,
    /// Open tunnels of the lease that it serves, and those that wait for their other end.
    pub tunnels: usize,
    /// When the last of them was opened or closed, a client asked for one, the lease changed hands,
    /// or the exporter was ready for it.
    pub last_used: Option<SystemTime>,
}

/// The states that an exporter reports, as Kubernetes objects name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ExporterState {
    Offline,
    Available,
    BeforeLeaseHook,
    LeaseReady,
    AfterLeaseHook,
    BeforeLeaseHookFailed,
    AfterLeaseHookFailed,
}

/// The exclusive right of a client to an exporter for a time, wished for, held or over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Fixed at creation.
    pub uid: Uuid,
    /// Place in the queue: smaller came earlier.
    pub number: u64,
    /// Name of the client that holds or wants it.
    pub client: String,
    /// What the exporter must be like.
    pub selector: Selector,
    /// The one exporter that is wanted.
    pub pinned: Option<String>,
    /// A disabled exporter will do.
    pub allow_disabled: bool,
    /// How long, when that was asked for; begin and end give it otherwise.
    pub duration: Option<Duration>,
    /// Not before.
    pub begin: Option<SystemTime>,
    /// Not after.
    pub end: Option<SystemTime>,
    /// For people; fixed at creation.
    pub tags: Labels,
    /// For the exporter; fixed at creation.
    pub context: Labels,
    /// When it was asked for.
    pub created: SystemTime,
    /// Priority that the policy gave, higher first.
    pub priority: i64,
    /// Which exporter, and since when.
    pub held: Option<Held>,
    /// When and how it ended.
    pub over: Option<Over>,
    /// As clients read them: the last one counts.
    pub conditions: Vec<Condition>,
}

/// An exporter that was assigned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Its name.
    pub exporter: String,
    /// Since when.
    pub since: SystemTime,
    /// Rises with each transfer: router tokens of an earlier one are no good any more.
    pub epoch: u64,
}

/// The end of a lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Over {
    /// When.
    pub at: SystemTime,
    /// How.
    pub how: End,
}

/// How a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Its holder, its exporter or an administrator ended it.
    Released,
    /// Its time was over.
    Expired,
    /// It could never be fulfilled.
    Unsatisfiable,
    /// It made no sense.
    Invalid,
}

/// What is told of a lease, in the words of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Kind.
    pub kind: ConditionKind,
    /// True or False.
    pub status: bool,
    /// One word, such as `NotAvailable`.
    pub reason: String,
    /// For people, fewer than 60 characters: longer ones break what `jmp -o yaml` prints.
    pub message: String,
    /// Since when.
    pub since: SystemTime,
}

/// The kinds of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ConditionKind {
    Pending,
    Ready,
    Unsatisfiable,
    Invalid,
}

/// Which clients may have which exporters. Without any policy everybody may have all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessPolicy {
    /// Fixed at creation.
    pub uid: Uuid,
    /// When it was created.
    pub created: SystemTime,
    /// Whom it is about.
    pub exporters: Selector,
    /// Who may have them, and how.
    pub rules: Vec<Rule>,
}

/// One way to be admitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// For people.
    pub description: String,
    /// Higher first.
    pub priority: i64,
    /// Clients; one of them must match.
    pub from: Vec<Selector>,
    /// Longer leases are not admitted by this rule.
    pub maximum_duration: Option<Duration>,
    /// Comes last, and alone it is refused.
    pub spot: bool,
}

/// Names that leases, clients and exporters of a lab have, for messages.
pub type Names = BTreeSet<String>;
