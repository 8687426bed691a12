//! Resources for people: a row each, columns aligned.

use std::time::SystemTime;

/// Between two columns.
const GAP: &str = "  ";

/// How much a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// A row an object.
    Brief,
    /// `-o wide`: of exporters a row an instance.
    Wide,
}

/// What has rows in a table.
pub trait Row {
    /// Its kind and name, as `-o name` prints them: `lease.jumpstarter.dev/nightly-17`.
    fn full_name(&self) -> String;

    /// The heads of its columns.
    fn columns(detail: Detail) -> Vec<&'static str>;

    /// Its rows, with as many cells as there are columns.
    fn rows(&self, detail: Detail, now: SystemTime) -> Vec<Vec<String>>;
}

/// The whole table with its last line end; nothing without rows.
pub fn table<T: Row>(items: &[T], detail: Detail, now: SystemTime) -> String {
    let head: Vec<String> = T::columns(detail).into_iter().map(str::to_owned).collect();
    let rows: Vec<_> = items
        .iter()
        .flat_map(|item| item.rows(detail, now))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let lines: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows)
        .map(|cells| cells.iter().map(|cell| plain(cell)).collect())
        .collect();
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|cells| cells.get(column));
        widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = String::new();
    for cells in &lines {
        let padded = cells.iter().zip(&widths);
        let padded: Vec<_> = padded
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out.push_str(padded.join(GAP).trim_end());
        out.push('\n');
    }
    out
}

/// The kinds and names, a line each.
pub fn names<T: Row>(items: &[T]) -> String {
    items.iter().map(|item| item.full_name() + "\n").collect()
}

/// Without what would move a terminal's cursor.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `k:v,k:v`
pub(super) fn labels<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().map(|(k, v)| format!("{k}:{v}")).collect();
    pairs.join(",")
}
