//! Owns how long a peer may take to begin HTTP/2.
//!
//! The server pings silent peers only once the handshake is through: who connects and says nothing
//! would stay for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// Time from the connection to the end of the preface. Clients send it at once; this is for slow
/// links, and the same as for a TLS handshake. Whoever has peers that may come later gives a limit
/// of its own.
pub(super) const PREFACE_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`, RFC 9113 section 3.4. What they are is the server's
/// business.
const PREFACE: usize = 24;

/// A preface that is not complete yet.
#[derive(Debug)]
pub(super) struct Preface {
    missing: usize,
    limit: Duration,
    end: Pin<Box<Sleep>>,
    expired: bool,
}

impl Preface {
    /// The time starts now. Needs a runtime with timers.
    pub(super) fn within(limit: Duration) -> Self {
        Self {
            missing: PREFACE,
            limit,
            end: Box::pin(sleep(limit)),
            expired: false,
        }
    }

    /// Fails once the time was over.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.expired {
            Err(late(self.limit))
        } else {
            Ok(())
        }
    }

    /// Takes note of `read` more bytes: whether the preface is complete, or fails when the time is
    /// over. What was there to be read counts even if it was looked at late. Otherwise the task is
    /// woken at the limit.
    pub(super) fn read(&mut self, read: usize, cx: &mut Context<'_>) -> io::Result<bool> {
        self.missing = self.missing.saturating_sub(read);
        if self.missing == 0 {
            return Ok(true);
        }
        if let Poll::Ready(()) = self.end.as_mut().poll(cx) {
            self.expired = true;
        }
        self.check().map(|()| false)
    }
}

fn late(limit: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        format!("the peer did not begin HTTP/2 within {} s", limit.as_secs()),
    )
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::{Instant, advance, timeout},
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::transport::killable::Killable;

    const BYTES: &[u8; PREFACE] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const ABORTED: io::ErrorKind = io::ErrorKind::ConnectionAborted;
    /// Of the paused clock.
    const AGES: Duration = Duration::from_secs(3600);

    fn pair() -> (Killable<DuplexStream, ()>, DuplexStream) {
        let (near, far) = duplex(64);
        let near = Killable::new(near, CancellationToken::new(), ());
        (near.with_preface_limit(), far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_cut_at_the_limit() {
        let (mut near, mut far) = pair();
        let start = Instant::now();
        let end = timeout(AGES, near.read_u8()).await.expect("never cut");
        let error = end.unwrap_err();
        assert_eq!(error.kind(), ABORTED);
        assert!(error.to_string().contains("within 10 s"), "{error}");
        let took = start.elapsed();
        let slack = Duration::from_millis(10);
        assert!(
            took >= PREFACE_LIMIT && took < PREFACE_LIMIT + slack,
            "{took:?}"
        );
        far.write_all(BYTES).await.unwrap();
        let again = near.read_u8().await.unwrap_err();
        assert_eq!(again.kind(), ABORTED, "and stays so");
    }

    #[tokio::test(start_paused = true)]
    async fn who_expects_late_peers_waits_longer_and_says_so() {
        let (near, _far) = duplex(64);
        let limit = PREFACE_LIMIT * 6;
        let mut near = Killable::new(near, CancellationToken::new(), ()).with_preface_within(limit);
        let start = Instant::now();
        let end = timeout(AGES, near.read_u8()).await.expect("never cut");
        let error = end.unwrap_err().to_string();
        assert!(error.contains("within 60 s"), "{error}");
        assert_eq!(start.elapsed().as_secs(), limit.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_in_drops_do_not_extend_the_limit() {
        let (mut near, mut far) = pair();
        let start = Instant::now();
        let dripping = tokio::spawn(async move {
            for byte in BYTES {
                if far.write_u8(*byte).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            far
        });
        let mut read = 0;
        let error = loop {
            match timeout(AGES, near.read_u8()).await.expect("never cut") {
                Ok(_) => read += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ABORTED);
        assert!((9..=11).contains(&read), "{read}");
        assert!(start.elapsed() < PREFACE_LIMIT + Duration::from_secs(1));
        drop(near);
        dripping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_preface_silence_is_allowed() {
        let (mut near, mut far) = pair();
        let mut read = [0; PREFACE];
        let (first, rest) = BYTES.split_at(PREFACE - 1);
        far.write_all(first).await.unwrap();
        near.read_exact(&mut read[..first.len()]).await.unwrap();
        advance(PREFACE_LIMIT / 2).await;
        far.write_all(rest).await.unwrap();
        near.read_exact(&mut read[first.len()..]).await.unwrap();
        assert_eq!(&read, BYTES);

        assert!(timeout(AGES, near.read_u8()).await.is_err(), "it was cut");
        far.write_u8(7).await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_that_was_looked_at_late_counts() {
        let (mut near, mut far) = pair();
        far.write_all(BYTES).await.unwrap();
        advance(PREFACE_LIMIT * 2).await;
        let mut read = [0; PREFACE];
        near.read_exact(&mut read).await.unwrap();
        assert!(timeout(AGES, near.read_u8()).await.is_err(), "it was cut");
    }

    #[tokio::test(start_paused = true)]
    async fn without_being_asked_there_is_no_limit() {
        let (near, _far) = duplex(64);
        let mut near = Killable::new(near, CancellationToken::new(), ());
        assert!(timeout(AGES, near.read_u8()).await.is_err());
    }
}
