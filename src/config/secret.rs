//! What must not be shown: values whose key names a secret.
//!
//! Excerpts in diagnostics end up in logs and bug reports, so the text is masked before anything is cut from it.

use std::collections::HashSet;
use std::ops::Range;

use super::node::{Kind, Node};
use super::suggest;

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "***";

const SECRET_ENDINGS: [&str; 10] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "community",
    "identity",
    "credential",
    "credentials",
    "psk",
];

/// Whether a key names a secret (`token`, `snmp_community`, `auth_key`, `apiKey`), rather than the file that holds it.
/// A misspelt one counts too: its mistake is what puts the line into an excerpt.
pub fn is_secret_key(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    if ["file", "path", "dir"]
        .iter()
        .any(|ending| lower.ends_with(ending))
    {
        return false;
    }
    if suggest::nearest(key, ["token", "password", "passphrase", "secret"]).is_some() {
        return true;
    }
    SECRET_ENDINGS.iter().any(|ending| lower.ends_with(ending))
        || lower.ends_with("_key")
        || lower.ends_with("-key")
        || key
            .strip_suffix("Key")
            .is_some_and(|front| front.ends_with(|c: char| c.is_ascii_lowercase()))
}

/// Marks every value below a secret key, and the same values wherever else an alias brings them.
pub(crate) fn mark(root: &mut Node) {
    let mut spans = HashSet::new();
    root.walk(&mut |node| {
        for (_, value) in node
            .entries()
            .unwrap_or_default()
            .iter()
            .filter(|(key, _)| names_secret(key))
        {
            value.walk(&mut |below| {
                spans.insert(below.span);
            });
        }
    });
    if !spans.is_empty() {
        mark_spans(root, &spans);
    }
}

fn names_secret(key: &Node) -> bool {
    key.as_str().is_some_and(is_secret_key)
}

fn mark_spans(node: &mut Node, spans: &HashSet<super::span::Span>) {
    node.secret |= spans.contains(&node.span);
    match &mut node.kind {
        Kind::Seq(items) => items.iter_mut().for_each(|item| mark_spans(item, spans)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                mark_spans(key, spans);
                mark_spans(value, spans);
            }
        }
        _ => {}
    }
}

/// The secret pieces of a file's text, apart and in order.
pub(crate) fn ranges(text: &str, root: Option<&Node>) -> Vec<Range<usize>> {
    let mut found = match root {
        Some(root) => {
            let (mut found, mut read) = (Vec::new(), Vec::new());
            root.walk(&mut |node| {
                if matches!(node.kind, Kind::Map(_) | Kind::Seq(_)) {
                    return;
                }
                read.push(node.span.range());
                if node.secret {
                    found.push(node.span.range());
                }
            });
            read.sort_by_key(|range| (range.start, range.end));
            found.extend(left_out(text, &read));
            found
        }
        None => left_out(text, &[]),
    };
    found.retain(|range| !range.is_empty());
    found.sort_by_key(|range| (range.start, range.end));
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in found {
        match apart.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

/// Values after secret words that no tree has: all of them in a text that is no YAML, else for instance the second
/// one of a key that is given twice. From the colon to the end of the line, and what is indented below; what the
/// tree has are the ranges `read`, in order. Hides too much rather than too little.
fn left_out(text: &str, read: &[Range<usize>]) -> Vec<Range<usize>> {
    let is_read = |at: usize| {
        let before = &read[..read.partition_point(|range| range.start <= at)];
        before.last().is_some_and(|range| at < range.end)
    };
    let mut found = Vec::new();
    let mut at = 0;
    // The indentation of the key whose value goes on.
    let mut inside: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end();
        let indent = body.len() - body.trim_start().len();
        let mut hide = |from: usize| {
            let from = from + opening(&body[from..]);
            let value = from + properties(&body[from..]);
            if value == body.len() || !is_read(at + value) {
                found.push(at + from..at + body.len());
            }
        };
        if inside.is_some_and(|key| body.trim().is_empty() || indent > key) {
            hide(0);
        } else {
            inside = None;
        }
        for colon in secret_colons(body) {
            inside = inside.or(Some(indent));
            hide(colon + 1);
        }
        at += line.len();
    }
    found
}

/// Length of the blanks and brackets that a value begins with.
fn opening(text: &str) -> usize {
    let opens = |c: char| c.is_whitespace() || c == '[' || c == '{';
    text.len() - text.trim_start_matches(opens).len()
}

/// Length of the anchor and the tag before a scalar, blanks included.
fn properties(text: &str) -> usize {
    let mut rest = text;
    while rest.starts_with(['&', '!']) {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        rest = rest[end..].trim_start();
    }
    text.len() - rest.len()
}

/// Where the colons after the secret words of a line are.
fn secret_colons(line: &str) -> impl Iterator<Item = usize> {
    line.match_indices(':').map(|(at, _)| at).filter(|at| {
        let front = line[..*at].trim_end().trim_end_matches(['"', '\'']);
        let word = front
            .rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .next();
        word.is_some_and(is_secret_key)
    })
}

/// Removes the secrets at and below `node` from a message that somebody else wrote.
pub(crate) fn redact(message: String, node: &Node) -> String {
    let mut message = message;
    node.walk(&mut |below| {
        if !below.secret {
            return;
        }
        let decoded = below.as_str().filter(|text| !text.is_empty());
        for text in decoded
            .into_iter()
            .chain(below.written().filter(|text| !text.is_empty()))
        {
            if message.contains(text) {
                message = message.replace(text, MASK);
            }
        }
    });
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_but_not_of_their_files() {
        for key in [
            "token",
            "mqtt_password",
            "passphrase",
            "auth_key",
            "privKey",
            "community",
            "ssh_identity",
            "pasword",
            "tokne",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in [
            "tokenFile",
            "passphraseFile",
            "ssh_identity_file",
            "key",
            "monkey",
            "type",
        ] {
            assert!(!is_secret_key(key), "{key}");
        }
    }

    #[test]
    fn values_that_no_tree_has_are_masked_and_others_are_left_to_it() {
        for (text, hidden) in [
            ("token: one\ntoken: two\n", &["one", "two"][..]),
            ("{token: one, a: b, token: two}", &["one", "two}"]),
            ("token: one\ntoken:\n  x: two\n", &["one", "x: two"]),
            ("token: one\ntoken: &a !t two\n", &["one", "&a !t two"]),
            ("token: one\ntoken: !two\n", &["one", "!two"]),
            ("a: b # token: one\n", &["one"]),
            (
                "password:\n  user: one\n  list: [two, three]\n",
                &["user", "one", "list", "two", "three"],
            ),
            ("a: |\n  export token: no\nb: {tokenFile: no}\n", &[]),
            ("token: &x one\nother: *x\n", &["one"]),
        ] {
            let (root, _) = crate::config::yaml::parse_tree(text);
            let found: Vec<_> = ranges(text, Some(&root.unwrap()))
                .into_iter()
                .map(|range| &text[range])
                .collect();
            assert_eq!(found, hidden, "{text}");
        }
    }

    #[test]
    fn a_text_that_does_not_parse_is_masked_by_its_lines() {
        let text = "a: {token: abc, x: 1}\npassword: |\n  one\n  two\nb: [\n";
        let hidden: Vec<_> = ranges(text, None)
            .into_iter()
            .map(|range| &text[range])
            .collect();
        assert_eq!(hidden, ["abc, x: 1}", "|", "one", "two"]);
    }
}
