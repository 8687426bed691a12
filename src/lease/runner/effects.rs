//! What the machine wants done, done.

use std::time::Duration;

use rigd_driver::{KeyKind, KeyOwner};
use rigd_proto::v1::ExporterStatus;

use super::Runner;
use crate::lease::machine::{Effect, Event, Lease, Outcome};

/// How long a stop that is cut short may still take to sign off: a controller that does not hear of
/// it takes the exporter for online until its stream is missed.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Runner {
    /// Carries one effect out. What takes its time goes on in the background and ends as an event;
    /// what is answered at once gives the event.
    pub(super) async fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Journal(entry) => {
                if let Some(journal) = &mut self.journal {
                    journal.write(entry).await;
                }
                None
            }
            Effect::Show(status, text) => {
                self.show(status, text).await;
                None
            }
            Effect::Report(status, text) => {
                if let Some(link) = &mut self.link {
                    link.report(status, text);
                }
                None
            }
            Effect::Listen(lease) => match &mut self.link {
                Some(link) => {
                    link.listen(lease.name);
                    None
                }
                None => Some(Event::Listening(lease.name)),
            },
            Effect::Release(lease) => match &mut self.link {
                Some(link) => {
                    link.release(lease.name);
                    None
                }
                None => Some(Event::ReleaseAnswered(lease.name)),
            },
            Effect::Prepare(lease) => {
                self.prepare(lease);
                None
            }
            Effect::Transfer(lease) => {
                tracing::info!(
                    lease = lease.name,
                    client = lease.client,
                    "Lease transferred."
                );
                // Clients on their way were sent by the former holder. Those that are still with the
                // controller cannot be told from those of the new one.
                while let Ok(dial) = self.dials.try_recv() {
                    self.clients.dial(dial);
                }
                // Neither sees what the other does.
                self.served.logs.new_epoch();
                self.clients.transfer(&lease.name);
                if let Some(greeting) = &self.greeting {
                    self.clients.greet(greeting);
                }
                self.heard = false;
                self.leased(Some(&lease));
                None
            }
            Effect::RunHook(kind, lease) => {
                let hook = self.hooks.start(kind, &lease).await;
                self.spawn(async move {
                    let outcome = hook.await;
                    if let Outcome::Failed(error) = &outcome {
                        tracing::warn!(
                            hook = kind.key(),
                            lease = lease.name,
                            error,
                            "A hook failed."
                        );
                    }
                    Event::HookEnded(kind, outcome)
                });
                None
            }
            Effect::CutHook(grace) => {
                self.hooks.cut(grace);
                None
            }
            Effect::RevokeClient(reason) => {
                self.clients.end(reason);
                // What hooks and tools may want is theirs from here on.
                self.served.tree.clients_end().await;
                None
            }
            Effect::RunSafeState => {
                let safe_state = self.safe_state.clone();
                let key = self.hooks.key();
                self.spawn(async move {
                    safe_state.run(&key).await;
                    Event::SafeStateDone
                });
                None
            }
            Effect::Forget(lease) => {
                self.hooks.end();
                let tree = self.served.tree.clone();
                self.spawn(async move {
                    tree.lease_end().await;
                    Event::Quiet(lease.name)
                });
                None
            }
            Effect::CloseSession(lease) => {
                if let Some(link) = &mut self.link {
                    link.stop_listening();
                }
                self.clients.close().await;
                if self.link.is_some() {
                    tracing::info!(lease = lease.name, client = lease.client, "Lease ends.");
                }
                self.leased(None);
                None
            }
            Effect::Arm(number, after) => {
                // A time beyond what a clock can hold is no deadline.
                self.deadline = tokio::time::Instant::now()
                    .checked_add(after)
                    .map(|at| (number, at));
                None
            }
            Effect::Leave(_) => {
                self.leave().await;
                None
            }
        }
    }

    async fn show(&mut self, status: ExporterStatus, text: String) {
        // Clients must find the greeting of the hook when they are let in.
        if status == ExporterStatus::LeaseReady {
            self.greeting = self.hooks.greeting();
            if let Some(greeting) = &self.greeting {
                self.clients.greet(greeting);
            }
            self.served.tree.clients_start().await;
            if let Some(ready) = self.ready.take() {
                // Whoever does not listen is not interested.
                ready.send(()).ok();
            }
        }
        self.served.status.set(status, text);
    }

    fn prepare(&mut self, lease: Lease) {
        // What a hook of the lease before printed is not for the client of this one.
        self.served.logs.new_epoch();
        if self.link.is_some() {
            tracing::info!(lease = lease.name, client = lease.client, "Lease begins.");
            self.served
                .status
                .set(ExporterStatus::Available, "A lease begins");
        }
        self.clients.open(&lease.name);
        self.greeting = None;
        self.heard = false;
        // What a person began while the exporter was free is not to run into the lease.
        self.people.revoke("a lease begins");
        self.people = KeyOwner::issue(KeyKind::Daemon);
        self.leased(Some(&lease));
        let tree = self.served.tree.clone();
        self.spawn(async move {
            tree.lease_start().await;
            Event::Prepared(lease.name)
        });
    }

    /// Who holds it now.
    fn leased(&mut self, lease: Option<&Lease>) {
        if let Some(link) = &self.link {
            link.leased(lease);
            self.holder.send_replace(lease.cloned());
        }
    }

    async fn leave(&mut self) {
        let (link, cut) = (self.link.take(), self.cut.clone());
        // cancel-safe: a rehearsal that is dropped is killed with its group.
        tokio::select! {
            () = self.end_rehearsal() => {}
            () = cut.cancelled() => {}
        }
        let clients = &self.clients;
        let leave = async {
            if let Some(link) = link {
                link.leave().await;
            }
            clients.gone().await;
        };
        let hurry = async {
            cut.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        // cancel-safe: what is left undone is dropped, which ends it.
        tokio::select! {
            () = leave => {}
            () = hurry => {}
        }
    }
}
