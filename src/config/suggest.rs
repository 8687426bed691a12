//! The nearest valid word to a wrong one.

/// The candidate that is most like `word`, if one is like enough to be what was meant.
///
/// Case and the marks `_`, `-` and `.` do not count, so `before_lease` is near to `beforeLease`.
pub fn nearest<'a, I>(word: &str, candidates: I) -> Option<&'a str>
where
    I: IntoIterator<Item = &'a str>,
{
    let folded = fold(word);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let other = fold(candidate);
        let distance = strsim::damerau_levenshtein(&folded, &other);
        // A third of the letters may be wrong, but a short word needs at least half of them right.
        let letters = folded.chars().count().max(other.chars().count());
        let allowed = (letters / 3).max(1).min(letters / 2);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The help for a wrong word: the nearest valid one, else all of them when they are few.
pub fn did_you_mean<'a, I>(word: &str, candidates: I) -> Option<String>
where
    I: IntoIterator<Item = &'a str>,
{
    /// A longer list is not read; `rigd drivers` shows it.
    const LISTED: usize = 24;
    let candidates: Vec<_> = candidates.into_iter().collect();
    if let Some(near) = nearest(word, candidates.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let all: Vec<_> = candidates
        .iter()
        .map(|candidate| format!("`{candidate}`"))
        .collect();
    match all.as_slice() {
        [] => None,
        [one] => Some(format!("the only valid one is {one}")),
        _ if all.len() <= LISTED => Some(format!("valid are {}", all.join(", "))),
        _ => None,
    }
}

/// The word without what people get wrong about a spelling.
pub(crate) fn fold(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '_' | '-' | '.'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_swapped_letters_and_other_spellings() {
        let keys = ["type", "config", "children", "description"];
        assert_eq!(nearest("tpye", keys), Some("type"));
        assert_eq!(nearest("Type", keys), Some("type"));
        assert_eq!(nearest("childern", keys), Some("children"));
        assert_eq!(
            nearest("before_lease", ["afterLease", "beforeLease"]),
            Some("beforeLease")
        );
        assert_eq!(nearest("zzz", keys), None);
        assert_eq!(nearest("a", ["b"]), None);
    }

    #[test]
    fn lists_the_words_when_none_is_near() {
        assert_eq!(
            did_you_mean("x", ["warn", "exit"]).unwrap(),
            "valid are `warn`, `exit`"
        );
        assert_eq!(
            did_you_mean("exti", ["warn", "exit"]).unwrap(),
            "did you mean `exit`?"
        );
        assert_eq!(did_you_mean("x", []), None);
    }
}
