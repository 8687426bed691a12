//! Who calls: every call to the lab's services is authenticated here, by its headers alone, and failures
//! are logged here. The gate asks before a handler is called; handlers find the answer.
//!
//! What it must never do: print a token, or tell anything of the lab to somebody without one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use tokio::time::Instant;
use tonic::{Request, Status};

use crate::{
    auth::{self, Claimed, FailedLogins, Kind, Refusal, Verdict},
    engine::Engine,
};

/// Address of a caller whose connection has none: it counts failures of all of them together.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Somebody whom the lab knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Of the client or the exporter.
    pub name: String,
}

/// Whom the lab found a call to be of; in the extensions of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Admitted {
    kind: Kind,
    caller: Caller,
}

/// A connection as its calls see it; the port puts it into the extensions of their requests.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Of the other end.
    pub(crate) peer: SocketAddr,
    known: Arc<AtomicBool>,
}

impl Link {
    /// A new connection.
    pub(crate) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            known: Arc::default(),
        }
    }

    /// A call on it had good credentials.
    pub(crate) fn is_known(&self) -> bool {
        self.known.load(Relaxed)
    }

    /// Notes that a call on it has good credentials.
    pub(crate) fn know(&self) {
        self.known.store(true, Relaxed);
    }
}

/// Where a call comes from. Servers whose connections tonic knows no address of put it into the
/// extensions of their requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<SocketAddr>);

impl Peer {
    /// Of a call.
    pub fn of<T>(request: &Request<T>) -> Self {
        let extensions = request.extensions();
        match (extensions.get::<Self>(), extensions.get::<Link>()) {
            (Some(peer), _) => *peer,
            (None, Some(link)) => Self(Some(link.peer)),
            (None, None) => Self(request.remote_addr()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("this host"),
        }
    }
}

/// For whom a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// For these.
    Only(Kind),
    /// For both.
    Both,
}

/// Finds out of whom a call is, and notes it for its handler. `failed` counts failures, and is the same
/// one for all services of a lab; valid tokens never meet it.
///
/// # Errors
/// The status for the caller: what is wrong, or RESOURCE_EXHAUSTED when too much was wrong lately.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub(super) fn admit(
    engine: &Engine,
    failed: &Mutex<FailedLogins>,
    request: &mut Request<()>,
    wanted: For,
) -> Result<(), Status> {
    let claimed = auth::metadata(request.metadata())?;
    let kind = match wanted {
        For::Only(kind) => kind,
        For::Both => claimed.kind,
    };
    let caller = check(engine, failed, Peer::of(request), claimed, kind)?;
    let extensions = request.extensions_mut();
    if let Some(link) = extensions.get::<Link>() {
        link.know();
    }
    extensions.insert(Admitted { kind, caller });
    Ok(())
}

/// The caller of a call that is for `wanted`.
///
/// # Errors
/// INTERNAL, when the call came in by another way than through the gate.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub(super) fn caller<T>(request: &Request<T>, wanted: Kind) -> Result<Caller, Status> {
    let (kind, caller) = caller_of_any_kind(request)?;
    match kind == wanted {
        true => Ok(caller),
        false => Err(not_admitted()),
    }
}

/// The caller of a call that is for clients and for exporters, and which of them it is.
///
/// # Errors
/// As [`caller`] has it.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub(super) fn caller_of_any_kind<T>(request: &Request<T>) -> Result<(Kind, Caller), Status> {
    let admitted = request.extensions().get::<Admitted>();
    let admitted = admitted.ok_or_else(not_admitted)?;
    Ok((admitted.kind, admitted.caller.clone()))
}

/// A call that the gate does not know: a mistake of ours, and nobody is let in by it.
fn not_admitted() -> Status {
    Status::internal("the controller did not check who calls")
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn check(
    engine: &Engine,
    failed: &Mutex<FailedLogins>,
    peer: Peer,
    claimed: Claimed,
    wanted: Kind,
) -> Result<Caller, Status> {
    // The signature is checked before the lab is looked at: it takes long, and everybody would wait.
    let known = engine
        .tokens()
        .verify(&claimed.token, SystemTime::now())
        .and_then(|identity| {
            let namespace = engine.namespace();
            engine.read(|world| auth::admit(world, namespace, &claimed, &identity, wanted))
        });
    match known {
        Ok(()) => Ok(Caller { name: claimed.name }),
        Err(refusal) if refusal.is_failed_login() => {
            Err(turned_away(failed, peer, &claimed, refusal).into())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Counts and logs a failure, and gives what the caller is told.
fn turned_away(
    failed: &Mutex<FailedLogins>,
    peer: Peer,
    claimed: &Claimed,
    refusal: Refusal,
) -> Refusal {
    let from = peer.0.map_or(NO_ADDRESS, |address| address.ip());
    let verdict = {
        // Counters that a panic left are good enough.
        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.failed(from, &claimed.name, Instant::now())
    };
    match verdict {
        Verdict::Tell => {
            let (name, namespace) = (&claimed.name, &claimed.namespace);
            match claimed.kind {
                Kind::Client => {
                    tracing::warn!(%peer, name, namespace, reason = %refusal, "client authentication failed");
                }
                Kind::Exporter => {
                    tracing::warn!(%peer, name, namespace, reason = %refusal, "exporter authentication failed");
                }
            }
            refusal
        }
        Verdict::Quiet { retry_after } => Refusal::TooMany {
            seconds: retry_after.as_secs().saturating_add(1),
        },
    }
}
