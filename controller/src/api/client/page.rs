//! Lists in pages. A page begins after a name, so that what comes and goes between two pages neither
//! repeats nor hides anything else.

use std::{collections::BTreeMap, ops::Bound};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tonic::Status;

use super::resource::Collection;
use crate::names;

/// Most entries of a page, and as many as there are when none is asked for: a lab of a thousand boards
/// is one page.
const MAX_ENTRIES: usize = 1000;
/// A page ends when it has so many bytes: clients take messages of 4 MiB, and no entry has half of it.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// In front of what a token says; another word when its form changes.
const MARK: &str = "after";

/// Which page is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    collection: Collection,
    after: Option<String>,
    entries: usize,
}

impl Page {
    /// From the fields of a request.
    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    pub(super) fn read(collection: Collection, size: i32, token: &str) -> Result<Self, Status> {
        let entries = match usize::try_from(size) {
            Ok(0) => MAX_ENTRIES,
            Ok(size) => size.min(MAX_ENTRIES),
            Err(_) => {
                let text = format!("invalid page_size {size}: it must not be negative");
                return Err(Status::invalid_argument(text));
            }
        };
        let after = match token {
            "" => None,
            token => Some(position(collection, token).ok_or_else(|| {
                Status::invalid_argument(
                    "invalid page_token: it must be the next_page_token of an answer to the same method",
                )
            })?),
        };
        Ok(Self {
            collection,
            after,
            entries,
        })
    }

    /// The entries of this page, and the token of the next one if there is any.
    pub(super) fn of<T, M: prost::Message>(
        &self,
        all: &BTreeMap<String, T>,
        wanted: impl Fn(&T) -> bool,
        message: impl Fn(&str, &T) -> M,
    ) -> (Vec<M>, String) {
        let from = self
            .after
            .as_ref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let (mut page, mut bytes, mut last) = (Vec::new(), 0, None);
        let all = all.range::<String, _>((from, Bound::Unbounded));
        for (name, one) in all.filter(|(_, one)| wanted(one)) {
            if let Some(last) = last
                && (page.len() >= self.entries || bytes >= MAX_BYTES)
            {
                return (page, token(self.collection, last));
            }
            let entry = message(name, one);
            bytes += entry.encoded_len();
            page.push(entry);
            last = Some(name);
        }
        (page, String::new())
    }
}

fn token(collection: Collection, last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{MARK} {} {last}", collection.word()))
}

fn position(collection: Collection, token: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let rest = text.strip_prefix(MARK)?.strip_prefix(' ')?;
    let name = rest.strip_prefix(collection.word())?.strip_prefix(' ')?;
    names::check(name).ok()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn names(page: &Page, all: &BTreeMap<String, ()>) -> (Vec<String>, String) {
        page.of(all, |()| true, |name, ()| name.to_owned())
    }

    fn world(names: &[&str]) -> BTreeMap<String, ()> {
        names.iter().map(|name| ((*name).to_owned(), ())).collect()
    }

    fn page(size: i32, token: &str) -> Page {
        Page::read(Collection::Leases, size, token).unwrap()
    }

    #[test]
    fn a_page_that_ends_with_the_list_is_the_last() {
        let all = world(&["a", "b", "c", "d"]);
        let (first, next) = names(&page(2, ""), &all);
        assert_eq!(first, ["a", "b"]);
        let (second, end) = names(&page(2, &next), &all);
        assert_eq!((second.len(), end.as_str()), (2, ""));
        assert_eq!(
            names(&page(0, ""), &all),
            (
                vec!["a".into(), "b".into(), "c".into(), "d".into()],
                String::new()
            )
        );
    }

    #[test]
    fn what_comes_and_goes_between_two_pages_moves_nothing() {
        let (_, next) = names(&page(2, ""), &world(&["b", "c", "d", "e"]));
        let (rest, _) = names(&page(2, &next), &world(&["a", "d", "e"]));
        assert_eq!(rest, ["d", "e"]);
    }

    #[test]
    fn made_up_tokens_and_sizes_are_refused() {
        let other = token(Collection::Exporters, "a");
        let no_name = token(Collection::Leases, "A b");
        let padded = token(Collection::Leases, "a") + "=";
        for token in ["x", "5", "!!", "YQ", &other, &no_name, &padded] {
            let status = Page::read(Collection::Leases, 1, token).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{token}");
        }
        let status = Page::read(Collection::Leases, -1, "").unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }

    #[test]
    fn a_page_of_long_entries_is_shorter() {
        let all: BTreeMap<_, _> = (0..8).map(|n| (format!("n{n}"), ())).collect();
        let long = |_: &str, (): &()| "x".repeat(MAX_BYTES / 2);
        let (first, next) = page(0, "").of(&all, |()| true, long);
        assert_eq!((first.len(), next.is_empty()), (2, false));
    }
}
