//! Byte streams of a device. A direction ends with a GOAWAY frame and a half-close; a channel that
//! is dropped before is cancelled, so that a broken upload never looks complete.

use std::{future::pending, mem};

use bytes::Bytes;
use futures::{Stream, stream};
use rigd_proto::v1::{
    FrameType, StreamRequest, StreamResponse, router_service_client::RouterServiceClient,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::{
    CancellationHandle, Request, Response, Status, Streaming, metadata::MetadataMap,
    transport::Channel,
};

use crate::{Error, error::Place};

/// Largest payload of a frame: what Jumpstarter's peers send, far below gRPC's limit of 4 MiB.
pub(crate) const FRAME_SIZE: usize = 64 * 1024;

/// Frames that wait for the connection, at most 2 MiB. Small frames need some depth so that the
/// connection joins them.
const QUEUED_FRAMES: usize = 32;

/// An open byte stream: two directions that end independently.
///
/// Dropping it cancels the stream at the exporter, also when bytes are still on their way; call
/// [`finish`](Self::finish) and read to the end when they must arrive. While the exporter does not
/// read, the cancellation can be late, but it never looks like an end.
#[derive(Debug)]
pub struct ByteChannel {
    sender: ByteSender,
    receiver: ByteReceiver,
}

/// The direction to the device. Dropping it before [`finish`](Self::finish) cancels the stream.
#[derive(Debug)]
pub struct ByteSender {
    frames: mpsc::Sender<StreamRequest>,
    /// Present until the direction ended.
    cancel: Option<CancellationHandle>,
    place: Place,
}

/// The direction from the device.
#[derive(Debug)]
pub struct ByteReceiver {
    state: Incoming,
    place: Place,
}

#[derive(Debug)]
enum Incoming {
    /// Peers may send headers only with their first message, so bytes go out before they arrive.
    Opening(OpeningTask),
    Open(Box<Streaming<StreamResponse>>),
    /// The device sends no more. The stream is kept: dropping it would cancel the other direction.
    Finished {
        _stream: Box<Streaming<StreamResponse>>,
    },
    Ended,
}

/// Ends the call when nobody waits for its headers any more.
#[derive(Debug)]
struct OpeningTask(JoinHandle<Result<Response<Streaming<StreamResponse>>, Status>>);

impl Drop for OpeningTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ByteChannel {
    /// Sends the request at once and returns without waiting for an answer. Must be called within
    /// a tokio runtime.
    pub(crate) fn open(
        mut client: RouterServiceClient<Channel>,
        metadata: MetadataMap,
        place: Place,
    ) -> Self {
        let (frames, queue) = mpsc::channel(QUEUED_FRAMES);
        let mut request = Request::from_parts(metadata, Default::default(), outgoing(queue));
        let cancel = request.cancellation_handle();
        let opening = OpeningTask(tokio::spawn(async move { client.stream(request).await }));
        Self {
            sender: ByteSender {
                frames,
                cancel: Some(cancel),
                place: place.clone(),
            },
            receiver: ByteReceiver {
                state: Incoming::Opening(opening),
                place,
            },
        }
    }

    /// Sends bytes, see [`ByteSender::send`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.sender.send(bytes).await
    }

    /// Receives bytes, see [`ByteReceiver::recv`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, Error> {
        self.receiver.recv().await
    }

    /// Ends the direction to the device, see [`ByteSender::finish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn finish(&mut self) -> Result<(), Error> {
        self.sender.finish().await
    }

    /// Waits until the exporter has opened the stream; returns the header keys it sent. Only for
    /// exporters: other peers send headers with their first message. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the stream was not opened.
    pub async fn opened(&mut self) -> Result<MetadataMap, Error> {
        self.receiver.opened().await
    }

    /// Both directions at once, so that one future can send while another receives.
    pub fn halves(&mut self) -> (&mut ByteSender, &mut ByteReceiver) {
        (&mut self.sender, &mut self.receiver)
    }

    /// Takes the directions apart, so that one task can send while another receives.
    pub fn split(self) -> (ByteSender, ByteReceiver) {
        (self.sender, self.receiver)
    }
}

impl ByteSender {
    /// Sends bytes in frames of at most 64 KiB. Returns when they are queued, which is when the
    /// exporter keeps up. Not cancel-safe for more than 64 KiB: a part may have been sent.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the stream is over; [`ByteReceiver::recv`] tells why.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            let payload = bytes.split_to(bytes.len().min(FRAME_SIZE));
            self.frame(payload, FrameType::Data).await?;
        }
        Ok(())
    }

    /// Says that no more bytes follow. The other direction stays open. A second call does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the stream is over.
    pub async fn finish(&mut self) -> Result<(), Error> {
        if self.cancel.is_some() {
            self.frame(Bytes::new(), FrameType::Goaway).await?;
            self.cancel = None;
        }
        Ok(())
    }

    async fn frame(&mut self, payload: Bytes, frame_type: FrameType) -> Result<(), Error> {
        let frame = StreamRequest {
            payload,
            frame_type: frame_type.into(),
        };
        let closed = |_| {
            self.place
                .refused(Status::aborted("the stream is closed, nothing can be sent"))
        };
        match self.cancel {
            Some(_) => self.frames.send(frame).await.map_err(closed),
            None => Err(closed(mpsc::error::SendError(frame))),
        }
    }
}

impl Drop for ByteSender {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel.cancel();
        }
    }
}

impl ByteReceiver {
    /// The next bytes, never empty; `None` when the device sends no more. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the stream was not opened or broke off.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, Error> {
        self.opened().await?;
        loop {
            let Incoming::Open(stream) = &mut self.state else {
                return Ok(None);
            };
            let frame = match stream.message().await {
                Ok(frame) => frame,
                Err(status) => {
                    self.state = Incoming::Ended;
                    return Err(self.place.refused(status));
                }
            };
            match frame {
                Some(frame) if frame.frame_type == i32::from(FrameType::Goaway) => {
                    if let Incoming::Open(stream) = mem::replace(&mut self.state, Incoming::Ended) {
                        self.state = Incoming::Finished { _stream: stream };
                    }
                    return Ok(None);
                }
                Some(frame) if frame.frame_type == i32::from(FrameType::Data) => {
                    if !frame.payload.is_empty() {
                        return Ok(Some(frame.payload));
                    }
                }
                // Peers ignore pings and frame types they do not know.
                Some(_) => {}
                None => {
                    self.state = Incoming::Ended;
                    return Ok(None);
                }
            }
        }
    }

    pub(crate) async fn opened(&mut self) -> Result<MetadataMap, Error> {
        let Incoming::Opening(task) = &mut self.state else {
            return Ok(MetadataMap::new());
        };
        let answer = (&mut task.0).await;
        self.state = Incoming::Ended;
        let response = answer
            .unwrap_or_else(|error| Err(Status::internal(error.to_string())))
            .map_err(|status| self.place.refused(status))?;
        let (metadata, stream, _) = response.into_parts();
        self.state = Incoming::Open(Box::new(stream));
        Ok(metadata)
    }
}

/// The frames as HTTP/2 sees them: an end after GOAWAY, and without GOAWAY no end at all, because
/// peers take a plain half-close for a complete upload.
fn outgoing(queue: mpsc::Receiver<StreamRequest>) -> impl Stream<Item = StreamRequest> {
    stream::unfold(Some(queue), async |queue| {
        let mut queue = queue?;
        match queue.recv().await {
            Some(frame) => {
                let last = frame.frame_type == i32::from(FrameType::Goaway);
                Some((frame, (!last).then_some(queue)))
            }
            None => pending().await,
        }
    })
}
