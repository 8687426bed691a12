//! From text to the spanned tree: aliases expanded, merge keys applied, scalars resolved.
//!
//! Everything is bounded: depth, and the weight of the tree after aliases are expanded.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, StructureStyle, Tag};

use super::diagnostic::Problem;
use super::merge;
use super::node::{Kind, Node, Style, shorten};
use super::scalar::{self, Scalar};
use super::secret;
use super::span::Span;
use super::tag;

/// Nesting below the document. Twice the deepest export tree, and small enough to walk the tree by recursion.
const MAX_DEPTH: usize = 96;

/// Bytes of the tree after aliases are expanded, about. A file of the largest size without aliases stays below;
/// a bomb of aliases to aliases stops here.
const MAX_WEIGHT: usize = 64 * 1024 * 1024;

/// What a node costs beside its text: about its size in memory.
const NODE_WEIGHT: usize = 160;

/// Mistakes that do not stop the parser, of which more than these say nothing new.
const MAX_PROBLEMS: usize = 64;

/// Parses one YAML document. The tree is there when the text was readable to its end; problems beside it (such as a
/// duplicate key, whose second value was left out) are errors all the same.
pub fn parse_tree(text: &str) -> (Option<Node>, Vec<Problem>) {
    let options = granit_parser::options! { emit_comments: false };
    let mut builder = Builder {
        text,
        events: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        weight: 0,
        kept: 0,
        open: Vec::new(),
        problems: Vec::new(),
    };
    let root = match builder.document() {
        Ok(root) => root,
        Err(problem) => {
            builder.problems.push(problem);
            None
        }
    };
    let root = root.map(|mut root| {
        secret::mark(&mut root);
        root
    });
    (root, builder.problems)
}

struct Anchor {
    node: Node,
    weight: usize,
    height: usize,
}

struct Builder<'a> {
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Anchor>,
    /// Of the tree so far.
    weight: usize,
    /// Of the copies that anchors keep.
    kept: usize,
    /// Where brackets were opened and not closed yet.
    open: Vec<Span>,
    problems: Vec<Problem>,
}

/// A node and the levels below it.
type Built = (Node, usize);

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                let span = self.span(span.start, span.end);
                Ok((event, span))
            }
            Some(Err(error)) => {
                let place = self.span(*error.marker(), *error.marker());
                let mut problem = Problem::new(format!("this is no YAML: {}", error.info()), place);
                if let Some(bracket) = self.open.last() {
                    let bracket = Span {
                        end: bracket.start + 1,
                        ..*bracket
                    };
                    problem = problem.related(bracket, "this bracket is still open here");
                }
                Err(problem)
            }
            None => Ok((Event::StreamEnd, self.end())),
        }
    }

    fn span(&self, start: granit_parser::Marker, end: granit_parser::Marker) -> Span {
        let at = |marker: &granit_parser::Marker| {
            marker
                .byte_offset()
                .unwrap_or(self.text.len())
                .min(self.text.len())
        };
        let (first, last) = (at(&start), at(&end));
        Span {
            start: first,
            end: last.max(first),
            line: start.line().max(1),
            column: start.col() + 1,
        }
    }

    fn end(&self) -> Span {
        let line = self.text.split('\n').count();
        Span {
            start: self.text.len(),
            end: self.text.len(),
            line,
            column: 1,
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Problem> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(..), span) if root.is_some() => {
                    return Err(Problem::new("a second document starts here", span).help(
                        "a file holds one exporter: put each document into a file of its own",
                    ));
                }
                (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
                (event, span) => {
                    let (node, _) = self.node(event, span, 0)?;
                    root = Some(node);
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Built, Problem> {
        if depth > MAX_DEPTH {
            return Err(Problem::new(
                format!("nested deeper than {MAX_DEPTH} levels"),
                span,
            ));
        }
        let before = self.weight;
        let (anchor, built) = match event {
            Event::Alias(id) => return self.alias(id, span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(NODE_WEIGHT + 2 * text.len(), span)?;
                let node = self.scalar(&text, style, tag.as_deref(), span);
                (anchor, (node, 0))
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", span);
                (anchor, self.sequence(style, span, depth)?)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", span);
                (anchor, self.mapping(style, span, depth)?)
            }
            _ => return Err(Problem::new("expected a value", span)),
        };
        if anchor != 0 {
            let (node, height) = built.clone();
            let weight = self.weight - before;
            self.kept = self.kept.saturating_add(weight);
            self.spend(0, node.span)?;
            self.anchors.insert(
                anchor,
                Anchor {
                    node,
                    weight,
                    height,
                },
            );
        }
        Ok(built)
    }

    fn spend(&mut self, weight: usize, span: Span) -> Result<(), Problem> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight.saturating_add(self.kept) > MAX_WEIGHT {
            let message = "the file grows too large here when its aliases are expanded";
            return Err(Problem::new(message, span));
        }
        Ok(())
    }

    fn open(&mut self, style: StructureStyle, span: Span) -> Result<(), Problem> {
        if matches!(style, StructureStyle::Flow) {
            self.open.push(span);
        }
        self.spend(NODE_WEIGHT, span)
    }

    fn close(&mut self, style: StructureStyle) {
        if matches!(style, StructureStyle::Flow) {
            self.open.pop();
        }
    }

    fn alias(&mut self, id: usize, span: Span, depth: usize) -> Result<Built, Problem> {
        let Some(anchor) = self.anchors.get(&id) else {
            return Err(Problem::new(
                "this alias stands inside of what it refers to",
                span,
            ));
        };
        if depth + anchor.height > MAX_DEPTH {
            return Err(Problem::new(
                format!("nested deeper than {MAX_DEPTH} levels"),
                span,
            ));
        }
        let weight = anchor.weight;
        self.spend(weight, span)?;
        match self.anchors.get(&id) {
            Some(anchor) => Ok((anchor.node.clone(), anchor.height)),
            None => Err(Problem::new("this alias refers to nothing", span)),
        }
    }

    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, fits: &str, span: Span) {
        let Some(tag) = tag else { return };
        if tag.core_suffix() != Some(fits) && !tag::is_non_specific(tag) {
            self.problem(tag::unsupported(tag, span));
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Node {
        let plain = matches!(style, ScalarStyle::Plain);
        let written = match style {
            ScalarStyle::Plain => Style::Plain(text.into()),
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
            _ => Style::Quoted,
        };
        let suffix = tag.map(|tag| {
            if tag::is_non_specific(tag) {
                Some("str")
            } else {
                tag.core_suffix()
            }
        });
        let meaning = match suffix {
            None if plain => scalar::resolve(text),
            None | Some(Some("str")) => Scalar::Str,
            Some(Some(wanted)) => tag::tagged(text, wanted).unwrap_or_else(|| {
                let message = format!("this is no value for the tag `!!{wanted}`");
                self.problem(Problem::new(message, span));
                Scalar::Str
            }),
            Some(None) => {
                if let Some(tag) = tag {
                    self.problem(tag::unsupported(tag, span));
                }
                Scalar::Str
            }
        };
        let kind = match meaning {
            Scalar::Null => Kind::Null,
            Scalar::Bool(value) => Kind::Bool(value),
            Scalar::Int(value) => Kind::Int(value),
            Scalar::Float(value) => Kind::Float(value),
            Scalar::Str => Kind::Str(text.to_owned()),
            Scalar::TooLarge => {
                let help = "if it is meant as a string, write it in quotes";
                self.problem(Problem::new("this number is too large", span).help(help));
                Kind::Str(text.to_owned())
            }
        };
        Node::new(kind, span, written)
    }

    fn sequence(
        &mut self,
        style: StructureStyle,
        span: Span,
        depth: usize,
    ) -> Result<Built, Problem> {
        self.open(style, span)?;
        let mut items = Vec::new();
        let mut height = 0;
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                self.close(style);
                let node = Node::new(Kind::Seq(items), whole(span, at, style), written(style));
                return Ok((node, height + 1));
            }
            let (item, below) = self.node(event, at, depth + 1)?;
            height = height.max(below);
            items.push(item);
        }
    }

    fn mapping(
        &mut self,
        style: StructureStyle,
        span: Span,
        depth: usize,
    ) -> Result<Built, Problem> {
        self.open(style, span)?;
        let mut own: Vec<(Node, Node)> = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut merged: Option<Vec<(Node, Node)>> = None;
        let mut height = 0;
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                self.close(style);
                let entries = match merged {
                    Some(base) => merge::overlay(base, own),
                    None => own,
                };
                let node = Node::new(Kind::Map(entries), whole(span, at, style), written(style));
                return Ok((node, height + 1));
            }
            let (key, _) = self.node(event, at, depth + 1)?;
            let (event, at) = self.next()?;
            let (mut value, below) = self.node(event, at, depth + 1)?;
            height = height.max(below);
            if value.span.is_empty() || value.style == Style::Indented {
                value.head = key.span;
            }
            let Some(identity) = merge::identity(&key) else {
                self.problem(Problem::new("a list or a map cannot be a key", key.span));
                continue;
            };
            if let Some(first) = seen.insert(identity, key.span) {
                let name = shorten(key.written().unwrap_or_default());
                let problem = Problem::new(format!("duplicate key `{name}`"), key.span);
                self.problem(problem.related(first, "first used here"));
                continue;
            }
            if merge::is_merge(&key) {
                let (base, problem) = merge::base(value, key.span);
                problem
                    .into_iter()
                    .for_each(|problem| self.problem(problem));
                merged = Some(base);
            } else {
                own.push((key, value));
            }
        }
    }
}

fn written(style: StructureStyle) -> Style {
    if matches!(style, StructureStyle::Flow) {
        Style::Flow
    } else {
        Style::Indented
    }
}

/// The parser gives a collection's first token and its end apart.
fn whole(start: Span, end: Span, style: StructureStyle) -> Span {
    let last = if matches!(style, StructureStyle::Flow) {
        end.end
    } else {
        end.start
    };
    Span {
        end: last.max(start.end),
        ..start
    }
}

#[cfg(test)]
mod tests;
