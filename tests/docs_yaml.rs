//! What the documents claim: each block marked `yaml` is a file that `rigd check` accepts, each
//! block marked `yaml bad` one that it refuses, each one marked `yaml resources` is taken by
//! `rigd controller apply`, each line of Rust is one of the code, and each link leads to a file that
//! is there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// What a fenced block claims to be.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Good,
    Bad,
    Resources,
    Rust,
    Other,
}

/// A fenced block of a document.
struct Block {
    /// For messages: file and line.
    place: String,
    kind: Kind,
    text: String,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README, CHANGELOG and the like, and everything below `docs`.
fn documents() -> Vec<PathBuf> {
    let names = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"];
    let mut found: Vec<_> = names.iter().map(|name| top().join(name)).collect();
    found.extend(files(&top().join("docs"), "md"));
    found
}

/// All files with this ending at and below a folder.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn blocks(path: &Path) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => {
                let place = format!("{}:{}", path.display(), number + 1);
                let kind = match info {
                    "yaml" => Kind::Good,
                    "yaml bad" => Kind::Bad,
                    "yaml resources" => Kind::Resources,
                    "rust" => Kind::Rust,
                    _ => Kind::Other,
                };
                let near = info.starts_with("yaml") && kind == Kind::Other;
                assert!(!near, "{place}: {info:?} is not checked");
                let text = String::new();
                open = Some(Block { place, kind, text });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block without end", path.display());
    blocks
}

/// `rigd` with these arguments and a file, with directories of its own and nothing of the caller's.
fn rigd(arguments: &[&str], file: &Path, directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rigd"));
    // These would fill in for what a file forgets.
    command.env_remove("JMP_NAME").env_remove("JMP_NAMESPACE");
    command
        .env("STATE_DIRECTORY", directory.join("state"))
        .env("RUNTIME_DIRECTORY", directory.join("run"))
        .env("RIGD_SOCKET", directory.join("none.sock"));
    command.args(arguments).arg(file).output().unwrap()
}

#[test]
fn every_yaml_block_is_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exporter.yaml");
    let (mut good, mut bad, mut resources) = (0, 0, 0);
    for block in documents().iter().flat_map(|path| blocks(path)) {
        let (wanted, arguments, count): (_, &[&str], _) = match block.kind {
            Kind::Good => (0, &["check"], &mut good),
            Kind::Bad => (2, &["check"], &mut bad),
            Kind::Resources => (0, &["controller", "apply", "-f"], &mut resources),
            Kind::Rust | Kind::Other => continue,
        };
        fs::write(&file, &block.text).unwrap();
        let output = rigd(arguments, &file, folder.path());
        let told = String::from_utf8_lossy(&output.stderr);
        let place = block.place;
        assert_eq!(output.status.code(), Some(wanted), "{place}\n{told}");
        *count += 1;
    }
    // A fence that is not recognised any more would let all of it pass.
    let enough = good > 10 && bad > 0 && resources > 0;
    assert!(enough, "{good} good, {bad} bad, {resources} resources");
}

#[test]
fn every_line_of_rust_is_one_of_the_code() {
    let sources = files(&top().join("drivers"), "rs");
    let code: Vec<_> = sources
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let code: HashSet<&str> = code
        .iter()
        .flat_map(|text| text.lines())
        .map(str::trim)
        .collect();
    let (mut seen, mut strange) = (0, Vec::new());
    for block in documents().iter().flat_map(|path| blocks(path)) {
        if block.kind == Kind::Rust {
            let lines = block
                .text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty());
            seen += lines.clone().count();
            let unknown = lines.filter(|line| !code.contains(line));
            strange.extend(unknown.map(|line| format!("{}: {line}", block.place)));
        }
    }
    assert!(strange.is_empty(), "{}", strange.join("\n"));
    assert!(seen > 50, "only {seen} lines were recognised");
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|t| !t.contains("://") && !t.starts_with('#')) {
            let file = target.split('#').next().unwrap();
            seen += 1;
            if !path.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(seen > 10, "only {seen} links were recognised");
}
