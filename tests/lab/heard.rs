//! What the lab's services hear, in the order in which it came.

use std::{collections::BTreeMap, fmt, time::Duration};

use rigd_proto::v1::{DriverInstanceReport, ExporterStatus};
use tonic::Code;

/// One thing that was heard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    /// Since the lab's start.
    pub(crate) at: Duration,
    /// Name of the exporter or client that called; empty on the router, where nobody has a name.
    pub(crate) from: String,
    pub(crate) what: What,
    /// Set when a fault refused the call; the call then had no effect.
    pub(crate) refused: Option<Code>,
}

/// What was heard: calls when they arrive, and what a call came to where that matters.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a few hundred of them in a test")]
pub(crate) enum What {
    /// The labels and the tree of an exporter.
    Register {
        labels: BTreeMap<String, String>,
        reports: Vec<DriverInstanceReport>,
    },
    Unregister {
        reason: String,
    },
    /// `ReportStatus`; `release` is its `release_lease`.
    Report {
        status: ExporterStatus,
        message: String,
        release: bool,
    },
    StatusOpened,
    StatusClosed,
    Listen {
        lease: String,
    },
    /// The stream is over: cancelled, superseded, or its connection is gone.
    ListenClosed {
        lease: String,
    },
    ReleaseLease {
        name: String,
    },
    Dial {
        lease: String,
    },
    /// What a `Dial` came to, after its waits.
    Dialled {
        lease: String,
        code: Code,
    },
    /// `GetServiceEndpoints`.
    Endpoints,
    /// A router stream with a token of that lease.
    RouterOpened {
        lease: String,
    },
    RouterClosed {
        lease: String,
    },
    /// Entries arrived at the telemetry sink, see `Lab::telemetry`.
    PushLogs {
        entries: usize,
    },
    CreateLease {
        name: String,
    },
    UpdateLease {
        name: String,
    },
    DeleteLease {
        name: String,
    },
    /// A `GetLease`, `ListLeases`, `GetExporter` or `ListExporters` of a client.
    Looked {
        rpc: Rpc,
    },
    /// The lab itself ended a lease because its time was over.
    Expired {
        name: String,
    },
}

/// The calls that faults can be put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rpc {
    Register,
    Unregister,
    ReportStatus,
    Status,
    Listen,
    Dial,
    /// By an exporter or, in the old interface, by a client.
    ReleaseLease,
    GetServiceEndpoints,
    /// The router's only call.
    RouterStream,
    PushLogs,
    GetExporter,
    ListExporters,
    GetLease,
    ListLeases,
    CreateLease,
    UpdateLease,
    DeleteLease,
}

impl Heard {
    /// Whether this is an accepted report of that status.
    pub(crate) fn reports(&self, wanted: ExporterStatus) -> bool {
        matches!(&self.what, What::Report { status, .. } if *status == wanted)
            && self.refused.is_none()
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} {:<12} ", self.at.as_secs_f64(), self.from)?;
        match &self.what {
            // A tree is longer than the rest of the list.
            What::Register { labels, reports } => {
                write!(f, "Register {{ {labels:?}, {} reports }}", reports.len())
            }
            what => write!(f, "{what:?}"),
        }?;
        match self.refused {
            Some(code) => write!(f, " refused: {code:?}"),
            None => Ok(()),
        }
    }
}

/// All of it, for a person.
pub(crate) fn listing(heard: &[Heard]) -> String {
    heard.iter().map(|it| format!("    {it}\n")).collect()
}
