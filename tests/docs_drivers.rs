//! The pages below `docs/drivers`, made from the drivers themselves: names, config keys with their
//! doc comments, methods, and an example that loads.
//!
//! `RIGD_BLESS=1` writes the pages anew; read the difference before it is committed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use rigd::{
    config::{DriverEntry, EntryKind, ExportEntry, parse},
    registry::{Entry, Registry, Resolved},
};
use rigd_driver::{Blueprint, MethodKind};
use serde_json::Value;

const NOTE: &str =
    "<!-- Made from the driver's code by tests/docs_drivers.rs; RIGD_BLESS=1 writes it anew. -->";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/drivers")
}

#[test]
fn every_driver_has_its_page() {
    let registry = Registry::native();
    let mut wrong = Vec::new();
    let mut expected = BTreeSet::from(["README.md".to_owned()]);
    for entry in registry.entries() {
        let name = format!("{}.md", entry.type_name);
        wrong.extend(differs(&name, &page(entry, &registry)));
        expected.insert(name);
    }
    wrong.extend(differs("README.md", &index(&registry)));
    let found = fs::read_dir(folder()).unwrap();
    let found = found.map(|file| file.unwrap().file_name().into_string().unwrap());
    for extra in found.filter(|name| name.ends_with(".md") && !expected.contains(name)) {
        wrong.push(format!("{extra} is about no driver"));
    }
    let wrong = wrong.join("\n");
    assert!(wrong.is_empty(), "{wrong}\nRIGD_BLESS=1 writes pages anew");
}

/// Compares a page with its file, or writes the file.
fn differs(name: &str, page: &str) -> Option<String> {
    let path = folder().join(name);
    if std::env::var_os("RIGD_BLESS").is_some() {
        fs::write(&path, page).unwrap();
    }
    match fs::read_to_string(&path) {
        Ok(text) if text == page => None,
        Ok(_) => Some(format!("{name} differs from what the driver says")),
        Err(error) => Some(format!("{name}: {error}")),
    }
}

fn index(registry: &Registry) -> String {
    let mut out = format!("{NOTE}\n\n# Drivers\n\n");
    out += "What can be written after `type:`. `rigd drivers` prints the same.\n\n";
    out += "| type | what it is | is also known as |\n|---|---|---|\n";
    for entry in registry.entries() {
        let name = entry.type_name;
        let aliases: Vec<_> = entry.aliases.iter().map(|a| format!("`{a}`")).collect();
        let schema = entry.schema();
        let about = schema["description"].as_str().unwrap_or_default();
        let about = about.split("\n\n").next().unwrap_or_default();
        let (about, aliases) = (about.replace('\n', " "), aliases.join("<br>"));
        writeln!(out, "| [`{name}`]({name}.md) | {about} | {aliases} |").unwrap();
    }
    out
}

fn page(entry: &Entry, registry: &Registry) -> String {
    let schema = entry.schema();
    let name = entry.type_name;
    let mut out = format!("{NOTE}\n\n# `{name}`\n\n");
    let about = schema["description"].as_str().unwrap_or_default();
    writeln!(out, "{about}\n").unwrap();
    for alias in entry.aliases {
        writeln!(out, "- Also known as `{alias}`").unwrap();
    }
    writeln!(out, "- Client: `{}`\n\n## Config\n", entry.client).unwrap();
    let before = out.len();
    keys(&schema, &schema, "", &mut out);
    if out.len() == before {
        out += "There is nothing to set.\n\n";
    }
    let text = fs::read_to_string(folder().join(format!("examples/{name}.yaml")));
    let text = text.unwrap_or_else(|error| panic!("examples/{name}.yaml: {error}"));
    let example = loaded(name, &text, registry);
    out += "## Methods\n\n";
    methods(&entry.methods, &mut out);
    let parts = example.children();
    if !parts.is_empty() {
        out += "## Parts\n\nThe driver brings these instances along.\n\n";
    }
    for part in parts {
        let (name, client) = (&part.name, part.blueprint.client());
        writeln!(out, "### `{name}`\n\nClient: `{client}`\n").unwrap();
        methods(&part.blueprint.methods(), &mut out);
    }
    writeln!(out, "## Example\n\n```yaml\n{}\n```", text.trim_end()).unwrap();
    out
}

fn methods(methods: &[(&'static str, MethodKind)], out: &mut String) {
    if methods.is_empty() {
        *out += "None of its own.\n\n";
        return;
    }
    *out += "| method | kind |\n|---|---|\n";
    for (name, kind) in methods {
        let kind = match kind {
            MethodKind::Call => "call",
            MethodKind::StreamingCall => "streaming call",
            MethodKind::Stream => "byte stream",
        };
        writeln!(out, "| `{name}` | {kind} |").unwrap();
    }
    *out += "\n";
}

/// The driver of an example, which must load.
fn loaded(name: &str, text: &str, registry: &Registry) -> Blueprint {
    let config = parse(name, text, &|_| None).unwrap_or_else(|found| panic!("{found}"));
    let of_this_type = |driver: &DriverEntry| match registry.resolve(&driver.type_name.value) {
        Resolved::Driver(entry) if entry.type_name == name => Some(entry.parse(&driver.config)),
        _ => None,
    };
    let found = drivers(&config.export).into_iter().find_map(of_this_type);
    let found = found.unwrap_or_else(|| panic!("the example of {name} has none"));
    found.unwrap_or_else(|problems| panic!("the example of {name}: {problems:?}"))
}

fn drivers(entries: &[ExportEntry]) -> Vec<&DriverEntry> {
    let mut all = Vec::new();
    for entry in entries {
        if let EntryKind::Driver(driver) = &entry.kind {
            all.push(&**driver);
        }
        all.extend(drivers(entry.children()));
    }
    all
}

/// The keys of a map, those of maps inside of it after it.
fn keys(root: &Value, schema: &Value, above: &str, out: &mut String) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let target = target(root, property);
        let path = format!("{above}{key}");
        let inner = target.is_some_and(|target| target["properties"].is_object());
        let mut facts = vec![if inner {
            "map".to_owned()
        } else {
            kind(target.unwrap_or(property))
        }];
        if required.contains(&key.as_str().into()) {
            facts.push("required".into());
        } else if let Some(default) = default(property) {
            facts.push(format!("default `{default}`"));
        } else {
            facts.push("optional".into());
        }
        writeln!(out, "### `{path}`\n\n{}.\n", capital(&facts.join(", "))).unwrap();
        let own = property["description"].as_str();
        let shared = target.filter(|_| !inner);
        let shared = shared.and_then(|target| target["description"].as_str());
        for text in own.into_iter().chain(shared) {
            writeln!(out, "{text}\n").unwrap();
        }
        if let Some(target) = target.filter(|_| inner) {
            keys(root, target, &format!("{path}."), out);
        }
    }
}

/// What a property refers to, directly or as one of null and it.
fn target<'a>(root: &'a Value, property: &Value) -> Option<&'a Value> {
    let ways = property["anyOf"].as_array().cloned().unwrap_or_default();
    let references = ways.iter().chain([property]);
    let name = references
        .filter_map(|way| way["$ref"].as_str()?.strip_prefix("#/$defs/"))
        .next()?;
    Some(&root["$defs"][name])
}

fn kind(schema: &Value) -> String {
    let mut own = match &schema["type"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => {
            let many = many.iter().filter_map(Value::as_str);
            many.map(str::to_owned).collect()
        }
        _ => {
            // Words with a description each are a `oneOf`.
            let ways = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
            ways.map(|ways| ways.iter().map(kind).collect())
                .unwrap_or_default()
        }
    };
    own.dedup();
    let words = own.into_iter().filter(|word| word != "null");
    let words: Vec<_> = words
        .map(|word| match word.as_str() {
            "object" => {
                let of = kind(&schema["additionalProperties"]);
                if of.is_empty() {
                    "map".into()
                } else {
                    format!("map of {of}")
                }
            }
            _ => word,
        })
        .collect();
    words.join(" or ")
}

/// A default worth showing: not null, and not the whole of a map, whose keys show theirs.
fn default(property: &Value) -> Option<&Value> {
    let default = &property["default"];
    (!default.is_null() && !default.is_object()).then_some(default)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
