//! What is told of a lease: conditions that change in place, `Ready` last.

use std::time::SystemTime;

use crate::model::{Condition, ConditionKind};

/// Longest message, in characters and in bytes: `jmp -o yaml` wraps what it prints at 80 columns, and
/// longer messages then break its YAML.
pub const MAX_MESSAGE: usize = 59;
/// The mark of what was cut; ASCII, so that bytes and characters are one.
const CUT: &str = "...";

/// Says something of a lease. `since` moves only when the status changes. Returns whether anything
/// did.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: ConditionKind,
    status: bool,
    reason: &str,
    message: &str,
    now: SystemTime,
) -> bool {
    let message = cut(message, MAX_MESSAGE);
    let known = conditions.iter_mut().find(|known| known.kind == kind);
    let changed = match known {
        Some(known) => {
            if known.status == status && known.reason == reason && known.message == message {
                false
            } else {
                if known.status != status {
                    known.since = now;
                }
                known.status = status;
                reason.clone_into(&mut known.reason);
                known.message = message;
                true
            }
        }
        None => {
            let reason = reason.to_owned();
            conditions.push(Condition {
                kind,
                status,
                reason,
                message,
                since: now,
            });
            true
        }
    };
    // `jmp get exporters --with leases` looks at the last one only. The sort is stable.
    conditions.sort_by_key(|condition| condition.kind == ConditionKind::Ready);
    changed
}

/// Whether this is what was said last of this kind.
pub(crate) fn says(
    conditions: &[Condition],
    kind: ConditionKind,
    status: bool,
    reason: &str,
    message: &str,
) -> bool {
    let known = conditions.iter().find(|known| known.kind == kind);
    known.is_some_and(|known| {
        let same_words = if message.len() <= MAX_MESSAGE {
            known.message == message
        } else {
            known.message == cut(message, MAX_MESSAGE)
        };
        known.status == status && known.reason == reason && same_words
    })
}

/// A name in the middle of a message: only as much of it as leaves room for the words around it.
pub fn name(text: &str) -> String {
    const ROOM: usize = 20;
    cut(text, ROOM)
}

/// The beginning of a text, on one line, that fits into so many bytes.
fn cut(text: &str, room: usize) -> String {
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    if text.len() <= room {
        return text.chars().map(one_line).collect();
    }
    let mut short = String::with_capacity(room);
    for c in text.chars().map(one_line) {
        if short.len() + c.len_utf8() > room - CUT.len() {
            break;
        }
        short.push(c);
    }
    short + CUT
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn ready_stays_last_and_the_rest_in_its_order() {
        let mut all = Vec::new();
        assert!(set(
            &mut all,
            ConditionKind::Pending,
            true,
            "Offline",
            "a",
            at(1)
        ));
        assert!(set(
            &mut all,
            ConditionKind::Ready,
            true,
            "Ready",
            "b",
            at(2)
        ));
        assert!(set(
            &mut all,
            ConditionKind::Unsatisfiable,
            true,
            "NoAccess",
            "c",
            at(3)
        ));
        assert!(set(
            &mut all,
            ConditionKind::Pending,
            true,
            "NotReady",
            "d",
            at(4)
        ));
        assert!(set(
            &mut all,
            ConditionKind::Ready,
            false,
            "Released",
            "e",
            at(5)
        ));
        assert!(!set(
            &mut all,
            ConditionKind::Ready,
            false,
            "Released",
            "e",
            at(6)
        ));
        let seen: Vec<_> = all
            .iter()
            .map(|one| (one.kind, one.reason.as_str(), one.since))
            .collect();
        let expected = [
            (ConditionKind::Pending, "NotReady", at(1)),
            (ConditionKind::Unsatisfiable, "NoAccess", at(3)),
            (ConditionKind::Ready, "Released", at(5)),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn messages_are_short_and_on_one_line() {
        for (text, expected) in [
            ("a".repeat(59), "a".repeat(59)),
            ("a".repeat(60), "a".repeat(56) + "..."),
            ("a\nb\tc".to_owned(), "a b c".to_owned()),
            ("ä".repeat(40), "ä".repeat(28) + "..."),
        ] {
            let mut all = Vec::new();
            set(
                &mut all,
                ConditionKind::Pending,
                true,
                "Offline",
                &text,
                at(0),
            );
            assert_eq!(all[0].message, expected);
        }
        assert_eq!(name(&"r".repeat(253)).len(), 20);
    }
}
