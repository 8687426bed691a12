//! As much XML as block maps are made of: elements with attributes and text, comments, and a
//! declaration. Documents with a DTD or entities beyond the five predefined ones are not maps.

/// An element and the text up to the next tag.
#[derive(Debug)]
pub(super) struct Tag<'a> {
    pub(super) name: &'a str,
    attributes: &'a str,
    pub(super) text: &'a str,
}

impl<'a> Tag<'a> {
    pub(super) fn attribute(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.attributes;
        loop {
            let (key, after) = rest.split_once('=')?;
            let after = after.trim_start();
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let (value, after) = after[1..].split_once(quote)?;
            if key.trim() == name {
                return Some(value);
            }
            rest = after;
        }
    }
}

/// All elements in order.
pub(super) fn tags(text: &str) -> Result<Vec<Tag<'_>>, String> {
    let mut tags = Vec::new();
    let mut rest = text;
    let mut open = Vec::new();
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.split_once("-->").ok_or("a comment has no end")?.1;
            continue;
        }
        let (inner, after) = rest[1..].split_once('>').ok_or("a tag has no end")?;
        rest = after;
        if inner.starts_with('?') {
            continue;
        }
        if inner.starts_with('!') {
            return Err("a document type is not part of a block map".into());
        }
        if let Some(name) = inner.strip_prefix('/') {
            if open.pop() != Some(name.trim()) {
                return Err(format!("</{}> closes nothing", name.trim()));
            }
            continue;
        }
        let (inner, empty) = match inner.strip_suffix('/') {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let cut = inner
            .find(|c: char| c.is_ascii_whitespace())
            .unwrap_or(inner.len());
        let (name, attributes) = inner.split_at(cut);
        if !empty {
            open.push(name);
        }
        let text = rest.split('<').next().unwrap_or_default();
        tags.push(Tag {
            name,
            attributes,
            text: if empty { "" } else { text },
        });
    }
    match open.last() {
        Some(name) => Err(format!("<{name}> has no end: the file was cut")),
        None => Ok(tags),
    }
}
