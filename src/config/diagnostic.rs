//! Mistakes in a configuration file, and how they are shown: message, file, line, column, excerpt, help.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::node::Node;
use super::secret::{self, MASK};
use super::span::Span;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
    /// Where; `None` for the file as a whole.
    pub span: Option<Span>,
    /// What would be right.
    pub help: Option<String>,
    /// Other places that belong to it, each with a word on why.
    pub related: Vec<(Span, String)>,
}

impl Problem {
    /// A mistake at a place.
    pub fn new(message: impl Into<String>, span: Span) -> Self {
        Problem {
            message: message.into(),
            span: Some(span),
            help: None,
            related: Vec::new(),
        }
    }

    /// A mistake of the file as a whole.
    pub fn of_file(message: impl Into<String>) -> Self {
        Problem {
            message: message.into(),
            span: None,
            help: None,
            related: Vec::new(),
        }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what would be right, if that is known.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }
}

/// The text of a file, kept to show excerpts of it. What it gives out has its secrets masked.
#[derive(Clone)]
pub struct Source {
    name: String,
    masked: String,
    /// Secret ranges of the original text with the ranges of their masks.
    moved: Vec<(Range<usize>, Range<usize>)>,
    /// Of the text with its secrets.
    fingerprint: u64,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// Takes a file's text, and its tree if it could be parsed, which tells where the secrets are.
    pub(crate) fn new(name: &str, text: &str, root: Option<&Node>) -> Self {
        let mut masked = String::with_capacity(text.len());
        let mut moved = Vec::new();
        let mut copied = 0;
        for secret in secret::ranges(text, root) {
            masked.push_str(&text[copied..secret.start]);
            let from = masked.len();
            // Lines keep their numbers.
            let lines = text[secret.clone()].matches('\n').count();
            masked.push_str(MASK);
            masked.push_str(&"\n".repeat(lines));
            moved.push((secret.clone(), from..masked.len()));
            copied = secret.end;
        }
        masked.push_str(&text[copied..]);
        Source {
            name: name.to_owned(),
            masked,
            moved,
            fingerprint: {
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                hasher.finish()
            },
        }
    }

    /// Whether the two texts are the same, secrets included.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.masked == other.masked
    }

    /// The file's name as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The span in the masked text, cut to its first line.
    fn shown(&self, span: &Span) -> Range<usize> {
        let start = self.place(span.start, false).min(self.masked.len());
        let end = self.place(span.end, true).clamp(start, self.masked.len());
        let line = self.masked[start..end]
            .find('\n')
            .map_or(end, |length| start + length);
        start..start + self.masked[start..line].trim_end().len()
    }

    fn place(&self, offset: usize, end: bool) -> usize {
        let before = self
            .moved
            .iter()
            .rev()
            .find(|(secret, _)| secret.start < offset);
        let place = match before {
            Some((secret, mask)) if offset < secret.end && !end => mask.start,
            Some((secret, mask)) if offset < secret.end => mask.end,
            Some((secret, mask)) => mask.end + (offset - secret.end),
            None => offset,
        };
        // A place that the parser gave inside a character would make a slice panic.
        (0..=place.min(self.masked.len()))
            .rev()
            .find(|at| self.masked.is_char_boundary(*at))
            .unwrap_or(0)
    }
}

/// Mistakes that are shown of one file; who has more of them mends these first.
const MAX_SHOWN: usize = 50;

/// All mistakes of one file. There is at least one.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    source: Arc<Source>,
    problems: Vec<Problem>,
}

impl std::error::Error for Diagnostics {}

impl Diagnostics {
    /// The mistakes of a file in the order in which they stand there.
    pub fn new(source: Arc<Source>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.map(|span| span.start));
        problems.dedup();
        Diagnostics { source, problems }
    }

    /// The mistakes.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The file's name as the user gave it.
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// As text with colours for a terminal. `Display` gives the same without.
    pub fn styled(&self) -> String {
        self.render(&Renderer::styled().decor_style(DecorStyle::Ascii))
    }

    fn render(&self, renderer: &Renderer) -> String {
        let shown = self.problems.iter().take(MAX_SHOWN);
        let mut blocks: Vec<_> = shown
            .map(|problem| self.render_one(problem, renderer))
            .collect();
        if self.problems.len() > MAX_SHOWN {
            blocks.push(format!(
                "error: {} more mistakes follow",
                self.problems.len() - MAX_SHOWN
            ));
        }
        blocks.join("\n\n")
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let Some(span) = &problem.span else {
            let mut text = format!("error: {}: {}", self.source.name, problem.message);
            if let Some(help) = &problem.help {
                text.push_str("\n  = help: ");
                text.push_str(help);
            }
            return text;
        };
        let related = problem.related.iter().map(|(span, label)| {
            AnnotationKind::Context
                .span(self.source.shown(span))
                .label(label.as_str())
        });
        let snippet = Snippet::source(self.source.masked.as_str())
            .path(self.source.name.as_str())
            .annotation(AnnotationKind::Primary.span(self.source.shown(span)))
            .annotations(related);
        let mut group = Group::with_title(Level::ERROR.primary_title(problem.message.as_str()));
        group = group.element(snippet);
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain().decor_style(DecorStyle::Ascii)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_tree;

    fn show(text: &str, problems: Vec<Problem>) -> String {
        let (root, _) = parse_tree(text);
        Diagnostics::new(
            Arc::new(Source::new("x.yaml", text, root.as_ref())),
            problems,
        )
        .to_string()
    }

    #[test]
    fn shows_the_line_with_a_caret_and_the_help() {
        let span = Span {
            start: 6,
            end: 10,
            line: 2,
            column: 3,
        };
        let shown = show(
            "abc:\n  tpye: x\n",
            vec![
                Problem::new(
                    "unknown key `tpye`",
                    Span {
                        start: 7,
                        end: 11,
                        ..span
                    },
                )
                .help("did you mean `type`?"),
            ],
        );
        let expected = "\
error: unknown key `tpye`
 --> x.yaml:2:3
  |
2 |   tpye: x
  |   ^^^^
  |
  = help: did you mean `type`?";
        assert_eq!(shown, expected);
    }

    #[test]
    fn masks_the_secrets_of_the_excerpt_and_keeps_the_caret() {
        let text = "{token: \"s3cr3t\", other: [1, 2]}\n";
        let at = text.find("other").unwrap();
        let span = Span {
            start: at,
            end: at + 5,
            line: 1,
            column: at + 1,
        };
        let shown = show(text, vec![Problem::new("bad", span)]);
        assert!(!shown.contains("s3cr3t"), "{shown}");
        assert!(
            shown.contains("1 | {token: ***, other: [1, 2]}\n  |              ^^^^^"),
            "{shown}"
        );
    }

    #[test]
    fn a_secret_of_many_lines_keeps_the_line_numbers() {
        let text = "token: |\n  one\n  two\nbad: 1\n";
        let at = text.find("bad").unwrap();
        let shown = show(
            text,
            vec![Problem::new(
                "bad",
                Span {
                    start: at,
                    end: at + 3,
                    line: 4,
                    column: 1,
                },
            )],
        );
        assert!(
            shown.contains("x.yaml:4:1") && shown.contains("4 | bad: 1"),
            "{shown}"
        );
    }
}
