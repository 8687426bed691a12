//! The responses of one call: frames of the other end, then how the pair ended.
//!
//! It is what keeps an end in the table: dropping it, as the server does when a call is over or was
//! cancelled, is how that end leaves.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::Stream;
use rigd_proto::v1::StreamResponse;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tonic::Status;

use super::{
    Shared,
    pair::{Fate, LINGER, Pair, Side, left},
};

/// The responses of one call.
#[derive(Debug)]
pub struct Outbound(State);

#[derive(Debug)]
enum State {
    Joined(End),
    /// The other end left before this one came.
    Late,
    Done,
}

#[derive(Debug)]
struct End {
    shared: Arc<Shared>,
    pair: Arc<Pair>,
    side: Side,
    stream: String,
    /// Of a first one, until it is joined.
    patience: Option<Patience>,
}

#[derive(Debug)]
struct Patience {
    limit: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Outbound {
    pub(super) fn new(shared: Arc<Shared>, pair: Arc<Pair>, side: Side, stream: String) -> Self {
        let limit = shared.limits.wait;
        let patience = (side == Side::First).then(|| Patience {
            limit,
            timer: Box::pin(sleep(limit)),
        });
        let end = End {
            shared,
            pair,
            side,
            stream,
            patience,
        };
        Self(State::Joined(end))
    }

    pub(super) fn late() -> Self {
        Self(State::Late)
    }

    /// Ends both calls of the stream.
    pub(super) fn cut(&self, status: Status) {
        if let State::Joined(end) = &self.0 {
            end.pair.cut(status);
        }
    }
}

impl Stream for Outbound {
    type Item = Result<StreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let last = match &mut self.0 {
            State::Joined(end) => match ready!(end.poll(cx)) {
                Ok(frame) => return Poll::Ready(Some(Ok(frame))),
                Err(last) => last,
            },
            State::Late => Some(left()),
            State::Done => None,
        };
        self.0 = State::Done;
        Poll::Ready(last.map(Err))
    }
}

impl End {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<StreamResponse, Option<Status>>> {
        if self.patience.is_some() {
            if self.pair.is_open(Side::Second) {
                self.patience = None;
            } else {
                self.poll_patience(cx);
            }
        }
        let response = ready!(self.pair.poll_response(self.side, cx));
        if let Ok(frame) = &response {
            let bytes = frame.payload.len() as u64;
            self.shared.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Poll::Ready(response)
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) {
        let Some(patience) = &mut self.patience else {
            return;
        };
        if patience.timer.as_mut().poll(cx).is_pending() {
            return;
        }
        let limit = patience.limit.as_secs();
        self.patience = None;
        let mut table = self.shared.table();
        // Otherwise it is joined in this moment.
        if table.expire(&self.stream, self.pair.serial, Instant::now()) {
            drop(table);
            tracing::debug!("Nobody joined a stream.");
            self.pair.cut(Status::deadline_exceeded(format!(
                "nobody joined this stream within {limit} s"
            )));
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let (pair, side) = (&self.pair, self.side);
        pair.settle(Fate::Left);
        pair.part();
        // Nobody is there for what the other one sends.
        pair.close(side.other());
        let mut table = self.shared.table();
        let other_stays = table.leave(&self.stream, pair.serial, Instant::now());
        drop(table);
        if !other_stays {
            pair.close(side);
            pair.last_left.cancel();
        } else if pair.is_open(side) {
            self.shared.tasks.spawn(linger(Arc::clone(pair), side));
        }
    }
}

/// Gives the other end some time for what this one had sent.
async fn linger(pair: Arc<Pair>, side: Side) {
    if timeout(LINGER, pair.last_left.cancelled()).await.is_err() {
        pair.close(side);
    }
}
