//! What a plain (unquoted) scalar means.
//!
//! The rules are those of YAML 1.1 in the form that PyYAML's safe loader applies, since that is what existing
//! exporter files were written against: `on` is a boolean, `010` is eight, `1:30` is ninety, `1e3` is a string.
//! Dates stay strings: no key of the configuration takes a date.

/// The meaning of a plain scalar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// A whole number of more than 127 bits.
    TooLarge,
    Str,
}

/// Resolves the text of a plain scalar.
pub(crate) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        _ => {}
    }
    // Every number starts with one of these, which settles most strings at once.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Scalar::Str;
    }
    int(text).or_else(|| float(text)).unwrap_or(Scalar::Str)
}

fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn int(text: &str) -> Option<Scalar> {
    let (negative, body) = sign(text);
    let magnitude = if let Some(digits) = body.strip_prefix("0b") {
        radix(digits, 2)?
    } else if let Some(digits) = body.strip_prefix("0x") {
        radix(digits, 16)?
    } else if body == "0" {
        Some(0)
    } else if let Some(digits) = body.strip_prefix('0') {
        // `0_` is zero: the separators are cut before the number is read.
        if digits.chars().all(|c| c == '_') {
            Some(0)
        } else {
            radix(digits, 8)?
        }
    } else if body.contains(':') {
        sexagesimal(body)?
    } else {
        leading_digit(body, '1')?;
        radix(body, 10)?
    };
    Some(match magnitude {
        Some(value) if negative => Scalar::Int(-value),
        Some(value) => Scalar::Int(value),
        None => Scalar::TooLarge,
    })
}

/// `Some(())` when the text starts with a digit of at least `least`.
fn leading_digit(text: &str, least: char) -> Option<()> {
    text.starts_with(|c: char| (least..='9').contains(&c))
        .then_some(())
}

/// The outer `None` says that the text is no such number, the inner one that it does not fit.
#[allow(clippy::option_option)]
fn radix(digits: &str, radix: u32) -> Option<Option<i128>> {
    if !digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        return None;
    }
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    if digits.is_empty() {
        return None;
    }
    Some(i128::from_str_radix(&digits, radix).ok())
}

#[allow(clippy::option_option)]
fn sexagesimal(body: &str) -> Option<Option<i128>> {
    let mut parts = body.split(':');
    let head = parts.next()?;
    leading_digit(head, '1')?;
    let mut value = radix(head, 10)?;
    for part in parts {
        let part = base60_digit(part)?;
        value = value.and_then(|v| v.checked_mul(60)?.checked_add(part.into()));
    }
    Some(value)
}

/// `[0-5]?[0-9]`
fn base60_digit(part: &str) -> Option<u8> {
    let shape = match part.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
        _ => false,
    };
    if shape { part.parse().ok() } else { None }
}

fn float(text: &str) -> Option<Scalar> {
    let (negative, body) = sign(text);
    match body {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Scalar::Float(if negative {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }));
        }
        // A not-a-number takes no sign.
        ".nan" | ".NaN" | ".NAN" if body.len() == text.len() => {
            return Some(Scalar::Float(f64::NAN));
        }
        _ => {}
    }
    let value = if body.contains(':') {
        float60(body)?
    } else {
        decimal(body, text)?
    };
    Some(Scalar::Float(if negative { -value } else { value }))
}

fn decimal(body: &str, text: &str) -> Option<f64> {
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    // The exponent needs its sign: `1.0e3` is a string.
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['-', '+'])?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
    }
    let (whole, fraction) = mantissa.split_once('.')?;
    let digits = |part: &str| part.bytes().all(|b| b == b'_' || b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    if whole.is_empty() {
        // Without a whole part there is no sign, and a digit follows the point: `-.5` is a string.
        leading_digit(fraction, '0')?;
        if body.len() != text.len() {
            return None;
        }
    } else {
        leading_digit(whole, '0')?;
    }
    body.replace('_', "").parse().ok()
}

fn float60(body: &str) -> Option<f64> {
    let (front, fraction) = body.split_once('.')?;
    if !fraction.bytes().all(|b| b == b'_' || b.is_ascii_digit()) {
        return None;
    }
    let mut parts = front.split(':');
    let head = parts.next()?;
    leading_digit(head, '0')?;
    if !head.bytes().all(|b| b == b'_' || b.is_ascii_digit()) {
        return None;
    }
    let mut value: f64 = head.replace('_', "").parse().ok()?;
    for part in parts {
        value = value * 60.0 + f64::from(base60_digit(part)?);
    }
    let fraction: f64 = format!("0.{}", fraction.replace('_', "")).parse().ok()?;
    Some(value + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row was checked against PyYAML 6.0.3 (`yaml.safe_load`).
    #[test]
    fn plain_scalars_mean_what_pyyaml_reads() {
        use Scalar::{Bool, Float, Int, Null, Str};
        let rows: &[(&str, Scalar)] = &[
            ("", Null),
            ("~", Null),
            ("null", Null),
            ("Null", Null),
            ("NULL", Null),
            ("nULL", Str),
            ("yes", Bool(true)),
            ("On", Bool(true)),
            ("TRUE", Bool(true)),
            ("no", Bool(false)),
            ("off", Bool(false)),
            ("False", Bool(false)),
            ("y", Str),
            ("n", Str),
            ("oN", Str),
            ("0", Int(0)),
            ("-0", Int(0)),
            ("+1", Int(1)),
            ("010", Int(8)),
            ("-010", Int(-8)),
            ("00", Int(0)),
            ("0_", Int(0)),
            ("0__", Int(0)),
            ("0_7", Int(7)),
            ("08", Str),
            ("0o17", Str),
            ("0x1F", Int(31)),
            ("-0x1f", Int(-31)),
            ("0x_f", Int(15)),
            ("0x", Str),
            ("0b", Str),
            ("0b101", Int(5)),
            ("0b_1", Int(1)),
            ("-0b11", Int(-3)),
            ("0b2", Str),
            ("1_000", Int(1000)),
            ("1_000_", Int(1000)),
            ("_1", Str),
            ("-_1", Str),
            ("_", Str),
            ("1:30", Int(90)),
            ("-1:30", Int(-90)),
            ("190:20:30", Int(685_230)),
            ("1:99", Str),
            ("0:30", Str),
            ("01:30", Str),
            ("1:3:", Str),
            ("12:34:56:12:34:56", Int(9_783_981_296)),
            ("1.", Float(1.0)),
            (".5", Float(0.5)),
            ("-.5", Str),
            ("-1.5", Float(-1.5)),
            ("1_0.5", Float(10.5)),
            ("1e3", Str),
            ("1.0e3", Str),
            ("1.5e+3", Float(1500.0)),
            ("1.e+3", Float(1000.0)),
            ("-1.5E-1", Float(-0.15)),
            (".5e+1", Float(5.0)),
            (".e+3", Str),
            (".", Str),
            ("..", Str),
            ("._5", Str),
            ("-", Str),
            ("+", Str),
            ("1.2.3", Str),
            (".inf", Float(f64::INFINITY)),
            ("-.INF", Float(f64::NEG_INFINITY)),
            ("+.Inf", Float(f64::INFINITY)),
            ("-.nan", Str),
            ("1:30.5", Float(90.5)),
            ("1:0.", Float(60.0)),
            ("100:00.5", Float(6000.5)),
            ("01:30.5", Float(90.5)),
            ("1.0e+999", Float(f64::INFINITY)),
            ("2001-01-01", Str),
            ("1.1.1.1", Str),
            ("a", Str),
            ("=", Str),
            ("<<", Str),
            (
                "99999999999999999999999",
                Int(99_999_999_999_999_999_999_999),
            ),
        ];
        for (text, meaning) in rows {
            assert_eq!(&resolve(text), meaning, "{text:?}");
        }
        assert!(matches!(resolve(".nan"), Float(v) if v.is_nan()));
        assert_eq!(resolve(&"9".repeat(40)), Scalar::TooLarge);
    }
}
