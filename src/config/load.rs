//! Reads `exporter.yaml`: the file, its sections, its tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::os::paths::Env;

use super::ca;
use super::diagnostic::{Diagnostics, Problem, Source};
use super::endpoint::Endpoint;
use super::export;
use super::listen;
use super::model::{
    ExporterConfig, FailureDetection, GrpcOption, Hook, Hooks, Metadata, MissingDrivers, Secret,
    Tls, token_mistake,
};
use super::node::{Kind, Node};
use super::read::from_value;
use super::refs::check_refs;
use super::safety;
use super::section::{Section, named};
use super::span::Spanned;
use super::yaml;

/// A larger file is no exporter's configuration: a full rack is described in some ten KiB.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

const API_VERSION: &str = "jumpstarter.dev/v1alpha1";
const KIND: &str = "ExporterConfig";

/// What else is wrong with a configuration, for those who know more than the file's shape.
pub type Review<'a> = &'a dyn Fn(&ExporterConfig) -> Vec<Problem>;

/// Reads a configuration file. `env` is asked for `JMP_NAME` and `JMP_NAMESPACE`, which stand in
/// for keys of `metadata` that the file does not have.
///
/// # Errors
/// Everything that is wrong with the file, as far as it can be known without building the drivers.
pub fn load(path: &Path, env: Env<'_>) -> Result<ExporterConfig, Diagnostics> {
    load_with(path, env, &|_| Vec::new())
}

/// As [`load`], with what `review` finds told together with the rest, so that all mistakes of a file
/// are known at once.
///
/// # Errors
/// As [`load`], and what `review` finds.
pub fn load_with(
    path: &Path,
    env: Env<'_>,
    review: Review<'_>,
) -> Result<ExporterConfig, Diagnostics> {
    let name = path.display().to_string();
    let text = read_file(path).map_err(|problem| {
        Diagnostics::new(Arc::new(Source::new(&name, "", None)), Vec::from([problem]))
    })?;
    parse_with(&name, &text, env, review)
}

fn read_file(path: &Path) -> Result<String, Problem> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Problem::of_file("there is no such file"),
        io::ErrorKind::PermissionDenied => Problem::of_file("no permission to read this file")
            .help("the user that runs rigd must be able to read it"),
        io::ErrorKind::IsADirectory => Problem::of_file("this is a directory, not a file"),
        _ => Problem::of_file(format!("cannot read this file: {error}")),
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Problem::of_file(
            "larger than 1 MiB, so this is no exporter's configuration",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        Problem::of_file(format!(
            "not UTF-8: byte {at} in line {line} belongs to no character"
        ))
        .help("save it as UTF-8")
    })
}

/// Reads a configuration from its text. `name` is the file's name for diagnostics.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, text: &str, env: Env<'_>) -> Result<ExporterConfig, Diagnostics> {
    parse_with(name, text, env, &|_| Vec::new())
}

fn parse_with(
    name: &str,
    text: &str,
    env: Env<'_>,
    review: Review<'_>,
) -> Result<ExporterConfig, Diagnostics> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_FILE_BYTES {
        let problem = Problem::of_file("larger than 1 MiB, so this is no exporter's configuration");
        return Err(Diagnostics::new(
            Arc::new(Source::new(name, "", None)),
            Vec::from([problem]),
        ));
    }
    let (root, mut problems) = yaml::parse_tree(text);
    let source = Arc::new(Source::new(name, text, root.as_ref()));
    let config = match root.filter(|root| !root.is_null()) {
        Some(root) => read(&root, &source, env, &mut problems),
        None => {
            if problems.is_empty() {
                problems.push(
                    Problem::of_file("the file is empty")
                        .help("an exporter needs at least `metadata: {name: …}` and `export:`"),
                );
            }
            None
        }
    };
    if let Some(config) = &config {
        for problem in review(config) {
            // Both may see the same mistake, e.g. a reference that leads nowhere.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(Diagnostics::new(source, problems)),
    }
}

fn read(
    root: &Node,
    source: &Arc<Source>,
    env: Env<'_>,
    problems: &mut Vec<Problem>,
) -> Option<ExporterConfig> {
    let mut top = Section::open(root, "the file", problems)?;
    literal(&mut top, "apiVersion", API_VERSION);
    literal(&mut top, "kind", KIND);
    // Upstream's loader overwrites both.
    top.accept("alias");
    top.accept("path");
    let metadata = read_metadata(root, &mut top, env);
    let endpoint = read_endpoint(&mut top);
    let token = read_token(&mut top);
    let token_file = top.text(&["tokenFile"]).map(PathBuf::from);
    if let (Some(_), Some(_), Some((key, _))) = (&token, &token_file, top.entry(&["tokenFile"])) {
        top.problem(Problem::new(
            "`tokenFile` cannot stand beside `token`",
            key.span,
        ));
    }
    let tls = read_tls(&mut top);
    let grpc_options = top
        .value(&["grpcOptions"])
        .map(|node| read_grpc_options(node, top.problems()));
    let description = top.text(&["description"]);
    let motd = top.text(&["motd"]);
    let labels: Option<Option<BTreeMap<String, String>>> = top.get(&["labels"]);
    let export = top
        .value(&["export"])
        .map(|node| export::read(node, top.problems()))
        .unwrap_or_default();
    let references = check_refs(&export);
    top.problems().extend(references);
    let hooks = top
        .value(&["hooks"])
        .map(|node| read_hooks(node, top.problems()))
        .unwrap_or_default();
    let failure_detection: FailureDetection = top.get(&["failureDetection"]).unwrap_or_default();
    let exit_place = top.entry(&["exitOnLeaseEnd"]).map(|(key, _)| key.span);
    let exit = top
        .get::<LaxBool>(&["exitOnLeaseEnd"])
        .is_some_and(|found| found.0);
    let exit_on_lease_end = Spanned::new(exit, exit_place.unwrap_or_default());
    let listen = top
        .value(&["listen"])
        .and_then(|node| listen::read(node, top.problems()));
    let missing_drivers: MissingDrivers = top.get(&["missingDrivers"]).unwrap_or_default();
    let safe_state = top
        .entry(&["safeState"])
        .map(|(key, node)| Spanned::new(safety::read_safe_state(node, top.problems()), key.span));
    let interlocks = top
        .entry(&["interlocks"])
        .map(|(key, node)| Spanned::new(safety::read_interlocks(node, top.problems()), key.span));
    top.finish();
    Some(ExporterConfig {
        source: Arc::clone(source),
        metadata: metadata?,
        endpoint,
        token,
        token_file,
        tls,
        grpc_options: grpc_options.unwrap_or_default(),
        description,
        motd,
        labels: labels.flatten().unwrap_or_default(),
        export,
        hooks,
        failure_detection,
        exit_on_lease_end,
        listen,
        missing_drivers,
        safe_state,
        interlocks,
    })
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct LaxBool(#[serde(deserialize_with = "super::lax::boolean")] bool);

fn literal(top: &mut Section<'_, '_>, key: &'static str, expected: &str) {
    let Some(value) = top.value(&[key]) else {
        return;
    };
    if value.as_str() != Some(expected) {
        let message = format!("`{key}`: expected `{expected}`, found {}", value.describe());
        top.problem(Problem::new(message, value.head));
    }
}

/// The environment fills a key only when the file does not have it; the file wins.
fn read_metadata(root: &Node, top: &mut Section<'_, '_>, env: Env<'_>) -> Option<Metadata> {
    let absent = Node::empty_map(root.head);
    let node = top.value(&["metadata"]).unwrap_or(&absent);
    let whole_is_missing = std::ptr::eq(node, &raw const absent);
    let mut section = Section::open(node, "`metadata`", top.problems())?;
    let name = match section.entry(&["name"]) {
        Some((key, _)) => section.get::<String>(&["name"]).and_then(|name| {
            if name.is_empty() {
                section.problem(Problem::new("`name` is empty", key.span));
            }
            Some(Spanned::new(name, key.span)).filter(|name| !name.value.is_empty())
        }),
        None => {
            let name = env("JMP_NAME").filter(|name| !name.is_empty());
            if name.is_none() {
                let what = if whole_is_missing {
                    "missing key `metadata`"
                } else {
                    "`metadata`: missing key `name`"
                };
                let problem = Problem::new(what, section.place())
                    .help("give the exporter a name: `metadata: {name: …}`, or set JMP_NAME");
                section.problem(problem);
            }
            name.map(|name| Spanned::new(name, node.head))
        }
    };
    let namespace = match section.entry(&["namespace"]) {
        Some(_) => section.text(&["namespace"]),
        None => env("JMP_NAMESPACE").filter(|namespace| !namespace.is_empty()),
    };
    section.finish();
    name.map(|name| Metadata {
        name: name.value,
        namespace,
        span: name.span,
    })
}

fn read_endpoint(top: &mut Section<'_, '_>) -> Option<String> {
    let (_, node) = top.entry(&["endpoint"])?;
    let text = top.text(&["endpoint"])?;
    if let Err(error) = text.parse::<Endpoint>() {
        let problem = Problem::new(format!("`endpoint`: {error}"), node.head);
        top.problem(problem.maybe_help(error.help));
    }
    Some(text)
}

fn read_token(top: &mut Section<'_, '_>) -> Option<Secret> {
    let (_, node) = top.entry(&["token"])?;
    let text = top.text(&["token"])?;
    // A block text of YAML ends with a line end.
    let text = text.trim();
    if let Some(wrong) = token_mistake(text) {
        top.problem(Problem::new(format!("`token`: {wrong}"), node.head));
    }
    Some(Secret::new(text))
}

fn read_tls(top: &mut Section<'_, '_>) -> Tls {
    let Some(node) = top.value(&["tls"]) else {
        return Tls::default();
    };
    let tls: Tls = top.get(&["tls"]).unwrap_or_default();
    if let (Some(value), Err(error)) = (node.get("ca"), ca::certificates(&tls.ca))
        && !tls.ca.is_empty()
    {
        let problem = Problem::new(format!("`ca`: {error}"), value.head);
        top.problem(problem.help(error.help()));
    }
    tls
}

fn read_grpc_options(node: &Node, problems: &mut Vec<Problem>) -> BTreeMap<String, GrpcOption> {
    if node.is_null() {
        return BTreeMap::new();
    }
    let options = named(
        node,
        "`grpcOptions`",
        problems,
        |name, _, value, problems| {
            let option = match &value.kind {
                Kind::Str(text) => Some(GrpcOption::Text(text.clone())),
                Kind::Bool(value) => Some(GrpcOption::Int((*value).into())),
                Kind::Int(value) => i64::try_from(*value).ok().map(GrpcOption::Int),
                _ => None,
            };
            if option.is_none() {
                let message = format!(
                    "`{name}`: expected a string or a whole number, found {}",
                    value.describe()
                );
                problems.push(Problem::new(message, value.head));
            }
            Some((name.to_owned(), option?))
        },
    );
    options.into_iter().collect()
}

fn read_hooks(node: &Node, problems: &mut Vec<Problem>) -> Hooks {
    let Some(mut section) = Section::open(node, "`hooks`", problems) else {
        return Hooks::default();
    };
    let mut hook = |names: &[&'static str]| {
        let (key, value) = section.entry(names)?;
        let hook: Option<Hook> = from_value(key.as_str().unwrap_or_default(), value)
            .map_err(|found| section.problems().extend(found))
            .ok()?;
        let mut hook = hook?;
        hook.exec = hook.exec.filter(|exec| !exec.is_empty());
        Some(Spanned::new(hook, key.span))
    };
    let before_lease = hook(&["beforeLease", "before_lease"]);
    let after_lease = hook(&["afterLease", "after_lease"]);
    section.finish();
    Hooks {
        before_lease,
        after_lease,
    }
}
