//! Objects with whatever texts are hard to write.

use proptest::{collection::vec, option, prelude::*, sample::select};
use rigd_controller::resources::{Node, Pairs, dumps::*};

/// Words that mean something, or nearly.
const WORDS: &[&str] = &[
    "",
    "~",
    "null",
    "Null",
    "nULL",
    "yes",
    "no",
    "On",
    "off",
    "y",
    "n",
    "true",
    "FALSE",
    "tRue",
    "=",
    "<<",
    "-",
    "--",
    "---",
    "--- a",
    "...",
    "... b",
    "?",
    ":",
    "? a",
    ": a",
    "- a",
    "-a",
    ":a",
    "?a",
    "a:",
    "a: b",
    "a:b",
    "a #b",
    "a#b",
    "#",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "[",
    "]",
    "{}",
    "a, b",
    "'",
    "''",
    "\"",
    "it's",
    "\\",
    "0",
    "-0",
    "010",
    "08",
    "0o17",
    "0x1F",
    "0b1",
    "0b",
    "0x",
    "1_000",
    "_1",
    "1:30",
    "1:60",
    "190:20:30",
    "01:30",
    "1:30.5",
    "1.5",
    "1.",
    ".5",
    "-.5",
    "1e3",
    "1.0e+3",
    "1.0e3",
    ".inf",
    "-.INF",
    "+.inf",
    ".nan",
    "-.nan",
    ".NaN",
    "2026-03-02",
    "2026-3-2",
    "2026-3-2T8:15:00",
    "2026-03-02T08:15:00Z",
    "2026-03-02 08:15:00 +1",
    "2026-03-02 08:15:00.5 -02:30",
    "2026-03-02T08:15Z",
    "2026-03-02\t08:15:00",
    " a",
    "a ",
    " ",
    "  ",
    "\n",
    "a\n",
    "\na",
    "a\n\nb",
    "a \nb",
    "a\n b",
    "a\tb",
    "\u{feff}",
    "\u{7f}",
    "é",
    "日本",
    "😀",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{ffff}",
    "\u{10ffff}",
    "\0",
    "\u{1b}[0m",
];

fn letters() -> impl Strategy<Value = char> {
    prop_oneof![
        6 => prop::char::range('a', 'z'),
        4 => Just(' '),
        2 => select("\n'\":#-?,[]{}&*!|>%@`\\=~.".chars().collect::<Vec<_>>()),
        1 => select("\t\r\0\x07\x1b\x7f\u{80}\u{85}\u{a0}é\u{2028}\u{2029}\u{feff}日\u{ffff}😀"
            .chars().collect::<Vec<_>>()),
        1 => any::<char>(),
    ]
}

fn sentence(spaces: &'static str, longest: usize) -> impl Strategy<Value = String> {
    vec((letters_of_word(), spaces), 1..longest)
        .prop_map(|words| words.into_iter().map(|(word, gap)| word + &gap).collect())
}

fn letters_of_word() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z0-9:/'.-]{1,14}",
        1 => "[a-z\"\\\\é日😀\u{1}]{1,20}",
        1 => Just("x".repeat(90)),
    ]
}

pub(crate) fn text() -> BoxedStrategy<String> {
    prop_oneof![
        3 => select(WORDS).prop_map(str::to_owned),
        2 => "[-+]?[0-9_.:]{1,9}([eE][-+]?[0-9]{0,2})?",
        2 => "[-+]?0[xbo]?[0-9a-f_:]{0,6}",
        2 => "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ]{1,2}[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,3})?( {0,2}(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?)?",
        3 => vec(letters(), 0..14).prop_map(|all| all.into_iter().collect()),
        2 => vec(letters(), 60..260).prop_map(|all| all.into_iter().collect()),
        2 => sentence(" ", 40),
        1 => sentence("[ \n]{1,2}", 40),
        1 => sentence("[ \n]", 40),
    ]
    .boxed()
}

/// A key, which may be one that needs a `?`.
fn key() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "[a-z.]{1,8}(/[a-z]{1,5})?",
        2 => text(),
        1 => "[a-z ]{118,130}",
    ]
    .boxed()
}

pub(crate) fn pairs() -> BoxedStrategy<Pairs> {
    vec((key(), text()), 0..5)
        .prop_map(|all| Pairs(once(all)))
        .boxed()
}

fn once<T>(entries: Vec<(String, T)>) -> Vec<(String, T)> {
    let mut kept: Vec<(String, T)> = Vec::new();
    for entry in entries {
        if !kept.iter().any(|(key, _)| *key == entry.0) {
            kept.push(entry);
        }
    }
    kept
}

/// A tree of anything.
pub(crate) fn tree() -> BoxedStrategy<Node> {
    let leaf = prop_oneof![
        1 => Just(Node::Null),
        1 => any::<bool>().prop_map(Node::Bool),
        1 => any::<i64>().prop_map(Node::Int),
        5 => text().prop_map(Node::Text),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Node::List),
            vec((key(), inner), 0..4).prop_map(|all| Node::Map(once(all))),
        ]
    })
    .boxed()
}

prop_compose! {
    fn reference()(
        name in option::weighted(0.9, text()),
        namespace in option::weighted(0.1, text()),
        uid in option::weighted(0.1, text()),
    ) -> Reference {
        Reference { name, namespace, uid, ..Reference::default() }
    }
}

prop_compose! {
    fn metadata()(
        annotations in option::weighted(0.1, pairs()),
        creation_timestamp in option::of(text()),
        deletion_grace_period_seconds in option::weighted(0.1, any::<i64>()),
        finalizers in option::weighted(0.1, vec(text(), 0..3)),
        generation in option::of(any::<i64>()),
        labels in option::of(pairs()),
        managed_fields in option::of(vec(tree(), 0..3)),
        name in option::weighted(0.9, text()),
        namespace in option::of(text()),
        owner_references in option::weighted(0.1, vec(tree(), 0..3)),
        resource_version in option::of(text()),
        uid in option::of(text()),
    ) -> Metadata {
        Metadata {
            annotations, creation_timestamp, deletion_grace_period_seconds, finalizers, generation,
            labels, managed_fields, name, namespace, owner_references, resource_version, uid,
            deletion_timestamp: None, generate_name: None, self_link: None,
        }
    }
}

prop_compose! {
    fn condition()(
        last_transition_time in text(), message in text(), reason in text(), status in text(),
        kind in text(), observed_generation in option::of(any::<i64>()),
    ) -> DumpCondition {
        DumpCondition { last_transition_time, message, observed_generation, reason, status, kind }
    }
}

prop_compose! {
    pub(crate) fn lease()(
        metadata in metadata(),
        client in reference(),
        duration in option::of(text()),
        match_labels in pairs(),
        begin_time in option::of(text()),
        conditions in vec(condition(), 0..3),
        end_time in option::of(text()),
        ended in any::<bool>(),
        exporter in option::of(reference()),
    ) -> V1Alpha1Lease {
        let selector = V1Alpha1LeaseSelector { match_labels };
        V1Alpha1Lease {
            metadata,
            spec: V1Alpha1LeaseSpec { client, duration, selector },
            status: V1Alpha1LeaseStatus { begin_time, conditions, end_time, ended, exporter },
        }
    }
}

prop_compose! {
    pub(crate) fn exporter()(
        metadata in metadata(),
        credential in reference(),
        devices in vec((pairs(), text()), 0..4),
        endpoint in text(),
        exporter_status in option::of(text()),
        status_message in option::of(text()),
    ) -> V1Alpha1Exporter {
        let device = |(labels, uuid)| V1Alpha1ExporterDevice { labels, uuid };
        let devices = devices.into_iter().map(device).collect();
        V1Alpha1Exporter {
            metadata,
            status: V1Alpha1ExporterStatus {
                credential, devices, endpoint, exporter_status, status_message,
            },
        }
    }
}

prop_compose! {
    pub(crate) fn client()(
        metadata in metadata(),
        status in option::of((option::of(reference()), text())),
    ) -> V1Alpha1Client {
        let status = status.map(|(credential, endpoint)| V1Alpha1ClientStatus { credential, endpoint });
        V1Alpha1Client { metadata, status }
    }
}
