//! Which exporter files a command works on.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::Failure;
use crate::{
    config::{Diagnostics, ExporterConfig, Problem, load_with},
    registry::Registry,
    tree::Plan,
};

/// Where exporter files are looked for when none is named, in this order; the first that holds
/// any is used.
const DIRECTORIES: [&str; 2] = ["/etc/rigd/exporters", "/etc/jumpstarter/exporters"];
/// The file of the working directory that comes before them.
const LOCAL: &str = "exporter.yaml";

/// The files named, or the default ones.
///
/// # Errors
/// Nothing is there.
pub(super) fn find(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if named.is_empty() {
        if Path::new(LOCAL).exists() {
            return Ok(vec![LOCAL.into()]);
        }
        for dir in DIRECTORIES {
            let files = yaml_files(Path::new(dir)).unwrap_or_default();
            if !files.is_empty() {
                return Ok(files);
            }
        }
        let [first, second] = DIRECTORIES;
        return Err(Failure::usage(format!(
            "no exporter file: there is no ./{LOCAL}, and no .yaml file in {first} or {second}; \
             name one: rigd run FILE"
        )));
    }
    let mut files = Vec::new();
    for path in named {
        if path.is_dir() {
            let found = yaml_files(path);
            let found = found.map_err(|error| {
                Failure::usage(format!("cannot read directory {}: {error}", path.display()))
            })?;
            if found.is_empty() {
                let text = format!("directory {} holds no .yaml file", path.display());
                return Err(Failure::usage(text));
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// The file of an exporter by its alias, as upstream finds it.
pub(super) fn by_alias(alias: &str, env: crate::os::paths::Env<'_>) -> Result<PathBuf, Failure> {
    if alias.is_empty() || alias == "." || alias == ".." || alias.contains(['/', '\\']) {
        let text = format!("'{alias}' is not an exporter's alias: it must be a plain file name");
        return Err(Failure::usage(text));
    }
    let config = env("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".config")));
    let home = env("JMP_CLIENT_CONFIG_HOME").map(PathBuf::from);
    let home = home.or_else(|| config.map(|dir| dir.join("jumpstarter")));
    let user = home.map(|dir| dir.join("exporters"));
    let places: Vec<PathBuf> = user
        .into_iter()
        .chain(DIRECTORIES.map(PathBuf::from))
        .map(|dir| dir.join(format!("{alias}.yaml")))
        .collect();
    let found = places.iter().find(|path| path.exists()).cloned();
    found.ok_or_else(|| {
        let tried: Vec<_> = places
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Failure::usage(format!("no exporter '{alias}': tried {}", tried.join(", ")))
    })
}

fn yaml_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Loads and plans all files; the mistakes of all of them are told at once.
pub(super) fn load_all(files: &[PathBuf]) -> Result<Vec<(ExporterConfig, Plan)>, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let registry = Registry::native();
    let review = |config: &ExporterConfig| Plan::new(config, &registry).err().unwrap_or_default();
    let mut planned = Vec::new();
    let mut bad = Vec::new();
    for file in files {
        let loaded = load_with(file, &env, &review).and_then(|config| {
            let plan = Plan::new(&config, &registry);
            let plan = plan.map_err(|found| Diagnostics::new(config.source.clone(), found))?;
            Ok((config, plan))
        });
        match loaded {
            Ok(exporter) => planned.push(exporter),
            Err(diagnostics) => bad.push(diagnostics),
        }
    }
    let mut names: HashMap<&str, &ExporterConfig> = HashMap::new();
    for (config, _) in &planned {
        let name = &config.metadata.name;
        if let Some(first) = names.insert(name, config) {
            let message = format!(
                "exporter `{name}` is defined in {} as well",
                first.source.name()
            );
            let problem = Problem::new(message, config.metadata.span);
            bad.push(Diagnostics::new(config.source.clone(), vec![problem]));
        }
    }
    if bad.is_empty() {
        Ok(planned)
    } else {
        Err(Failure::Config(bad))
    }
}
