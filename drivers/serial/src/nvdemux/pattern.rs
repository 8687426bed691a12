//! Paths by a pattern, as shells expand them: `*`, `?`, `[abc]`, `[a-z]`, `[!a]`. A name that begins
//! with a dot is found only by a pattern that does. Without any of these a path stands for itself.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// More files than that in one directory are no devices.
const MAX_ENTRIES: usize = 10_000;

/// The paths that exist, sorted.
pub(super) fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in Path::new(pattern).components() {
        let part = match part {
            Component::Normal(part) => part.to_string_lossy(),
            other => {
                found.iter_mut().for_each(|path| path.push(other));
                continue;
            }
        };
        if part.contains(['*', '?', '[']) {
            found = found.iter().flat_map(|dir| entries(dir, &part)).collect();
        } else {
            found.iter_mut().for_each(|path| path.push(&*part));
        }
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

/// What of a directory fits. One that cannot be read has nothing.
fn entries(dir: &Path, part: &str) -> Vec<PathBuf> {
    let pattern: Vec<char> = part.chars().collect();
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let names = entries.take(MAX_ENTRIES).flatten().map(|e| e.file_name());
    names
        .filter(|name| {
            let name: Vec<char> = name.to_string_lossy().chars().collect();
            let hidden = name.first() == Some(&'.') && pattern.first() != Some(&'.');
            !hidden && matches(&pattern, &name)
        })
        .map(|name| dir.join(name))
        .collect()
}

/// Whether a name fits. The last `*` alone is taken back, which is enough and takes no longer than
/// the product of both lengths.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, seen));
            at += 1;
            continue;
        }
        if let Some(length) = one(&pattern[at..], name[seen]) {
            at += length;
            seen += 1;
            continue;
        }
        let Some((after, from)) = star else {
            return false;
        };
        star = Some((after, from + 1));
        (at, seen) = (after, from + 1);
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// The length of what the pattern begins with, if the character fits it.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['[', rest @ ..] => match set(rest, c) {
            Some((fits, length)) => fits.then_some(length + 1),
            // Without an end it is a bracket.
            None => (c == '[').then_some(1),
        },
        [first, ..] => (*first == c).then_some(1),
        [] => None,
    }
}

/// Whether a character is of the set that ends with `]`, and the set's length.
fn set(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern, ['!' | '^', ..]);
    let begin = usize::from(negated);
    // A bracket that is the first of the set belongs to it.
    let end = pattern.iter().skip(begin + 1).position(|c| *c == ']')? + begin + 1;
    let mut items = pattern.get(begin..end)?;
    let mut fits = false;
    while let [first, rest @ ..] = items {
        if let ['-', last, rest @ ..] = rest {
            fits |= (*first..=*last).contains(&c);
            items = rest;
        } else {
            fits |= *first == c;
            items = rest;
        }
    }
    Some((fits != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(pattern: &str, name: &str) -> bool {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        matches(&chars(pattern), &chars(name))
    }

    #[test]
    fn patterns_of_shells() {
        for (pattern, name, wanted) in [
            ("usb-*-if01", "usb-NVIDIA_Tegra-if01", true),
            ("usb-*-if01", "usb-NVIDIA_Tegra-if02", false),
            ("*a*b*c", "xxaxxbxxbc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("tty?", "ttyS", true),
            ("tty?", "tty", false),
            ("tty[A-C0]", "ttyB", true),
            ("tty[!A-C]", "ttyB", false),
            ("[]]", "]", true),
            ("a[", "a[", true),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn what_exists_is_found_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b-if01", "a-if01", "a-if02", ".c-if01"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found = |name: &str| {
            let pattern = dir.path().join(name);
            let found = expand(pattern.to_str().unwrap());
            let names = found.iter().map(|path| path.file_name().unwrap());
            names
                .map(|name| name.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("*-if01"), ["a-if01", "b-if01"]);
        assert_eq!(found("a-if02"), ["a-if02"]);
        assert_eq!(found("missing"), [""; 0]);
        let parent = dir.path().parent().unwrap().join(".tmp*").join("b-if0?");
        let found = expand(parent.to_str().unwrap());
        assert!(found.contains(&dir.path().join("b-if01")), "{found:?}");
    }

    proptest! {
        #[test]
        fn a_name_fits_itself_and_every_star(name in "[a-z0-9._-]{0,20}", cut: prop::sample::Index) {
            prop_assert!(fits(&name, &name));
            let at = cut.index(name.len() + 1);
            let (before, after) = name.split_at(at);
            let with_star = format!("{before}*{after}");
            prop_assert!(fits(&with_star, &name));
        }

        #[test]
        fn any_pattern_comes_to_an_end(pattern in "[]a*?\\[!-]{0,30}", name in "[]a*?\\[!-]{0,60}") {
            fits(&pattern, &name);
        }
    }
}
