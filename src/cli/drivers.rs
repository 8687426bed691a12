//! `rigd drivers [TYPE]`: what can be written after `type:`, and the config keys of one driver.

use std::io::Write;

use rigd_driver::MethodKind;
use serde_json::Value;

use super::Failure;
use crate::{
    config::did_you_mean,
    registry::{Entry, Registry, Resolved},
};

/// Arguments of `rigd drivers`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show one driver; its short name or upstream's class path.
    #[arg(value_name = "TYPE")]
    type_name: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let registry = Registry::native();
    let mut out = std::io::stdout().lock();
    // A reader that closes early, such as `head`, has what it wanted.
    match &args.type_name {
        None => list(&registry, &mut out).ok(),
        Some(name) => match registry.resolve(name) {
            Resolved::Driver(entry) => show(entry, &mut out).ok(),
            Resolved::Proxy => writeln!(out, "{name}: write `ref: PATH` instead").ok(),
            Resolved::Upstream { client } => {
                return Err(Failure::usage(format!(
                    "the driver {name} (client {client}) is not native yet"
                )));
            }
            Resolved::Unknown => {
                let help = did_you_mean(name, registry.names());
                let help = help.map(|help| format!("; {help}")).unwrap_or_default();
                return Err(Failure::usage(format!(
                    "unknown driver type '{name}'{help}"
                )));
            }
        },
    };
    Ok(())
}

fn list(registry: &Registry, out: &mut impl Write) -> std::io::Result<()> {
    let width = registry
        .entries()
        .iter()
        .map(|e| e.type_name.len())
        .max()
        .unwrap_or_default();
    for entry in registry.entries() {
        let schema = entry.schema();
        writeln!(out, "{:width$}  {}", entry.type_name, summary(&schema))?;
        for alias in entry.aliases {
            writeln!(out, "{:width$}  also {alias}", "")?;
        }
    }
    Ok(())
}

/// The first sentence of the config's description, which is that of the driver.
fn summary(schema: &Value) -> &str {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_inclusive(". ")
        .next()
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
}

fn show(entry: &Entry, out: &mut impl Write) -> std::io::Result<()> {
    let schema = entry.schema();
    writeln!(out, "type: {}", entry.type_name)?;
    for alias in entry.aliases {
        writeln!(out, "also: {alias}")?;
    }
    writeln!(out, "client: {}", entry.client)?;
    if let Some(text) = schema["description"].as_str() {
        writeln!(out, "\n{text}")?;
    }
    writeln!(out, "\nconfig:")?;
    let keys = schema["properties"].as_object();
    if keys.is_none_or(|keys| keys.is_empty()) {
        writeln!(out, "  (none)")?;
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|keys| keys.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (key, property) in keys.into_iter().flatten() {
        let default = match &property["default"] {
            _ if required.contains(&key.as_str()) => ", required".to_owned(),
            Value::Null => String::new(),
            value => format!(", default {value}"),
        };
        writeln!(out, "  {key} ({}{default})", kind(property))?;
        for line in property["description"].as_str().unwrap_or_default().lines() {
            writeln!(out, "      {line}")?;
        }
    }
    writeln!(out, "\nmethods:")?;
    if entry.methods.is_empty() {
        writeln!(out, "  (none)")?;
    }
    for (name, kind) in &entry.methods {
        let kind = match kind {
            MethodKind::Call => "call",
            MethodKind::StreamingCall => "streaming call",
            MethodKind::Stream => "byte stream",
        };
        writeln!(out, "  {name} ({kind})")?;
    }
    Ok(())
}

fn kind(property: &Value) -> String {
    match &property["type"] {
        Value::String(one) => one.clone(),
        Value::Array(many) => {
            let many: Vec<_> = many.iter().filter_map(Value::as_str).collect();
            many.join(" or ")
        }
        _ => "see rigd schema".into(),
    }
}
