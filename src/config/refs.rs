//! References between instances: each leads somewhere, and none leads back to itself.

use std::collections::HashMap;

use super::diagnostic::Problem;
use super::export::{EntryKind, ExportEntry};
use super::span::{Span, Spanned};
use super::suggest;

/// References that may follow each other, and instances that may be named: both bound the work of the search, and
/// are far above what a board needs.
const MAX_CHAIN: usize = 64;
const MAX_INSTANCES: usize = 4096;

/// What a reference leads to.
enum Found<'a> {
    Entry(&'a ExportEntry),
    /// Below a driver, which may make children that the file does not name; known once it is built.
    BelowDriver,
    Nothing,
}

/// Checks every `ref` of a tree. A path that goes on below a driver's entry is let pass, since drivers make children of
/// their own.
pub fn check_refs(export: &[ExportEntry]) -> Vec<Problem> {
    let mut paths = Vec::new();
    collect(export, "", &mut paths);
    if let Some((_, entry)) = paths.get(MAX_INSTANCES) {
        let message = format!("more than {MAX_INSTANCES} instances");
        return Vec::from([Problem::new(message, entry.name.span)]);
    }
    let mut problems = Vec::new();
    for (_, entry) in &paths {
        let EntryKind::Ref { target } = &entry.kind else {
            continue;
        };
        if matches!(find(export, &target.value), Found::Nothing) {
            let words = paths
                .iter()
                .filter(|(_, other)| !std::ptr::eq(*other, *entry))
                .map(|(path, _)| path.as_str());
            problems.push(
                Problem::new(
                    format!(
                        "`{}` refers to `{}`, which does not exist",
                        entry.name.value, target.value
                    ),
                    target.span,
                )
                .maybe_help(suggest::did_you_mean(&target.value, words)),
            );
        }
    }
    let mut search = Search {
        export,
        marks: HashMap::new(),
        trail: Vec::new(),
        problems,
    };
    for entry in export {
        search.visit(entry);
    }
    search.problems
}

fn collect<'a>(
    entries: &'a [ExportEntry],
    front: &str,
    paths: &mut Vec<(String, &'a ExportEntry)>,
) {
    for entry in entries {
        let path = if front.is_empty() {
            entry.name.value.clone()
        } else {
            format!("{front}.{}", entry.name.value)
        };
        collect(entry.children(), &path, paths);
        paths.push((path, entry));
    }
}

/// Follows a path by names. It does not go through references, as upstream's does not.
fn find<'a>(export: &'a [ExportEntry], path: &str) -> Found<'a> {
    let mut entries = export;
    let mut found: Option<&ExportEntry> = None;
    for part in path.split('.') {
        match entries.iter().find(|entry| entry.name.value == part) {
            Some(entry) => {
                entries = entry.children();
                found = Some(entry);
            }
            None if found.is_some_and(|entry| matches!(entry.kind, EntryKind::Driver(_))) => {
                return Found::BelowDriver;
            }
            None => return Found::Nothing,
        }
    }
    found.map_or(Found::Nothing, Found::Entry)
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Open,
    Done,
}

/// Depth first, over children and references alike: an entry that is met while it is open closes a circle.
struct Search<'a> {
    export: &'a [ExportEntry],
    marks: HashMap<*const ExportEntry, Mark>,
    /// The references followed to get here, with what each one leads to.
    trail: Vec<(&'a ExportEntry, &'a Spanned<String>)>,
    problems: Vec<Problem>,
}

impl<'a> Search<'a> {
    fn visit(&mut self, entry: &'a ExportEntry) {
        match self.marks.get(&std::ptr::from_ref(entry)) {
            Some(Mark::Done) => return,
            Some(Mark::Open) => {
                self.circle(entry);
                return;
            }
            None => {}
        }
        self.marks.insert(entry, Mark::Open);
        if let EntryKind::Ref { target } = &entry.kind {
            if self.trail.len() == MAX_CHAIN {
                let message = format!("more than {MAX_CHAIN} references follow each other");
                self.problems.push(Problem::new(message, target.span));
            } else if let Found::Entry(next) = find(self.export, &target.value) {
                self.trail.push((entry, target));
                self.visit(next);
                self.trail.pop();
            }
        }
        for child in entry.children() {
            self.visit(child);
        }
        self.marks.insert(entry, Mark::Done);
    }

    fn circle(&mut self, entry: &ExportEntry) {
        let Some((last, target)) = self.trail.last() else {
            return;
        };
        let message = if std::ptr::eq(*last, entry) {
            format!("`{}` refers to itself", last.name.value)
        } else {
            format!(
                "`{}` refers to `{}`, which leads back to it",
                last.name.value, target.value
            )
        };
        let others = self.trail.iter().rev().skip(1);
        // The trail may begin before the circle does.
        let others = others.take_while(|(by, _)| {
            !std::ptr::eq(*last, entry)
                && self.marks.get(&std::ptr::from_ref(*by)) == Some(&Mark::Open)
        });
        let related: Vec<(Span, String)> = others
            .map(|(_, target)| (target.span, "over this reference".to_owned()))
            .collect();
        let mut problem = Problem::new(message, target.span);
        problem.related = related;
        self.problems.push(problem);
    }
}
