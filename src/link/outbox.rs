//! What the controller is still to be told of the exporter's state, pure and without a clock.
//!
//! The newest state counts: one that was not acknowledged gives way to its successor, so that a
//! controller that was away is told once and not of everything it missed. States that a person or
//! a policy acts on, the `*_FAILED` ones, are never skipped.

use std::collections::VecDeque;

use rigd_proto::v1::ExporterStatus;

/// States kept. Each lease leaves one that is not skipped at most, and no lease begins while the
/// controller is away.
const KEPT: usize = 8;

/// A state and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// The state.
    pub(super) status: ExporterStatus,
    /// For people and clients.
    pub(super) message: String,
}

impl Report {
    fn must_be_heard(&self) -> bool {
        matches!(
            self.status,
            ExporterStatus::BeforeLeaseHookFailed | ExporterStatus::AfterLeaseHookFailed
        )
    }
}

/// Reports in the order in which they are to be heard.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Report>,
    /// The newest one, acknowledged or not.
    newest: Option<Report>,
}

impl Outbox {
    /// A new state.
    pub(super) fn push(&mut self, report: Report) {
        if self
            .waiting
            .back()
            .is_some_and(|last| !last.must_be_heard())
        {
            self.waiting.pop_back();
        }
        if self.waiting.len() == KEPT {
            self.waiting.pop_front();
        }
        self.newest = Some(report.clone());
        self.waiting.push_back(report);
    }

    /// The controller may have forgotten what it was told.
    pub(super) fn again(&mut self) {
        if self.waiting.is_empty() {
            self.waiting.extend(self.newest.clone());
        }
    }

    /// What to tell next.
    pub(super) fn next(&self) -> Option<&Report> {
        self.waiting.front()
    }

    /// The newest state, told or not.
    pub(super) fn newest(&self) -> Option<&Report> {
        self.newest.as_ref()
    }

    /// The controller has heard `report`, or never will.
    pub(super) fn done(&mut self, report: &Report) {
        if self.waiting.front() == Some(report) {
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(status: ExporterStatus, message: &str) -> Report {
        let message = message.into();
        Report { status, message }
    }

    #[test]
    fn a_controller_that_was_away_hears_the_newest_state_and_every_failure() {
        let mut outbox = Outbox::default();
        for (status, text) in [
            (ExporterStatus::BeforeLeaseHook, "a"),
            (ExporterStatus::BeforeLeaseHookFailed, "b"),
            (ExporterStatus::Available, "c"),
            (ExporterStatus::Offline, "d"),
        ] {
            outbox.push(report(status, text));
        }
        let mut heard = Vec::new();
        while let Some(next) = outbox.next().cloned() {
            outbox.done(&next);
            heard.push(next.message);
        }
        assert_eq!(heard, ["b", "d"]);
        outbox.again();
        assert_eq!(outbox.next().map(|r| r.message.as_str()), Some("d"));
    }

    #[test]
    fn one_that_is_under_way_while_it_is_replaced_is_not_taken_for_its_successor() {
        let mut outbox = Outbox::default();
        let old = report(ExporterStatus::BeforeLeaseHook, "");
        let new = report(ExporterStatus::LeaseReady, "");
        outbox.push(old.clone());
        outbox.push(new.clone());
        outbox.done(&old);
        assert_eq!(outbox.next(), Some(&new));
    }

    proptest! {
        #[test]
        fn the_last_word_is_the_newest_state(codes in prop::collection::vec(0..8_i32, 1..40)) {
            let mut outbox = Outbox::default();
            for code in &codes {
                outbox.push(report(ExporterStatus::try_from(*code).unwrap(), ""));
            }
            prop_assert!(outbox.waiting.len() <= KEPT);
            prop_assert_eq!(outbox.waiting.back(), outbox.newest());
        }
    }
}
