//! Status: an exporter hears who holds it, and is there for as long as it listens.
//!
//! The stream has no queue of its own: what it tells is the holding of the moment at which HTTP/2
//! takes the next message.

use std::time::{Duration, SystemTime};

use futures::stream;
use rigd_proto::v1::StatusResponse;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tonic::Status;
use uuid::Uuid;

use super::{Answers, ControllerService};
use crate::{
    auth::{Kind, Refusal},
    engine::{Engine, Holding},
    presence,
};

/// How often an open stream refreshes when its exporter was seen, as Jumpstarter's controller does.
const SEEN_EVERY: Duration = Duration::from_secs(10);

impl ControllerService {
    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    pub(super) fn do_status(&self, name: &str) -> Result<Answers<StatusResponse>, Status> {
        let here = Here::open(&self.engine, name);
        let here = here.ok_or_else(|| self.vanished(Kind::Exporter, name))?;
        let holding = self.engine.holding(name);
        let mut seen = interval_at(Instant::now() + SEEN_EVERY, SEEN_EVERY);
        seen.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let following = Following {
            here,
            holding,
            seen,
            told: None,
            signed_off: false,
        };
        Ok(Box::pin(stream::unfold(
            Some(following),
            |following| async {
                let mut following = following?;
                match following.next().await {
                    Ok(told) => Some((Ok(told), Some(following))),
                    Err(end) => Some((Err(end), None)),
                }
            },
        )))
    }
}

/// One stream.
struct Following {
    here: Here,
    holding: watch::Receiver<Holding>,
    seen: Interval,
    /// Nothing yet, or what was said last.
    told: Option<Holding>,
    /// It was so at the last look.
    signed_off: bool,
}

impl Following {
    /// The next message; an error ends the stream.
    async fn next(&mut self) -> Result<StatusResponse, Status> {
        loop {
            if let Some(news) = self.news() {
                let response = response(&news);
                self.told = Some(news);
                return Ok(response);
            }
            // cancel-safe: both only wait.
            tokio::select! {
                changed = self.holding.changed() => if changed.is_err() {
                    return Err(self.here.gone());
                },
                _ = self.seen.tick() => self.look()?,
            }
        }
    }

    /// What is to be said now, of what is not the same as what was said last.
    fn news(&mut self) -> Option<Holding> {
        let now = self.holding.borrow_and_update();
        let Some(told) = &self.told else {
            return Some(now.clone());
        };
        if *told == *now {
            return None;
        }
        // Exporters begin with a lease only after they heard that the one before is over.
        let another = !told.lease.is_empty() && !now.lease.is_empty() && told.lease != now.lease;
        match another {
            true => Some(Holding::default()),
            false => Some(now.clone()),
        }
    }

    /// Notes that it is there, and checks that it still may be.
    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    fn look(&mut self) -> Result<(), Status> {
        let here = &self.here;
        let registered = here.engine.note(&here.name, |exporter, now| {
            if exporter.uid != here.uid {
                return None;
            }
            exporter.presence.last_seen = Some(now);
            Some((presence::is_registered(exporter), exporter.tokens_from))
        });
        let (registered, tokens_from) = registered.flatten().ok_or_else(|| here.gone())?;
        if tokens_from != here.tokens_from {
            return Err(Refusal::Unverified("oidc: token was revoked").into());
        }
        // Whoever signs off closes its stream soon: this is another process of the same name, and it
        // would never register anew.
        if !registered && std::mem::replace(&mut self.signed_off, true) {
            tracing::warn!(
                exporter = here.name,
                "This exporter signed off, and is still there: it seems to run twice."
            );
            here.engine.presence(&here.name, |exporter, _| {
                exporter.presence.registered = true;
                exporter.presence.status = None;
                exporter.presence.message.clear();
            });
        }
        self.signed_off &= !registered;
        Ok(())
    }
}

fn response(holding: &Holding) -> StatusResponse {
    let leased = !holding.lease.is_empty();
    StatusResponse {
        leased,
        lease_name: leased.then(|| holding.lease.clone()),
        client_name: leased.then(|| holding.client.clone()),
        context: holding.context.clone(),
    }
}

/// One open stream of an exporter; dropping it, as the server does also with the streams of peers
/// that vanish, is how it leaves.
struct Here {
    engine: Engine,
    name: String,
    /// A later exporter of this name is somebody else.
    uid: Uuid,
    tokens_from: SystemTime,
}

impl Here {
    fn open(engine: &Engine, name: &str) -> Option<Self> {
        let (uid, tokens_from) = engine.presence(name, |exporter, now| {
            exporter.presence.opened(now);
            (exporter.uid, exporter.tokens_from)
        })?;
        Some(Self {
            engine: engine.clone(),
            name: name.to_owned(),
            uid,
            tokens_from,
        })
    }

    fn gone(&self) -> Status {
        let refusal = Refusal::NotFound {
            kind: Kind::Exporter,
            namespace: self.engine.namespace().to_owned(),
            name: self.name.clone(),
        };
        refusal.into()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.engine.presence(&self.name, |exporter, now| {
            if exporter.uid == self.uid {
                exporter.presence.closed(now);
            }
        });
    }
}
