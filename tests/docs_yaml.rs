//! What the documents claim: each block marked `yaml` is a file that `rigd check` accepts, each
//! block marked `yaml bad` one that it refuses, and each link leads to a file that is there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A fenced block of a document.
struct Block {
    /// For messages: file and line.
    place: String,
    bad: bool,
    text: String,
}

/// README, CHANGELOG and the like, and everything below `docs`.
fn documents() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"] {
        found.push(top.join(name));
    }
    let mut folders = vec![top.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "md") {
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
    let mut other = false;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(_), None) if other => other = false,
            (Some(info @ ("yaml" | "yaml bad")), None) => {
                open = Some(Block {
                    place: format!("{}:{}", path.display(), number + 1),
                    bad: info == "yaml bad",
                    text: String::new(),
                });
            }
            (Some(info), None) => {
                let place = format!("{}:{}", path.display(), number + 1);
                assert!(!info.starts_with("yaml"), "{place}: ```{info}");
                other = true;
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none() && !other, "{}: no end", path.display());
    blocks
}

fn check(file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rigd"));
    // These would fill in for what a file forgets.
    command.env_remove("JMP_NAME").env_remove("JMP_NAMESPACE");
    command.arg("check").arg(file).output().unwrap()
}

#[test]
fn every_yaml_block_is_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exporter.yaml");
    let (mut good, mut bad) = (0, 0);
    for block in documents().iter().flat_map(|path| blocks(path)) {
        fs::write(&file, &block.text).unwrap();
        let output = check(&file);
        let told = String::from_utf8_lossy(&output.stderr);
        let wanted = if block.bad { 2 } else { 0 };
        assert_eq!(
            output.status.code(),
            Some(wanted),
            "{}\n{told}",
            block.place
        );
        *(if block.bad { &mut bad } else { &mut good }) += 1;
    }
    // A fence that is not recognised any more would let all of it pass.
    assert!(good > 10 && bad > 0, "{good} good and {bad} bad blocks");
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
