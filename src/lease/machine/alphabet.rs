//! The words of the machine: what it is told, where it is, and what it wants done.

use std::time::Duration;

use rigd_proto::v1::ExporterStatus;

use super::Ending;

/// A lease as the controller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its name, unique for ever.
    pub name: String,
    /// Who holds it.
    pub client: String,
}

/// The two hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before the client may use the instruments.
    Before,
    /// After the client has left.
    After,
}

impl Hook {
    /// Its key in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Self::Before => "beforeLease",
            Self::After => "afterLease",
        }
    }
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Done,
    /// It did not; the text is for people, e.g. `Hook failed with exit code 3`.
    Failed(String),
}

/// What a failed hook means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Tell, and go on.
    Warn,
    /// End the lease.
    EndLease,
    /// End the lease and stop the exporter.
    Exit,
}

/// One configured hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookPolicy {
    /// How long it may run.
    pub timeout: Duration,
    /// What its failure means.
    pub on_failure: OnFailure,
}

/// What of the configuration the machine needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// beforeLease.
    pub before: Option<HookPolicy>,
    /// afterLease.
    pub after: Option<HookPolicy>,
    /// Time for safeState, when there is one.
    pub safe_state: Option<Duration>,
    /// Stop after the first lease.
    pub exit_on_lease_end: bool,
}

/// How far a lease had come; what is known of it after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// beforeLease may have begun.
    Before,
    /// The client may have acted.
    Ready,
    /// afterLease may have begun.
    After,
    /// It is over. Kept, since a controller may name a lease that was released once more.
    Done,
}

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose lease.
    pub lease: Lease,
    /// How far it had come.
    pub phase: Phase,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The controller says who holds the exporter.
    Status(Option<Lease>),
    /// The request to listen for the tunnels of this lease was sent.
    Listening(String),
    /// The instances are as a lease finds them.
    Prepared(String),
    /// A hook ended, by itself or not.
    HookEnded(Hook, Outcome),
    /// The client is done.
    EndSession,
    /// safeState is over, well or not.
    SafeStateDone,
    /// The instances have forgotten this lease.
    Quiet(String),
    /// The client has read the final status.
    FinalStatusRead,
    /// The controller answered the release of this lease, whatever it said.
    ReleaseAnswered(String),
    /// The deadline with this number passed.
    Deadline(u64),
    /// Hold the exporter back from leases for this reason, or not any more.
    Hold(Option<String>),
    /// Stop as soon as there is no lease. With a successor that takes up what is left.
    Retire {
        /// Another process or thread serves the exporter next.
        succeeded: bool,
    },
    /// Stop; the second one cuts a hook short.
    Stop,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the journal, to the disk, before anything that follows.
    Journal(Entry),
    /// Let clients see this at once.
    Show(ExporterStatus, String),
    /// Tell the controller until it acknowledges; FAILED states are not skipped by later ones.
    Report(ExporterStatus, String),
    /// Prepare the instances, open a session with new keys; answer `Prepared`.
    Prepare(Lease),
    /// Ask the controller for tunnels; answer `Listening` once the request was sent.
    Listen(Lease),
    /// Another client holds the same lease: new client key, old tunnels cut.
    Transfer(Lease),
    /// Run a hook under the hook key; answer `HookEnded`.
    RunHook(Hook, Lease),
    /// End the running hook: TERM to its group, KILL after the time; answer `HookEnded`.
    CutHook(Duration),
    /// Revoke the client key; report, status and logs go on.
    RevokeClient(&'static str),
    /// Run safeState under the hook key; answer `SafeStateDone`.
    RunSafeState,
    /// Revoke the hook key and make the instances forget the lease; answer `Quiet`.
    Forget(Lease),
    /// Close the session and its tunnels, stop listening.
    CloseSession(Lease),
    /// Ask the controller to release the lease; answer `ReleaseAnswered`.
    Release(Lease),
    /// Send `Deadline` with this number after this time, and no earlier one any more.
    Arm(u64, Duration),
    /// Tell the controller that the exporter is gone, and end with this exit code.
    Leave(u8),
}

/// Where a lease is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The controller has not said anything yet; `left` is what the process before left.
    Unknown {
        /// From its journal.
        left: Option<Entry>,
    },
    /// Free.
    Available,
    /// A lease begins.
    Preparing {
        /// Which.
        lease: Lease,
        /// How it goes on: a lease that was taken up skips its hook.
        hook: Start,
        /// The controller was asked for tunnels.
        listening: bool,
        /// The instances are ready.
        prepared: bool,
    },
    /// beforeLease runs.
    BeforeHook {
        /// For which lease.
        lease: Lease,
    },
    /// The client may act.
    Ready {
        /// Under which lease.
        lease: Lease,
    },
    /// The lease ended while beforeLease ran, which is being cut short.
    Interrupting(Ending),
    /// afterLease runs.
    AfterHook(Ending),
    /// safeState runs.
    SafeState(Ending),
    /// The instances forget the lease.
    Quiet(Ending),
    /// The client may read the final status.
    Lingering(Ending),
    /// The controller is asked to release the lease.
    Releasing(Ending),
    /// The end, with the exit code.
    Stopped(u8),
}

/// What comes after the preparation of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// beforeLease, when there is one.
    Fresh,
    /// The lease was ready before a crash: nothing.
    TakenUp,
    /// beforeLease was cut by a crash, and counts as failed.
    Cut,
}
