//! What a scalar without quotes means in YAML 1.1, as PyYAML resolves it.

/// The meaning of a bare word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Null,
    Bool(bool),
    Int,
    Float,
    Timestamp,
    /// `=` and `<<`.
    Mark,
    Text,
}

/// Resolves a bare word.
pub(super) fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Meaning::Bool(true);
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Meaning::Bool(false);
        }
        "=" | "<<" => return Meaning::Mark,
        _ => {}
    }
    let bytes = text.as_bytes();
    if is_int(bytes) {
        Meaning::Int
    } else if is_float(bytes) {
        Meaning::Float
    } else if is_timestamp(bytes) {
        Meaning::Timestamp
    } else {
        Meaning::Text
    }
}

fn all(text: &[u8], fits: impl Fn(u8) -> bool) -> bool {
    text.iter().all(|b| fits(*b))
}

fn digits(text: &[u8]) -> bool {
    !text.is_empty() && all(text, |b| b.is_ascii_digit())
}

fn spaced_digit(b: u8) -> bool {
    b.is_ascii_digit() || b == b'_'
}

fn unsigned(text: &[u8]) -> &[u8] {
    match text {
        [b'-' | b'+', rest @ ..] => rest,
        _ => text,
    }
}

fn is_int(text: &[u8]) -> bool {
    match unsigned(text) {
        b"0" => true,
        [b'0', b'b', rest @ ..] => !rest.is_empty() && all(rest, |b| b"01_".contains(&b)),
        [b'0', b'x', rest @ ..] => {
            !rest.is_empty() && all(rest, |b| b.is_ascii_hexdigit() || b == b'_')
        }
        [b'0', rest @ ..] => all(rest, |b| (b'0'..=b'7').contains(&b) || b == b'_'),
        [b'1'..=b'9', rest @ ..] => {
            let (head, sixties) = sixties(rest);
            all(head, spaced_digit) && (sixties.is_empty() || are_sixties(sixties))
        }
        _ => false,
    }
}

/// Splits before the first colon.
fn sixties(text: &[u8]) -> (&[u8], &[u8]) {
    let at = text.iter().position(|b| *b == b':').unwrap_or(text.len());
    text.split_at(at)
}

/// `:30`, `:5:07`, as minutes and seconds.
fn are_sixties(text: &[u8]) -> bool {
    let mut parts = text.split(|b| *b == b':');
    parts.next().is_some_and(<[u8]>::is_empty)
        && parts.all(|part| match part {
            [ones] => ones.is_ascii_digit(),
            [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
            _ => false,
        })
}

fn is_float(text: &[u8]) -> bool {
    let body = unsigned(text);
    match body {
        b".inf" | b".Inf" | b".INF" => return true,
        // These take no sign.
        b".nan" | b".NaN" | b".NAN" => return body.len() == text.len(),
        _ => {}
    }
    let Some(point) = body.iter().position(|b| *b == b'.') else {
        return false;
    };
    let (whole, fraction) = (&body[..point], &body[point + 1..]);
    let (head, rest) = sixties(whole);
    if !rest.is_empty() {
        return head.first().is_some_and(u8::is_ascii_digit)
            && all(head, spaced_digit)
            && are_sixties(rest)
            && all(fraction, spaced_digit);
    }
    let at = fraction.iter().position(|b| matches!(b, b'e' | b'E'));
    let (fraction, exponent) = match at {
        Some(at) => (&fraction[..at], Some(&fraction[at + 1..])),
        None => (fraction, None),
    };
    // The exponent needs its sign.
    let exponent = exponent.is_none_or(|e| matches!(e, [b'-' | b'+', e @ ..] if digits(e)));
    let starts = match whole {
        [] => body.len() == text.len() && fraction.first().is_some_and(u8::is_ascii_digit),
        [first, ..] => first.is_ascii_digit(),
    };
    starts && exponent && all(whole, spaced_digit) && all(fraction, spaced_digit)
}

fn is_timestamp(text: &[u8]) -> bool {
    let Some((year, rest)) = text.split_at_checked(4) else {
        return false;
    };
    if !digits(year) {
        return false;
    }
    let Some((month, rest)) = after(rest, b'-').and_then(one_or_two) else {
        return false;
    };
    let Some((day, rest)) = after(rest, b'-').and_then(one_or_two) else {
        return false;
    };
    if rest.is_empty() {
        return month == 2 && day == 2;
    }
    let rest = match rest {
        [b'T' | b't', rest @ ..] => rest,
        [b' ' | b'\t', ..] => rest.trim_ascii_start(),
        _ => return false,
    };
    clock(rest).is_some_and(is_zone)
}

fn after(text: &[u8], mark: u8) -> Option<&[u8]> {
    text.strip_prefix(&[mark])
}

/// How many digits were taken, and the rest.
fn one_or_two(text: &[u8]) -> Option<(usize, &[u8])> {
    match text {
        [a, b, rest @ ..] if a.is_ascii_digit() && b.is_ascii_digit() => Some((2, rest)),
        [a, rest @ ..] if a.is_ascii_digit() => Some((1, rest)),
        _ => None,
    }
}

fn two(text: &[u8]) -> Option<&[u8]> {
    one_or_two(text)
        .filter(|(taken, _)| *taken == 2)
        .map(|(_, rest)| rest)
}

/// `8:15:00.25`; gives what follows.
fn clock(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = one_or_two(text)?;
    let rest = two(after(rest, b':')?)?;
    let rest = two(after(rest, b':')?)?;
    let Some(fraction) = after(rest, b'.') else {
        return Some(rest);
    };
    let end = fraction.iter().position(|b| !b.is_ascii_digit());
    Some(&fraction[end.unwrap_or(fraction.len())..])
}

/// Nothing, `Z`, `+1`, `-02:30`, perhaps after spaces.
fn is_zone(text: &[u8]) -> bool {
    let spaces = text
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count();
    match &text[spaces..] {
        [] => spaces == 0,
        b"Z" => true,
        [b'-' | b'+', rest @ ..] => match one_or_two(rest) {
            Some((_, [])) => true,
            Some((_, [b':', minutes @ ..])) => two(minutes).is_some_and(<[u8]>::is_empty),
            _ => false,
        },
        _ => false,
    }
}
