//! RouterService: joins the two streams that come with one token, and copies frames verbatim.
//!
//! ```text
//!   first with a token -- waits --> joined with the second --> over: both ended, or either failed
//! ```
//!
//! Response headers wait for the peer's first frame, as with grpc-go.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::SeqCst},
};

use futures::{StreamExt as _, stream::BoxStream};
use rigd_proto::v1::{StreamRequest, StreamResponse, router_service_server::RouterService};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{Request, Response, Status, Streaming};

use super::{
    caller::bearer,
    controller::OnDrop,
    heard::{Rpc, What},
    state::{Shared, State},
};

/// Frames on their way; a peer that does not read stops the other one.
const FRAMES: usize = 4;

pub(super) struct Router(pub(super) Arc<Shared>);

/// The place of the peer that has not come yet.
pub(super) struct Waiting(Side);

/// What one of the two streams needs.
struct Side {
    out: mpsc::Receiver<StreamResponse>,
    into: mpsc::Sender<StreamResponse>,
    pair: Arc<Pair>,
    first: bool,
}

/// How far a pair is.
#[derive(Default)]
struct Pair {
    ended: AtomicU8,
    /// Both peers ended their direction.
    over: CancellationToken,
    /// One of them failed or left.
    broken: CancellationToken,
}

#[tonic::async_trait]
impl RouterService for Router {
    type StreamStream = BoxStream<'static, Result<StreamResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let token = bearer(request.metadata())
            .map_err(|why| {
                let text = format!("missing or invalid authorization: {}", why.message());
                Status::unauthenticated(text)
            })?
            .to_owned();
        let lease = self.0.look().dials.get(&token).cloned();
        let lease = lease.ok_or_else(|| Status::unauthenticated("invalid jwt token"))?;
        let what = What::RouterOpened {
            lease: lease.clone(),
        };
        let effect = |state: &mut State| Ok(join(state, &token));
        let side = self.0.admit(Rpc::RouterStream, "", what, effect).await?;
        let (shared, pair) = (self.0.clone(), side.pair.clone());
        let closed = OnDrop::new(move || {
            // The peer does not wait for somebody who left, and nobody joins him any more.
            pair.broken.cancel();
            shared.change(|state| {
                if let Some(Waiting(other)) = state.waiting.get(&token)
                    && Arc::ptr_eq(&other.pair, &pair)
                {
                    state.waiting.remove(&token);
                }
                state.hear("", What::RouterClosed { lease });
            });
        });
        side.serve(request.into_inner(), closed).await
    }
}

/// The place that waits for this token, or a new pair.
fn join(state: &mut State, token: &str) -> Side {
    if let Some(Waiting(side)) = state.waiting.remove(token) {
        return side;
    }
    let pair = Arc::<Pair>::default();
    let (to_first, from_second) = mpsc::channel(FRAMES);
    let (to_second, from_first) = mpsc::channel(FRAMES);
    let side = |out, into, first| Side {
        out,
        into,
        pair: pair.clone(),
        first,
    };
    let second = Waiting(side(from_first, to_first, false));
    let place = match state.pairs {
        true => token.to_owned(),
        // Its ends must stay open, under a name that no caller has.
        false => format!("unpaired {}", state.number()),
    };
    state.waiting.insert(place, second);
    side(from_second, to_second, true)
}

impl Side {
    async fn serve(
        self,
        inbound: Streaming<StreamRequest>,
        closed: OnDrop,
    ) -> Result<Response<BoxStream<'static, Result<StreamResponse, Status>>>, Status> {
        let pump = tokio::spawn(pump(inbound, self.into, self.pair.clone()));
        let mut outbound = Outbound {
            out: Some(self.out),
            pair: self.pair,
            first: self.first,
            _pump: AbortOnDropHandle::new(pump),
            _closed: closed,
        };
        let head = match outbound.next().await {
            Some(Err(status)) => return Err(status),
            head => head,
        };
        let rest = futures::stream::unfold(outbound, |mut outbound| async {
            outbound.next().await.map(|item| (item, outbound))
        });
        Ok(Response::new(
            futures::stream::iter(head).chain(rest).boxed(),
        ))
    }
}

async fn pump(
    mut inbound: Streaming<StreamRequest>,
    into: mpsc::Sender<StreamResponse>,
    pair: Arc<Pair>,
) {
    loop {
        match inbound.message().await {
            Ok(Some(StreamRequest {
                payload,
                frame_type,
            })) => {
                let frame = StreamResponse {
                    payload,
                    frame_type,
                };
                if into.send(frame).await.is_err() {
                    return;
                }
            }
            Ok(None) => break,
            Err(_) => return pair.broken.cancel(),
        }
    }
    drop(into);
    if pair.ended.fetch_add(1, SeqCst) == 1 {
        pair.over.cancel();
    }
}

/// One peer's responses. Dropped with the call, which breaks the pair unless it is over.
struct Outbound {
    /// Until the other peer ended its direction.
    out: Option<mpsc::Receiver<StreamResponse>>,
    pair: Arc<Pair>,
    first: bool,
    _pump: AbortOnDropHandle<()>,
    _closed: OnDrop,
}

impl Outbound {
    async fn next(&mut self) -> Option<Result<StreamResponse, Status>> {
        if let Some(out) = &mut self.out {
            // What is queued still goes out.
            tokio::select! {
                biased;
                frame = out.recv() => match frame {
                    Some(frame) => return Some(Ok(frame)),
                    None => self.out = None,
                },
                () = self.pair.broken.cancelled() => {}
            }
        }
        tokio::select! {
            biased;
            () = self.pair.over.cancelled() => None,
            // The first peer's call ends with OK, the second's with what went wrong.
            () = self.pair.broken.cancelled() => match self.first {
                true => None,
                false => Some(Err(Status::cancelled("context canceled"))),
            },
        }
    }
}
