//! What may be the name of a client, an exporter, a lease or a policy.

/// Longest name, as DNS has it.
pub const MAX_NAME: usize = 253;
/// Longest part between two dots.
const MAX_PART: usize = 63;

/// A text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid name {0:?}: a lowercase RFC 1123 subdomain must consist of at most 253 lower case letters, \
     digits, '-' or '.', and every part of it must start and end with a letter or digit and have at most \
     63 of them"
)]
pub struct NameError(String);

/// Checks that a text is a DNS-1123 subdomain.
///
/// # Errors
/// It is none. The error quotes no more of it than a name can have.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.len() <= MAX_NAME && name.split('.').all(part) {
        return Ok(());
    }
    Err(NameError(name.chars().take(MAX_NAME).collect()))
}

fn part(text: &str) -> bool {
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= MAX_PART
        && text.starts_with(outer)
        && text.ends_with(outer)
        && text.chars().all(|c| outer(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names() {
        let longest = [
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61),
        ]
        .join(".");
        for name in [
            "a",
            "rig-3",
            "0190a1c8-7b7e-7000-8000-000000000000",
            "a.b-c.d",
            &longest,
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let (part, whole) = ("a".repeat(64), format!("{longest}d"));
        for text in [
            "", "-a", "a-", "A", "a_b", "a..b", ".a", "a.", "a/b", "ä", "a b", "a\n", &part, &whole,
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_absurd_name_is_not_quoted_whole() {
        let error = check(&"x".repeat(1_000_000)).unwrap_err().to_string();
        assert!(error.len() < 600, "{error}");
    }
}
