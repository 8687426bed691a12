//! Bodies of requests that must arrive in time: one that never ends would keep its call, and what was
//! read of it, for ever.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

/// How long the request of a call with one message may take to arrive: 4 MiB through 4 Mbit/s. Those of
/// known peers come with the headers.
pub(crate) const ARRIVAL: Duration = Duration::from_secs(10);

/// A body that fails with DEADLINE_EXCEEDED when it has not ended in time.
#[derive(Debug)]
pub(crate) struct Timely {
    body: Body,
    limit: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl Timely {
    /// A body that must end within `limit`.
    pub(crate) fn body(body: Body, limit: Duration) -> Body {
        if http_body::Body::is_end_stream(&body) {
            return body;
        }
        Body::new(Self {
            body,
            limit,
            deadline: Box::pin(sleep(limit)),
        })
    }
}

impl http_body::Body for Timely {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(self.deadline.as_mut().poll(cx));
        let seconds = self.limit.as_secs();
        let late = format!("the request did not arrive within {seconds} s");
        Poll::Ready(Some(Err(Status::deadline_exceeded(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
