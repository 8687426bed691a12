//! From YAML to a tree, for the objects that people apply.
//!
//! Nesting is bounded, and aliases are refused, so that a text grows into no larger tree than it is.

use std::collections::HashSet;

use granit_parser::{Event, Parser, ScalarStyle, StrInput};

use super::{
    super::{Node, ReadError},
    plain::{Meaning, meaning},
};

/// Nesting below a document. Objects have about ten levels; managed fields add what they describe.
const MAX_DEPTH: usize = 96;

/// All documents of a text; empty ones are left out.
pub(in super::super) fn read(text: &str) -> Result<Vec<Node>, ReadError> {
    let options = granit_parser::options! { emit_comments: false };
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(text, options),
        line: 0,
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event => documents.push(reader.node(event, 0)?),
        }
    }
    documents.retain(|document| *document != Node::Null);
    Ok(documents)
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// Of the last event.
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, ReadError> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                let info = error.info();
                let text = format!("this is no YAML: line {line}, column {column}: {info}");
                Err(ReadError::new(text))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn wrong(&self, what: &str) -> ReadError {
        ReadError::new(format!("line {}: {what}", self.line))
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, ReadError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(&format!("nested deeper than {MAX_DEPTH} levels")));
        }
        match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, _, Some(_))
            | Event::MappingStart(_, _, Some(_)) => {
                Err(self.wrong("a tag (`!…`): these objects need none, write the value without"))
            }
            Event::Scalar(text, ScalarStyle::Plain, _, None) => self.bare(&text),
            Event::Scalar(text, ..) => Ok(Node::Text(text.into_owned())),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Node::List(items)),
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => self.map(depth),
            Event::Alias(_) => Err(self.wrong("an alias (`*…`): write the value out again")),
            _ => Err(self.wrong("a value is missing")),
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node, ReadError> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(Node::Map(entries)),
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" => {
                    return Err(self.wrong("a merge key (`<<`): write the values out again"));
                }
                Event::Scalar(text, _, _, None) => text.into_owned(),
                _ => return Err(self.wrong("a key must be a text")),
            };
            if !seen.insert(key.clone()) {
                return Err(self.wrong(&format!("the key `{key}` is there twice")));
            }
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            entries.push((key, value));
        }
    }

    fn bare(&self, text: &str) -> Result<Node, ReadError> {
        let quotes = |what: &str| {
            self.wrong(&format!(
                "`{text}` is {what}: if it is meant as a text, write it in quotes"
            ))
        };
        match meaning(text) {
            Meaning::Null => Ok(Node::Null),
            Meaning::Bool(value) => Ok(Node::Bool(value)),
            Meaning::Int => {
                let number = text.parse().map(Node::Int);
                // `010` would be eight.
                let decimal = !text.trim_start_matches(['-', '+']).starts_with('0') || text == "0";
                number.ok().filter(|_| decimal).ok_or_else(|| {
                    quotes(
                        "a number that is not written in plain decimal, or has more than 64 bits",
                    )
                })
            }
            Meaning::Float => Err(quotes("a number with a fraction, which no field takes")),
            // Kubernetes' times are texts.
            Meaning::Timestamp | Meaning::Mark | Meaning::Text => Ok(Node::Text(text.to_owned())),
        }
    }
}
