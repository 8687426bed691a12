//! Tries a hook out while the exporter is free, which is held back from leases for that time.

use std::time::Duration;

use rigd_proto::v1::LogSource;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tracing::Instrument;

use super::Runner;
use crate::{
    daemon::handle::HookNews,
    lease::machine::{Event, HOOK_GRACE, Hook, Lease, Outcome, State},
    session::{LogLine, LogReader},
};

/// Why the exporter takes no lease meanwhile.
const REASON: &str = "a hook is being rehearsed";
/// How long a person who does not read along is waited for with the verdict.
const VERDICT: Duration = Duration::from_secs(2);
/// What the end of a hook takes beyond its grace.
const MARGIN: Duration = Duration::from_secs(3);

impl Runner {
    pub(super) async fn rehearse(&mut self, kind: Hook, news: mpsc::Sender<HookNews>) {
        let refused = match (&self.link, self.machine.state(), &self.rehearsal) {
            (_, _, Some(_)) => Some("a hook is being rehearsed already".to_owned()),
            (None, ..) => Some(
                "served without a controller: its hooks run at its start and at its stop"
                    .to_owned(),
            ),
            (_, State::Available, None) => None,
            _ => match self.lease() {
                Some(lease) => Some(format!(
                    "leased to '{}' (lease {})",
                    lease.client, lease.name
                )),
                None => Some("it is not available yet".to_owned()),
            },
        };
        if let Some(text) = refused {
            let refused = HookNews::Refused(Status::failed_precondition(text));
            news.send(refused).await.ok();
            return;
        }
        self.tell(Event::Hold(Some(REASON.into()))).await;
        let tree = self.served.tree.clone();
        let lines = self.served.logs.collector();
        let lease = Lease {
            name: "rehearsal".into(),
            client: String::new(),
        };
        let hook = self.hooks.start(kind, &lease).await;
        let work = async move {
            tree.lease_start().await;
            let outcome = show(hook, lines, &news).await;
            tree.lease_end().await;
            let verdict = match outcome {
                Outcome::Done => Ok(()),
                Outcome::Failed(text) => Err(text),
            };
            // The last word, after which the exporter is free again. Whoever watched may have gone.
            let last = news.send(HookNews::Ended(verdict));
            timeout(VERDICT, last).await.ok();
        };
        self.rehearsal = Some(AbortOnDropHandle::new(tokio::spawn(work.in_current_span())));
    }

    /// Ends a rehearsal with its hook; the instances forget it.
    pub(super) async fn end_rehearsal(&mut self) {
        let Some(rehearsal) = self.rehearsal.take() else {
            return;
        };
        self.hooks.cut(HOOK_GRACE);
        if timeout(HOOK_GRACE + MARGIN, rehearsal).await.is_err() {
            tracing::warn!("The rehearsed hook did not end in time.");
        }
        self.hooks.end();
    }
}

/// Passes on what a hook prints. Lines that a person is too slow for are dropped and counted: the
/// hook's time does not depend on who reads along.
async fn show(
    hook: impl Future<Output = Outcome>,
    mut lines: LogReader,
    news: &mpsc::Sender<HookNews>,
) -> Outcome {
    let mut hook = std::pin::pin!(hook);
    let mut dropped = 0_u64;
    let mut pass_on = |line: LogLine| {
        let of_hook = matches!(
            line.source,
            LogSource::BeforeLeaseHook | LogSource::AfterLeaseHook
        );
        if of_hook && news.try_send(HookNews::Line(line.message)).is_err() {
            dropped += 1;
        }
    };
    let outcome = loop {
        // cancel-safe: the hook is pinned outside, a reader's next line is not lost.
        tokio::select! {
            outcome = &mut hook => break outcome,
            Some(line) = lines.next() => pass_on(line),
        }
    };
    while let Some(line) = lines.take() {
        pass_on(line);
    }
    if dropped > 0 {
        let text = format!("({dropped} more lines came too fast to be shown)");
        timeout(VERDICT, news.send(HookNews::Line(text))).await.ok();
    }
    outcome
}
