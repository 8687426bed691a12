//! A console that is typed at and answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rigd_client::ByteChannel;
use tokio::time::{sleep, timeout};

use super::Client;

/// Far more than a line takes, far less than what would be noticed as an outage.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two lines.
const PACE: Duration = Duration::from_millis(100);

/// An open stream to `echo`.
pub(crate) struct Echo {
    channel: ByteChannel,
    lines: usize,
}

impl Echo {
    pub(crate) async fn open(client: &Client) -> Self {
        let device = client.device("echo").await.unwrap();
        Self {
            channel: device.console().open(),
            lines: 0,
        }
    }

    /// Types a line and reads it back.
    pub(crate) async fn flows(&mut self) {
        self.lines += 1;
        let line = format!("line {}\n", self.lines);
        let answer = async {
            self.channel.send(Bytes::from(line.clone())).await.unwrap();
            let mut read = Vec::new();
            while read.len() < line.len() {
                let bytes = self.channel.recv().await.unwrap();
                read.extend(bytes.expect("the console has ended"));
            }
            assert_eq!(read, line.as_bytes());
        };
        let came = timeout(ANSWER, answer).await;
        came.unwrap_or_else(|_| panic!("line {} did not come back", self.lines));
    }

    /// Types until that moment.
    pub(crate) async fn flows_until(&mut self, end: Instant) {
        while Instant::now() < end {
            self.flows().await;
            sleep(PACE).await;
        }
    }

    /// Types until it ends, in time.
    pub(crate) async fn breaks(mut self, limit: Duration) {
        let end = async {
            loop {
                let line = Bytes::from_static(b"anybody?\n");
                if self.channel.send(line).await.is_err() {
                    return;
                }
                match self.channel.recv().await {
                    Ok(Some(_)) => sleep(PACE).await,
                    Ok(None) | Err(_) => return,
                }
            }
        };
        timeout(limit, end).await.expect("the console has ended");
    }
}
