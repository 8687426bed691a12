//! Answers to people on the lab host.

use futures::StreamExt;
use rigd_driver::{Instance, Key};
use serde_json::Value;
use std::sync::Arc;
use tonic::Status;
use tracing::Instrument;

use super::{Runner, disk};
use crate::{
    daemon::handle::{Ask, Call, InstanceSnapshot, Snapshot},
    lease::{
        hold::MAX_REASON,
        machine::{Event, Lease, State},
    },
    session::status_of,
};

impl Runner {
    pub(super) async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Snapshot(reply) => {
                // Whoever asked may have gone; so below.
                reply.send(self.snapshot()).ok();
            }
            Ask::Call(call) => self.call(call),
            Ask::Hold(reason, reply) => {
                let result = self.hold(reason).await;
                reply.send(result).ok();
            }
            Ask::Retire { succeeded } => {
                self.retiring = true;
                self.tell(Event::Retire { succeeded }).await;
            }
            Ask::RunHook(kind, news) => self.rehearse(kind, news).await,
            Ask::Console(open) => self.console(open),
            Ask::Flash(flash) => self.flash(flash),
        }
    }

    /// The lease that begins, lasts or ends. None for the one that a run without a controller is.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.link.as_ref()?;
        match self.machine.state() {
            State::Preparing { lease, .. }
            | State::BeforeHook { lease }
            | State::Ready { lease } => Some(lease.clone()),
            State::Interrupting(ending)
            | State::AfterHook(ending)
            | State::SafeState(ending)
            | State::Quiet(ending)
            | State::Lingering(ending)
            | State::Releasing(ending) => Some(ending.lease.clone()),
            State::Unknown { left } => left.as_ref().map(|entry| entry.lease.clone()),
            State::Available | State::Stopped(_) => None,
        }
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.served.status.response();
        let instances = self.served.tree.instances().into_iter();
        let instances = instances.map(|instance| InstanceSnapshot {
            path: instance.path().into(),
            type_name: instance.blueprint().type_name().into(),
            health: instance.health(),
            busy: instance.busy(),
        });
        let link = self.link.as_ref();
        Snapshot {
            status: now.status(),
            message: now.message.unwrap_or_default(),
            lease: self.lease(),
            link: link.map(|link| link.snapshot(self.clients.tunnels())),
            hold: self.held.clone(),
            retiring: self.retiring,
            sockets: self.sockets.clone(),
            instances: instances.collect(),
        }
    }

    fn call(&self, call: Call) {
        let refused = match self.lease() {
            Some(lease) if !call.force => Some(Status::failed_precondition(format!(
                "leased to '{}' (lease {}); --force calls all the same",
                lease.client, lease.name
            ))),
            _ => None,
        };
        let instance = self.served.tree.by_path(&call.path).cloned();
        let key = self.people.key();
        let work = async move {
            let reply = call.reply.clone();
            let error = match (refused, instance) {
                (Some(refused), _) => Some(refused),
                // cancel-safe: a call that is dropped is cancelled where the hardware allows it.
                (None, Some(instance)) => tokio::select! {
                    done = carry_out(instance, key, call) => done.err(),
                    () = reply.closed() => None,
                },
                (None, None) => Some(Status::not_found(format!(
                    "no instrument '{}'; `rigd status --all` lists them",
                    call.path
                ))),
            };
            if let Some(error) = error {
                reply.send(Err(error)).await.ok();
            }
        };
        self.tasks.spawn(work.in_current_span());
    }

    async fn hold(&mut self, reason: Option<String>) -> Result<(), Status> {
        if self.link.is_none() {
            return Err(Status::failed_precondition(
                "served without a controller: nobody assigns leases that could be held back",
            ));
        }
        if reason
            .as_ref()
            .is_some_and(|r| r.len() > MAX_REASON || r.trim().is_empty())
        {
            let text = format!("the reason must have 1 to {MAX_REASON} bytes");
            return Err(Status::invalid_argument(text));
        }
        let kept = disk::write_hold(self.hold.clone(), reason.clone()).await;
        tracing::info!(reason, "Hold changed.");
        self.held = reason;
        if self.rehearsal.is_none() {
            self.tell(Event::Hold(self.held.clone())).await;
        }
        kept.map_err(|error| {
            Status::internal(format!(
                "done, but it will not survive a restart of the daemon: {error}"
            ))
        })
    }
}

/// The call of a person; of either kind.
async fn carry_out(instance: Arc<Instance>, key: Key, call: Call) -> Result<(), Status> {
    let Call {
        method,
        args,
        reply,
        ..
    } = call;
    tracing::info!(
        instance = instance.path(),
        method,
        "Called from the lab host."
    );
    let streaming = instance
        .blueprint()
        .methods()
        .into_iter()
        .any(|(name, kind)| name == method && kind == rigd_driver::MethodKind::StreamingCall);
    let ended = || Status::cancelled("nobody waits for the answer");
    if !streaming {
        let result: Value = instance
            .call(&key, None, &method, args)
            .await
            .map_err(|error| status_of(&error))?;
        return reply.send(Ok(result)).await.map_err(|_| ended());
    }
    let items = instance
        .streaming_call(&key, None, &method, args)
        .map_err(|error| status_of(&error))?;
    let mut items = std::pin::pin!(items);
    while let Some(item) = items.next().await {
        let item = item.map_err(|error| status_of(&error))?;
        reply.send(Ok(item)).await.map_err(|_| ended())?;
    }
    Ok(())
}
