//! A driver's byte stream under the key of its lease: what makes every stream end when its key is
//! revoked, so that no driver has to.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use tokio_util::sync::DropGuard;
use tracing::Instrument;

use crate::{
    ByteSink, ByteStream, DriverError, Key, async_trait, device_thread::panicked, interlock::Permit,
};

/// Puts `stream` under `key`, and under a permit that both its directions hold. `gone` is dropped with
/// the reader, which is how long the caller of a stream counts as there.
pub(crate) fn fence(
    stream: ByteStream,
    (key, permit): (Key, Option<Arc<Permit>>),
    gone: DropGuard,
    span: tracing::Span,
) -> ByteStream {
    let reader = FencedReader {
        inner: stream.reader,
        key: key.clone(),
        span: span.clone(),
        _gone: gone,
        _permit: permit.clone(),
    };
    let writer = FencedSink {
        inner: Some(Open {
            sink: stream.writer,
            _permit: permit,
        }),
        key,
        span,
    };
    ByteStream {
        headers: stream.headers,
        reader: futures::stream::unfold(Some(reader), async |reader| reader?.next().await).boxed(),
        writer: Box::new(writer),
        boundaries: stream.boundaries,
    }
}

struct FencedReader {
    inner: BoxStream<'static, Result<Bytes, DriverError>>,
    key: Key,
    span: tracing::Span,
    _gone: DropGuard,
    _permit: Option<Arc<Permit>>,
}

impl FencedReader {
    /// One frame, or the error that ends the stream.
    async fn next(mut self) -> Option<(Result<Bytes, DriverError>, Option<Self>)> {
        let next = AssertUnwindSafe(self.inner.next()).catch_unwind();
        // cancel-safe: after `revoked` the stream is not polled again. Biased: what a device said
        // after the end of a lease is not for its client.
        let item = tokio::select! {
            biased;
            fenced = self.key.revoked() => return Some((Err(fenced.into()), None)),
            item = next.instrument(self.span.clone()) => item,
        };
        match item {
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(self))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(panicked()), None)),
        }
    }
}

struct Open {
    sink: Box<dyn ByteSink>,
    _permit: Option<Arc<Permit>>,
}

struct FencedSink {
    // None once the key was revoked, so that the device is let go even while the caller still
    // holds its side.
    inner: Option<Open>,
    key: Key,
    span: tracing::Span,
}

#[async_trait]
impl ByteSink for FencedSink {
    async fn send(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        let Some(Open { sink, .. }) = &mut self.inner else {
            return Ok(self.key.check()?);
        };
        // cancel-safe: the sink is dropped after `revoked`.
        let outcome = tokio::select! {
            biased;
            fenced = self.key.revoked() => Err(fenced.into()),
            done = sink.send(bytes).instrument(self.span.clone()) => done,
        };
        if matches!(outcome, Err(DriverError::Fenced(_))) {
            self.inner = None;
        }
        outcome
    }

    async fn finish(&mut self) -> Result<(), DriverError> {
        let Some(Open { sink, .. }) = &mut self.inner else {
            return Ok(self.key.check()?);
        };
        // cancel-safe: the sink is dropped after `revoked`.
        let outcome = tokio::select! {
            biased;
            fenced = self.key.revoked() => Err(fenced.into()),
            done = sink.finish().instrument(self.span.clone()) => done,
        };
        if matches!(outcome, Err(DriverError::Fenced(_))) {
            self.inner = None;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{KeyKind, KeyOwner, echo_stream};

    #[tokio::test]
    async fn revoking_ends_a_reader_and_a_writer_that_wait() {
        let owner = KeyOwner::issue(KeyKind::Client);
        let caller = CancellationToken::new();
        let open = || {
            let gone = caller.clone().drop_guard();
            fence(
                echo_stream(),
                (owner.key(), None),
                gone,
                tracing::Span::none(),
            )
        };
        let (mut idle, mut full) = (open(), open());
        let chunk = Bytes::from_static(b"x");
        // Held and never read, so that the echo fills up.
        while full.writer.send(chunk.clone()).now_or_never().is_some() {}
        let waiting = async { tokio::join!(idle.reader.next(), full.writer.send(chunk.clone())) };
        let revoking = async { owner.revoke("the lease ended") };
        let ((read, sent), ()) = tokio::join!(waiting, revoking);
        for error in [read.unwrap().unwrap_err(), sent.unwrap_err()] {
            assert_eq!(error.to_string(), "fenced: the lease ended");
        }
        assert!(idle.reader.next().await.is_none());
        let error = full.reader.next().await.unwrap().unwrap_err();
        assert!(
            matches!(error, DriverError::Fenced(_)),
            "nothing left is given: {error:?}"
        );
        assert!(
            caller.is_cancelled(),
            "the driver hears that its caller is gone"
        );
    }
}
