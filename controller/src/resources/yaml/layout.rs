//! Where things stand on the page: maps and lists in block style, as PyYAML lays them out.
//!
//! A list below a key is not indented; maps and lists that begin right after a `-`, `?` or `:` of
//! their own line stay on it. Empty ones are `{}` and `[]`.

use super::{
    super::Node,
    scalar::{self, Place, is_break},
};

/// Columns after which a line is wrapped at the next space.
pub(super) const WIDTH: usize = 80;
/// Spaces a level.
const STEP: usize = 2;
/// A key of more characters than this is written after a `?`: PyYAML keeps keys with their tag,
/// which takes five, below 128.
const LONGEST_KEY: usize = 122;

/// The text of a tree, with its last line end.
pub(in super::super) fn write(node: &Node) -> String {
    let mut sheet = Sheet {
        out: String::new(),
        column: 0,
        indent: 0,
        open: true,
        spaced: true,
    };
    value(&mut sheet, node, Around::Nothing);
    sheet.end_line();
    sheet.out
}

/// What a value stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    Nothing,
    List,
    Map,
}

fn value(sheet: &mut Sheet, node: &Node, around: Around) {
    match node {
        Node::Null => sheet.scalar("null", around, scalar::bare),
        Node::Bool(true) => sheet.scalar("true", around, scalar::bare),
        Node::Bool(false) => sheet.scalar("false", around, scalar::bare),
        Node::Int(number) => sheet.scalar(&number.to_string(), around, scalar::bare),
        Node::Text(text) => sheet.scalar(text, around, scalar::write),
        Node::List(items) if items.is_empty() => sheet.mark("[]", true),
        Node::Map(entries) if entries.is_empty() => sheet.mark("{}", true),
        Node::List(items) => {
            let flush = around == Around::Map && !sheet.open;
            let outer = sheet.indent;
            sheet.indent += if flush { 0 } else { step(around) };
            for item in items {
                sheet.align();
                sheet.lead("-");
                value(sheet, item, Around::List);
            }
            sheet.indent = outer;
        }
        Node::Map(entries) => map(sheet, entries, around),
    }
}

fn step(around: Around) -> usize {
    if around == Around::Nothing { 0 } else { STEP }
}

fn map(sheet: &mut Sheet, entries: &[(String, Node)], around: Around) {
    let outer = sheet.indent;
    sheet.indent += step(around);
    let mut sorted: Vec<_> = entries.iter().collect();
    // Python compares code points, which is the order of UTF-8's bytes too.
    sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (key, node) in sorted {
        sheet.align();
        let simple =
            !key.is_empty() && !key.contains(is_break) && key.chars().count() <= LONGEST_KEY;
        if simple {
            scalar::write(sheet, key, Place::Key);
            sheet.mark(":", false);
        } else {
            sheet.lead("?");
            sheet.scalar(key, Around::Map, scalar::write);
            sheet.align();
            sheet.lead(":");
        }
        value(sheet, node, Around::Map);
    }
    sheet.indent = outer;
}

/// What was written so far. All of it is ASCII, so that bytes are columns.
#[derive(Debug)]
pub(super) struct Sheet {
    out: String,
    column: usize,
    /// Of the innermost map or list, or of the lines that a scalar is wrapped to.
    indent: usize,
    /// Only indentation, `-`, `?` and `:` are on this line.
    open: bool,
    /// The last character makes no space necessary.
    spaced: bool,
}

impl Sheet {
    pub(super) fn column(&self) -> usize {
        self.column
    }

    pub(super) fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.len();
    }

    pub(super) fn put_chars(&mut self, chars: &[char]) {
        self.out.extend(chars);
        self.column += chars.len();
    }

    /// A mark that belongs to a value.
    pub(super) fn mark(&mut self, mark: &str, apart: bool) {
        if apart && !self.spaced {
            self.put(" ");
        }
        self.put(mark);
        self.spaced = false;
        self.open = false;
    }

    /// A mark after which a value may begin on the same line.
    fn lead(&mut self, mark: &str) {
        let open = self.open;
        self.mark(mark, true);
        self.open = open;
    }

    /// Before a word without quotes.
    pub(super) fn begin_bare(&mut self) {
        self.mark("", true);
    }

    fn scalar(&mut self, text: &str, around: Around, write: fn(&mut Self, &str, Place)) {
        let outer = self.indent;
        self.indent += if around == Around::Nothing {
            STEP
        } else {
            step(around)
        };
        write(self, text, Place::Free);
        self.indent = outer;
    }

    /// To the indent: on this line if that is still possible.
    fn align(&mut self) {
        let beyond = self.column > self.indent || self.column == self.indent && !self.spaced;
        if !self.open || beyond {
            self.end_line();
        }
        self.pad();
    }

    /// Goes on in the next line.
    pub(super) fn wrap(&mut self) {
        self.end_lines(1);
    }

    /// Goes on after so many line ends.
    pub(super) fn end_lines(&mut self, count: usize) {
        for _ in 0..count {
            self.end_line();
        }
        self.pad();
    }

    fn pad(&mut self) {
        while self.column < self.indent {
            self.put(" ");
            self.spaced = true;
        }
    }

    fn end_line(&mut self) {
        self.out.push('\n');
        self.column = 0;
        self.open = true;
        self.spaced = true;
    }
}
