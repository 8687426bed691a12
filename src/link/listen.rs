//! Asks the controller for the clients of a lease, for as long as the lease lasts.
//!
//! ```text
//!   call spawned ── request sent ──> Listening (told once) ── items ──> dials
//!        ^                                                      │
//!        └── back-off ── failed, or superseded by another ──────┘
//! ```
//!
//! A Go server sends its headers with the first item, which may never come: the call counts as open
//! when its request was sent.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use rigd_proto::v1::{ListenRequest, ListenResponse};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};
use tonic::{Status, client::Grpc, codec::Streaming};
use tonic_prost::ProstCodec;

use super::{
    backoff::{Backoff, Trouble},
    controller::{Controller, Failed},
};
use crate::lease::machine::Event;

/// The full name of the method.
const METHOD: &str = "/jumpstarter.v1.ControllerService/Listen";
/// A call that was open for longer was not superseded by a rival that fights for it.
const STABLE: Duration = Duration::from_secs(60);
/// Longest wait while clients may be waiting too: theirs end after some 20 s.
const LONGEST: Duration = Duration::from_secs(5);
/// Ends in a row after which it is no accident.
const RIVALRY: u32 = 3;

/// A client that wants to come in.
#[derive(Debug)]
pub(crate) struct Dial {
    /// The lease it was sent for.
    pub(crate) lease: String,
    /// Where it waits.
    pub(crate) place: ListenResponse,
}

/// Listens until it is dropped.
pub(super) async fn run(
    controller: Arc<Controller>,
    lease: String,
    events: mpsc::Sender<Event>,
    dials: mpsc::Sender<Dial>,
) {
    let mut backoff = Backoff::default();
    let mut superseded = 0;
    let mut told = false;
    let mut registered = controller.registered.subscribe();
    loop {
        registered.mark_unchanged();
        let began = Instant::now();
        let outcome = listen(&controller, &lease, &events, &mut told, &dials).await;
        if began.elapsed() > STABLE {
            superseded = 0;
        }
        backoff.lasted(began.elapsed());
        let mut delay = backoff.next(Trouble::Passing);
        match outcome {
            Ok(()) => {
                superseded += 1;
                if superseded >= RIVALRY {
                    tracing::error!(
                        lease,
                        again_in_s = delay.as_secs(),
                        "Another daemon listens for this lease as exporter {}: it seems to run \
                         twice. Stop one of them.",
                        controller.name
                    );
                    controller.rival(superseded);
                }
            }
            Err(failed) => {
                tracing::debug!(lease, error = failed.text, "Not listening for clients.");
                delay = delay.min(LONGEST);
            }
        }
        // cancel-safe: both only wait.
        tokio::select! {
            () = sleep(delay) => {}
            _ = registered.changed() => {}
        }
    }
}

/// One call. Ends well when the controller ended it: somebody else listens.
async fn listen(
    controller: &Controller,
    lease: &str,
    events: &mpsc::Sender<Event>,
    told: &mut bool,
    dials: &mpsc::Sender<Dial>,
) -> Result<(), Failed> {
    let (sent, was_sent) = oneshot::channel::<()>();
    let message = ListenRequest {
        lease_name: lease.into(),
    };
    // The second look at the stream comes when the first message was taken.
    let end = stream::once(async move {
        sent.send(()).ok();
        None
    });
    let messages = stream::once(std::future::ready(Some(message)))
        .chain(end)
        .filter_map(std::future::ready);
    let request = controller.request(messages)?;
    let mut grpc = Grpc::new(controller.channel());
    grpc.ready()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    let path = http::uri::PathAndQuery::from_static(METHOD);
    let codec: ProstCodec<ListenRequest, ListenResponse> = ProstCodec::default();
    let mut call = std::pin::pin!(grpc.streaming(request, path, codec));
    // cancel-safe: the call is pinned outside.
    let answered = tokio::select! {
        biased;
        Ok(()) = was_sent => None,
        answer = &mut call => Some(answer),
    };
    if answered.is_none() && !std::mem::replace(told, true) {
        // A machine that is gone needs no word.
        events.send(Event::Listening(lease.into())).await.ok();
    }
    let answer = match answered {
        Some(answer) => answer,
        None => call.await,
    };
    let mut items: Streaming<ListenResponse> = answer?.into_inner();
    while let Some(place) = items.message().await? {
        let dial = Dial {
            lease: lease.into(),
            place,
        };
        if dials.send(dial).await.is_err() {
            break;
        }
    }
    Ok(())
}
