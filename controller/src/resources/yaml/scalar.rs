//! A text as one scalar: whether it needs quotes and which, and how it is wrapped.
//!
//! The rules are PyYAML's for output in ASCII: whatever is outside of it is escaped, so that a
//! text with such characters is always in double quotes.

use super::{
    layout::{Sheet, WIDTH},
    plain::{self, Meaning},
};

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A key before its colon, on one line.
    Key,
    /// Anywhere else, where it may be wrapped.
    Free,
}

/// All that YAML takes for the end of a line.
pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Writes a text at the current place.
pub(super) fn write(sheet: &mut Sheet, text: &str, place: Place) {
    match style(text, place) {
        Style::Plain => bare(sheet, text, place),
        Style::Single => {
            sheet.mark("'", true);
            single(sheet, text, place);
            sheet.mark("'", false);
        }
        Style::Double => {
            sheet.mark("\"", true);
            double(sheet, text, place);
            sheet.mark("\"", false);
        }
    }
}

/// Writes a word that is known to need no quotes.
pub(super) fn bare(sheet: &mut Sheet, text: &str, place: Place) {
    sheet.begin_bare();
    words(sheet, text, place);
}

fn style(text: &str, place: Place) -> Style {
    let breaks = text.contains('\n');
    let special = |c: char| c != '\n' && !(' '..='~').contains(&c);
    // Wrapping takes a single break for a space, and spaces next to one for indentation.
    if text.contains(special) || text.contains(" \n") || text.contains("\n ") {
        return Style::Double;
    }
    let outer = |c: char| matches!(c, ' ' | '\n');
    let plain = !breaks
        && !text.starts_with(outer)
        && !text.ends_with(outer)
        && !indicates(text)
        && plain::meaning(text) == Meaning::Text;
    if plain {
        Style::Plain
    } else if breaks && place == Place::Key {
        Style::Double
    } else {
        Style::Single
    }
}

/// It would be read as something else than a scalar, or as one that ends early.
fn indicates(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    let second = chars.next();
    let leads = match first {
        Some(c) if "#,[]{}&*!|>'\"%@`".contains(c) => true,
        Some('?' | ':' | '-') => matches!(second, None | Some(' ')),
        _ => false,
    };
    leads
        || text.starts_with("---")
        || text.starts_with("...")
        || text.ends_with(':')
        || text.contains(": ")
        || text.contains(" #")
}

/// Text of one line; a single space between words may become the end of a line.
fn words(sheet: &mut Sheet, text: &str, place: Place) {
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(' ').unwrap_or(rest.len());
        sheet.put(&rest[..word]);
        rest = &rest[word..];
        let spaces = rest.len() - rest.trim_start_matches(' ').len();
        // The outermost spaces belong to the text also when they are alone.
        let inner = rest.len() < text.len() && spaces < rest.len();
        if spaces == 1 && inner && place == Place::Free && sheet.column() > WIDTH {
            sheet.wrap();
        } else {
            sheet.put(&rest[..spaces]);
        }
        rest = &rest[spaces..];
    }
}

fn single(sheet: &mut Sheet, text: &str, place: Place) {
    let doubled = text.replace('\'', "''");
    let mut rest = doubled.as_str();
    while !rest.is_empty() {
        let line = rest.find('\n').unwrap_or(rest.len());
        words(sheet, &rest[..line], place);
        rest = &rest[line..];
        let breaks = rest.len() - rest.trim_start_matches('\n').len();
        if breaks > 0 {
            // A lone end of a line would be read as a space.
            sheet.end_lines(breaks + 1);
        }
        rest = &rest[breaks..];
    }
}

fn double(sheet: &mut Sheet, text: &str, place: Place) {
    let chars: Vec<char> = text.chars().collect();
    let last = chars.len().saturating_sub(1);
    // What was not written yet starts here; one past `at` after an escape.
    let mut start = 0;
    for (at, c) in chars.iter().copied().enumerate() {
        let bare = (' '..='~').contains(&c) && !matches!(c, '"' | '\\');
        if !bare {
            sheet.put_chars(&chars[start..at]);
            escape(sheet, c);
            start = at + 1;
        }
        let may = place == Place::Free && 0 < at && at < last;
        if may && (c == ' ' || start >= at) && sheet.column() + at > WIDTH + start {
            if start < at {
                sheet.put_chars(&chars[start..at]);
                start = at;
            }
            sheet.put("\\");
            sheet.wrap();
            // It would be taken for indentation.
            if chars[start] == ' ' {
                sheet.put("\\");
            }
        }
    }
    sheet.put_chars(&chars[start..]);
}

fn escape(sheet: &mut Sheet, c: char) {
    let short = match c {
        '\0' => '0',
        '\x07' => 'a',
        '\x08' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\x0b' => 'v',
        '\x0c' => 'f',
        '\r' => 'r',
        '\x1b' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            let code = u32::from(c);
            return sheet.put(&match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            });
        }
    };
    sheet.put("\\");
    sheet.put(short.encode_utf8(&mut [0; 4]));
}
