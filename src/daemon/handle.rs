//! What the daemon can ask a running exporter, and how.
//!
//! Each exporter lives on a thread of its own; its owner task takes questions from a bounded queue.
//! One that hangs answers nothing, so whoever asks waits for a short time only.

use std::{collections::BTreeMap, sync::Arc, sync::RwLock, time::Duration};

use bytes::Bytes;
use rigd_driver::{Health, Heard, TransferProgress, Upload};
use rigd_proto::v1::ExporterStatus;
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::Status;

use crate::lease::machine::{Hook, Lease};

/// Questions that wait for an exporter: people ask, and the watchdog.
const QUESTIONS: usize = 16;
/// How long an exporter may take to answer a question that it answers from memory.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// The state of an exporter for people.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// What clients are told.
    pub(crate) status: ExporterStatus,
    /// Its text.
    pub(crate) message: String,
    /// The lease that begins, lasts or ends.
    pub(crate) lease: Option<Lease>,
    /// None when it is served without a controller.
    pub(crate) link: Option<LinkSnapshot>,
    /// Why it is held back from leases.
    pub(crate) hold: Option<String>,
    /// A changed configuration waits for the end of the lease.
    pub(crate) retiring: bool,
    /// Where clients reach it directly: socket paths and addresses.
    pub(crate) sockets: Vec<String>,
    /// Instances in pre-order, the root first.
    pub(crate) instances: Vec<InstanceSnapshot>,
}

/// One instance.
#[derive(Debug, Clone)]
pub(crate) struct InstanceSnapshot {
    /// Dotted path, empty for the root.
    pub(crate) path: String,
    /// Driver type.
    pub(crate) type_name: String,
    /// Whether it can be used.
    pub(crate) health: Health,
    /// The exclusive call under way, and for how long.
    pub(crate) busy: Option<(String, Duration)>,
}

/// The connection to the controller.
#[derive(Debug, Clone)]
pub(crate) struct LinkSnapshot {
    /// `host:port`.
    pub(crate) endpoint: String,
    /// Registered, and hearing from the controller.
    pub(crate) connected: bool,
    /// For people: what it does, or why it cannot.
    pub(crate) detail: String,
    /// Tunnels of clients that are open.
    pub(crate) tunnels: usize,
}

/// A question to the owner task of an exporter.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Its state; also the proof that the task is alive.
    Snapshot(oneshot::Sender<Snapshot>),
    /// A driver call by a person on the lab host.
    Call(Call),
    /// Hold it back from leases for this reason, or not any more. A lease under way goes on.
    Hold(Option<String>, oneshot::Sender<Result<(), Status>>),
    /// Stop as soon as there is no lease: its configuration has changed, or is gone.
    Retire {
        /// The same exporter goes on with another configuration.
        succeeded: bool,
    },
    /// Rehearse a hook while the exporter is free. The channel gets what it prints, a line at a
    /// time, then its verdict.
    RunHook(Hook, mpsc::Sender<HookNews>),
    /// Open a console for a person.
    Console(OpenConsole),
    /// Write an image of a person to a card.
    Flash(Flash),
}

/// A person flashes an image.
#[derive(Debug)]
pub(crate) struct Flash {
    /// Dotted path of the instance; empty for the only card.
    pub(crate) path: String,
    /// What to call the image.
    pub(crate) image: String,
    /// Its bytes.
    pub(crate) upload: Upload,
    /// The second argument of `write`, if there is one.
    pub(crate) options: Option<Value>,
    /// Write although a client holds a lease.
    pub(crate) force: bool,
    /// `Opened` and what follows, or one error. Progress is left out for a reader that is slow.
    pub(crate) news: mpsc::Sender<Result<FlashNews, Status>>,
}

/// How a write goes.
#[derive(Debug)]
pub(crate) enum FlashNews {
    /// It begins; the path of the instance.
    Opened(String),
    /// So far it is.
    Progress(TransferProgress),
    /// It is done: what `write` returned.
    Done(Value),
}

/// A person opens a console.
#[derive(Debug)]
pub(crate) struct OpenConsole {
    /// Dotted path of the instance; empty for the only one.
    pub(crate) path: String,
    /// The most bytes to begin with of what was said.
    pub(crate) history: usize,
    /// Go on with what is said from now on.
    pub(crate) follow: bool,
    /// Input may come.
    pub(crate) write: bool,
    /// Type although a client holds a lease.
    pub(crate) force: bool,
    /// What is typed.
    pub(crate) input: mpsc::Receiver<Bytes>,
    /// `Opened` and what follows, or one error.
    pub(crate) news: mpsc::Sender<Result<ConsoleNews, Status>>,
}

/// What a console does.
#[derive(Debug)]
pub(crate) enum ConsoleNews {
    /// It is open; the path of the instance.
    Opened(String),
    /// It said something.
    Heard(Heard),
    /// Input was not sent, for this reason.
    NotSent(String),
}

/// A driver call by a person.
#[derive(Debug)]
pub(crate) struct Call {
    /// Dotted path of the instance.
    pub(crate) path: String,
    /// Its method, of either kind.
    pub(crate) method: String,
    /// Its arguments.
    pub(crate) args: Vec<Value>,
    /// Call although a client holds a lease.
    pub(crate) force: bool,
    /// The result, or the items of a streaming call, or one error.
    pub(crate) reply: mpsc::Sender<Result<Value, Status>>,
}

/// What a rehearsed hook does.
#[derive(Debug)]
pub(crate) enum HookNews {
    /// It printed a line.
    Line(String),
    /// It is over: nothing when it did what it should, else why not.
    Ended(Result<(), String>),
    /// It was not run.
    Refused(Status),
}

/// The way to one exporter.
#[derive(Debug, Clone)]
pub(crate) struct ExporterHandle(mpsc::Sender<Ask>);

impl ExporterHandle {
    /// A handle, and the queue that its exporter answers.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, queue) = mpsc::channel(QUESTIONS);
        (Self(asks), queue)
    }

    /// Hands a question over. Cancel-safe.
    ///
    /// # Errors
    /// UNAVAILABLE: the exporter has stopped, or does not answer.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<(), Status> {
        match timeout(ANSWER_LIMIT, self.0.send(ask)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::unavailable("the exporter has stopped")),
            Err(_) => Err(Status::unavailable("the exporter does not answer")),
        }
    }

    /// Nobody will answer any more.
    pub(crate) fn has_stopped(&self) -> bool {
        self.0.is_closed()
    }

    /// Its state. Cancel-safe.
    ///
    /// # Errors
    /// UNAVAILABLE: the exporter has stopped, or does not answer within 2 s.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Status> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Snapshot(reply)).await?;
        match timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(_)) => Err(Status::unavailable("the exporter has stopped")),
            Err(_) => Err(Status::unavailable("the exporter does not answer")),
        }
    }
}

/// What became of an exporter that the daemon serves, or served.
#[derive(Debug, Clone)]
pub(crate) enum Served {
    /// It runs.
    Running(ExporterHandle),
    /// It has ended with this exit code and stays so until the next reload.
    Ended(u8),
}

/// The exporters of the daemon by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exporters(Arc<RwLock<BTreeMap<String, Served>>>);

impl Exporters {
    /// From now on it is `served`.
    pub(crate) fn set(&self, name: &str, served: Served) {
        if let Ok(mut table) = self.0.write() {
            table.insert(name.into(), served);
        }
    }

    /// It is no longer configured.
    pub(crate) fn remove(&self, name: &str) {
        if let Ok(mut table) = self.0.write() {
            table.remove(name);
        }
    }

    /// All of them, in the order of their names.
    pub(crate) fn all(&self) -> Vec<(String, Served)> {
        self.0.read().map_or_else(
            |_| Vec::new(),
            |table| table.iter().map(|(n, s)| (n.clone(), s.clone())).collect(),
        )
    }

    /// The one with this name.
    ///
    /// # Errors
    /// NOT_FOUND with the names there are, UNAVAILABLE when it has ended.
    pub(crate) fn find(&self, name: &str) -> Result<ExporterHandle, Status> {
        let all = self.all();
        match all.iter().find(|(known, _)| known == name) {
            Some((_, Served::Running(handle))) => Ok(handle.clone()),
            Some((_, Served::Ended(code))) => Err(Status::unavailable(format!(
                "exporter '{name}' has ended with exit code {code}"
            ))),
            None => {
                let names: Vec<_> = all.into_iter().map(|(name, _)| name).collect();
                let text = format!("no exporter '{name}'; there are: {}", names.join(", "));
                Err(Status::not_found(text))
            }
        }
    }
}

/// What a reload did, a line for each exporter concerned, or why nothing was changed.
pub(crate) type Reloaded = Result<Vec<String>, String>;

/// Asks the daemon to read its files again.
#[derive(Debug, Clone)]
pub(crate) struct Reload(pub(crate) mpsc::Sender<oneshot::Sender<Reloaded>>);
