//! How fast bytes go to a device that cannot take them at the full rate of the line.

use std::time::Duration;

use bytes::Bytes;
use rigd_driver::{ByteSink, DriverError, async_trait};

/// The slowest pace that makes sense: a byte each 100 s.
const SLOWEST: f64 = 0.01;

/// Time between two bytes of a frame; zero for the full rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace(Duration);

impl Pace {
    /// From characters per second; `None`, zero and less switch it off.
    ///
    /// # Errors
    /// Paces that no clock can keep, as a text.
    pub(crate) fn new(cps: Option<f64>) -> Result<Self, String> {
        match cps {
            None => Ok(Self(Duration::ZERO)),
            Some(cps) if cps <= 0.0 => Ok(Self(Duration::ZERO)),
            Some(cps) if cps >= SLOWEST => Ok(Self(Duration::from_secs_f64(1.0 / cps))),
            Some(cps) => Err(format!(
                "{cps} characters per second is too slow; use at least {SLOWEST}, or 0 for no limit"
            )),
        }
    }

    /// The pieces of a frame, each with the time to wait before it.
    pub(crate) fn pieces(self, frame: Bytes) -> impl Iterator<Item = (Duration, Bytes)> + Send {
        let size = if self.0.is_zero() { frame.len() } else { 1 };
        let mut rest = frame;
        let mut wait = Duration::ZERO;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let piece = rest.split_to(size);
            Some((std::mem::replace(&mut wait, self.0), piece))
        })
    }
}

/// Slows the writes of `loop://` down as those of a device.
pub(crate) struct PacedSink {
    pub(crate) inner: Box<dyn ByteSink>,
    pub(crate) pace: Pace,
}

#[async_trait]
impl ByteSink for PacedSink {
    async fn send(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        for (wait, piece) in self.pace.pieces(bytes) {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            self.inner.send(piece).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), DriverError> {
        self.inner.finish().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(cps: Option<f64>, frame: &'static [u8]) -> Vec<(u128, Bytes)> {
        let pieces = Pace::new(cps).unwrap().pieces(Bytes::from_static(frame));
        pieces
            .map(|(wait, piece)| (wait.as_millis(), piece))
            .collect()
    }

    #[test]
    fn bytes_go_one_by_one_with_no_wait_around_the_frame() {
        let wanted = [(0, "a".into()), (100, "b".into()), (100, "c".into())];
        assert_eq!(pieces(Some(10.0), b"abc"), wanted);
        assert_eq!(pieces(Some(10.0), b""), []);
    }

    #[test]
    fn without_a_pace_the_frame_goes_whole() {
        for cps in [None, Some(0.0), Some(-1.0)] {
            assert_eq!(pieces(cps, b"abc"), [(0, "abc".into())]);
        }
    }

    #[test]
    fn a_pace_that_no_clock_keeps_is_refused() {
        for cps in [1e-300, f64::NAN] {
            assert!(
                Pace::new(Some(cps))
                    .unwrap_err()
                    .contains("use at least 0.01")
            );
        }
    }
}
