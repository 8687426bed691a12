//! Driver byte streams: frames of a client to and from a [`ByteStream`].
//!
//! ```text
//!   client ──Frames──> uplink task ──Backlog──> ByteSink ──> device
//!   client <──frames── downlink (the response) <── reader <── device
//!
//!   both directions open ─┬─ client GOAWAY/close ─> sink.finish, downlink goes on
//!                         └─ device end ─> GOAWAY, uplink is swallowed
//!   both ended: the call ends with OK
//! ```
//!
//! The two directions end independently. An error in either ends the call with its status.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream};
use rigd_driver::{Boundaries, ByteStream, DriverError, Key};
use rigd_proto::v1::StreamResponse;
use tokio::{sync::oneshot, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tonic::{Code, Status};

use super::{
    backlog::Backlog,
    errors,
    frames::{self, Frames, Uplink},
    small_frames::{SmallFrames, Stalled},
};

/// How long frames are taken that a client sent before it learned that its call is over. h2 would
/// reset the stream at once, and charge each tiny frame that comes after that to the connection's
/// budget for good. A client that has learned it closes.
const LAST_FRAMES: Duration = Duration::from_secs(2);

/// Serves `stream` to the client behind `frames`; the result is the response of the call.
pub(super) fn serve(
    stream: ByteStream,
    frames: Frames,
    key: Key,
    small: Arc<SmallFrames>,
    tasks: &TaskTracker,
) -> impl Stream<Item = Result<StreamResponse, Status>> + Send + use<> {
    let ByteStream {
        reader,
        writer,
        boundaries,
        ..
    } = stream;
    let (ended, uplink) = oneshot::channel();
    let gone = CancellationToken::new();
    let guard = gone.clone().drop_guard();
    let downlink_key = key.clone();
    let closed = CancellationToken::new();
    let uplink_closed = closed.clone();
    tasks.spawn(async move {
        let mut uplink = UplinkTask {
            frames,
            writer,
            boundaries,
            small,
        };
        // cancel-safe: the stream is of no use after either of the first two. The key first: nothing
        // reaches a device without a live one.
        let outcome = tokio::select! {
            biased;
            fenced = key.revoked() => Some(Err(fenced.into())),
            () = gone.cancelled() => None,
            outcome = uplink.run() => Some(outcome),
        };
        if let Some(outcome) = outcome {
            // Nobody listens when the call is over already.
            ended.send(outcome).ok();
            // Swallows what a client still sends, so that its flow control never wedges; the sink
            // is dropped only with the call, since some devices take its drop for the client's
            // death.
            tokio::select! { () = gone.cancelled() => {}, () = uplink.frames.swallow() => {} }
            uplink_closed.cancel();
            gone.cancelled().await;
        }
        let UplinkTask {
            mut frames, writer, ..
        } = uplink;
        drop(writer);
        // cancel-safe: what comes now is dropped anyway.
        tokio::select! {
            _ = key.revoked() => {}
            _ = timeout(LAST_FRAMES, frames.drain()) => {}
        }
    });
    let call = Call {
        key: downlink_key,
        closed,
        _guard: guard,
    };
    let state = Downlink::Open {
        reader,
        uplink,
        uplink_done: false,
        call,
    };
    stream::unfold(state, Downlink::next)
}

struct UplinkTask {
    frames: Frames,
    writer: Box<dyn rigd_driver::ByteSink>,
    boundaries: Boundaries,
    small: Arc<SmallFrames>,
}

impl UplinkTask {
    /// Until the client sends no more and the device has everything.
    async fn run(&mut self) -> Result<(), DriverError> {
        let mut backlog = Backlog::new(self.boundaries);
        let mut stalled = Stalled::new(self.small.clone());
        let mut open = true;
        loop {
            let Some(chunk) = backlog.pop() else {
                if !open {
                    return self.writer.finish().await;
                }
                match self.frames.next().await {
                    Uplink::Data(bytes) => {
                        stalled.count(bytes.len());
                        backlog.push(bytes);
                    }
                    Uplink::Goaway | Uplink::Closed => open = false,
                    Uplink::Broken(status) => return Err(broken(&status)),
                }
                continue;
            };
            let mut send = pin!(self.writer.send(chunk));
            loop {
                stalled.waits(backlog.is_full())?;
                // cancel-safe: `send` is pinned outside, `next` loses nothing.
                tokio::select! {
                    sent = &mut send => {
                        sent?;
                        break;
                    }
                    event = self.frames.next(), if open && !backlog.is_full() => match event {
                        Uplink::Data(bytes) => {
                            stalled.count(bytes.len());
                            backlog.push(bytes);
                        }
                        Uplink::Goaway | Uplink::Closed => open = false,
                        Uplink::Broken(status) => return Err(broken(&status)),
                    },
                }
            }
            stalled.waits(false)?;
        }
    }
}

fn broken(status: &Status) -> DriverError {
    let text = format!("the client's stream broke: {}", status.message());
    match status.code() {
        // A frame beyond the limit of a message.
        Code::OutOfRange | Code::ResourceExhausted => DriverError::Exhausted(text),
        _ => DriverError::Cancelled(text),
    }
}

type Reader = stream::BoxStream<'static, Result<bytes::Bytes, DriverError>>;

/// What lasts as long as the call.
struct Call {
    key: Key,
    /// Cancelled when the client sends no more.
    closed: CancellationToken,
    // Tells the uplink that the call is over.
    _guard: DropGuard,
}

enum Downlink {
    Open {
        reader: Reader,
        uplink: oneshot::Receiver<Result<(), DriverError>>,
        uplink_done: bool,
        call: Call,
    },
    /// GOAWAY is sent; the call lasts until the client's direction is over as well.
    Ending {
        uplink: Option<oneshot::Receiver<Result<(), DriverError>>>,
        call: Call,
    },
    Over,
}

impl Downlink {
    async fn next(self) -> Option<(Result<StreamResponse, Status>, Self)> {
        match self {
            Self::Open {
                mut reader,
                mut uplink,
                mut uplink_done,
                call,
            } => loop {
                // cancel-safe: the arms only take what is there. The key comes first: devices end
                // their streams with it, which would look like an end of the data.
                let item = tokio::select! {
                    biased;
                    fenced = call.key.revoked() => return Some(end(&fenced.into())),
                    outcome = &mut uplink, if !uplink_done => {
                        uplink_done = true;
                        match outcome {
                            Ok(Err(error)) => return Some(end(&error)),
                            Ok(Ok(())) => continue,
                            // The device's side failed unexpectedly; a console that takes no
                            // input without a word would be worse than its end.
                            Err(_) => return Some(end(&input_failed())),
                        }
                    }
                    item = reader.next() => item,
                };
                return Some(match item {
                    Some(Ok(bytes)) => {
                        let open = Self::Open {
                            reader,
                            uplink,
                            uplink_done,
                            call,
                        };
                        (Ok(frames::data(bytes)), open)
                    }
                    Some(Err(error)) => end(&error),
                    None => {
                        let uplink = (!uplink_done).then_some(uplink);
                        (Ok(frames::goaway()), Self::Ending { uplink, call })
                    }
                });
            },
            Self::Ending { uplink, call } => {
                match uplink?.await {
                    Ok(Err(error @ DriverError::Fenced(_))) => Some(end(&error)),
                    // The device takes no more; what the client still sends is swallowed.
                    Ok(Err(_)) => tokio::select! {
                        biased;
                        fenced = call.key.revoked() => Some(end(&fenced.into())),
                        () = call.closed.cancelled() => None,
                    },
                    Ok(Ok(())) | Err(_) => None,
                }
            }
            Self::Over => None,
        }
    }
}

fn input_failed() -> DriverError {
    DriverError::Unknown(
        "the input of the stream failed unexpectedly; the daemon's log has the place".into(),
    )
}

fn end(error: &DriverError) -> (Result<StreamResponse, Status>, Downlink) {
    (Err(errors::status(error)), Downlink::Over)
}
