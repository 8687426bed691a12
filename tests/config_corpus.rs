//! Whole files: those that must load, and those whose mistakes are told in exactly the words beside them.
//!
//! `RIGD_BLESS=1` writes the words anew; read the difference before it is committed.

// Clippy's exception for tests covers test functions only, not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use rigd::config::{Diagnostics, EntryKind, ExportEntry, ExporterConfig, GrpcOption, parse};
use rigd::registry::Registry;
use rigd::tree::Plan;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn no_env(_: &str) -> Option<String> {
    None
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder:?}");
    files
}

fn good(name: &str) -> ExporterConfig {
    let text = fs::read_to_string(corpus().join(name)).unwrap();
    parse(name, &text, &no_env).unwrap_or_else(|found| panic!("{found}"))
}

fn entry<'a>(mut entries: &'a [ExportEntry], path: &str) -> &'a ExportEntry {
    let mut found = None;
    for part in path.split('.') {
        let next = entries
            .iter()
            .find(|entry| entry.name.value == part)
            .unwrap();
        entries = next.children();
        found = Some(next);
    }
    found.unwrap()
}

fn driver_json(config: &ExporterConfig, path: &str) -> (String, serde_json::Value) {
    match &entry(&config.export, path).kind {
        EntryKind::Driver(driver) => (driver.type_name.value.clone(), driver.config.to_json()),
        other => panic!("{path}: {other:?}"),
    }
}

/// As `rigd check` reads it.
fn checked(name: &str, text: &str) -> Result<Plan, Diagnostics> {
    let config = parse(name, text, &no_env)?;
    let plan = Plan::new(&config, &Registry::native());
    plan.map_err(|found| Diagnostics::new(Arc::clone(&config.source), found))
}

#[test]
fn every_good_file_loads() {
    for path in yaml_files(&corpus()) {
        let text = fs::read_to_string(&path).unwrap();
        if let Err(found) = parse(&path.display().to_string(), &text, &no_env) {
            panic!("{found}");
        }
    }
}

#[test]
fn every_bad_file_is_refused_in_these_words() {
    for path in yaml_files(&corpus().join("bad")) {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let shown = format!("{}\n", checked(&name, &text).expect_err(&name));
        for secret in ["abcdef", "12345678", "swordfish", "hunter2", "opensesame"] {
            assert!(!shown.contains(secret), "{name} shows a secret:\n{shown}");
        }
        let words = path.with_extension("txt");
        if std::env::var_os("RIGD_BLESS").is_some() {
            fs::write(&words, &shown).unwrap();
        }
        let expected = fs::read_to_string(&words).unwrap_or_default();
        assert!(
            shown == expected,
            "{name}\n--- expected\n{expected}\n--- shown\n{shown}"
        );
    }
}

#[test]
fn the_full_file_arrives_whole() {
    let config = good("full.yaml");
    assert_eq!(
        (
            config.metadata.name.as_str(),
            config.metadata.namespace.as_deref()
        ),
        ("rpi4-07", Some("lab"))
    );
    assert_eq!(config.endpoint.as_deref(), Some("grpc.lab.example:443"));
    assert_eq!(
        config.token.as_ref().unwrap().expose(),
        "eyJhbGciOi.not.real"
    );
    assert!(!format!("{config:?}").contains("eyJhbGciOi"));
    assert_eq!(
        config.grpc_options["grpc.enable_retries"],
        GrpcOption::Int(1)
    );
    assert_eq!(config.labels["row"], "3");
    let EntryKind::Driver(power) = &entry(&config.export, "power").kind else {
        panic!()
    };
    assert_eq!(power.generic.description.as_deref(), Some("Main supply"));
    assert_eq!(
        power.generic.methods_description["on"],
        "Switch the supply on"
    );
    assert_eq!(power.generic.labels["phase"], "L1");
    assert_eq!(
        power.config.to_json(),
        serde_json::json!({"device": "/dev/gpiochip0", "line": 17})
    );
    assert!(matches!(
        &entry(&config.export, "shelf.empty").kind,
        EntryKind::Composite { .. }
    ));
    assert!(
        matches!(&entry(&config.export, "fan").kind, EntryKind::Ref { target } if target.value == "shelf.usb.fan")
    );
    let before = &config.hooks.before_lease.as_ref().unwrap().value;
    assert_eq!(
        (before.script.as_str(), before.timeout),
        ("j power on\nsleep 1\n", 30)
    );
    assert_eq!(
        config.hooks.after_lease.as_ref().unwrap().value.timeout,
        120
    );
    assert_eq!(
        config.listen.as_ref().unwrap().tcp.as_ref().unwrap().host,
        "::1"
    );
    assert!(config.exit_on_lease_end.value);
    assert_eq!(
        config.interlocks.as_ref().unwrap().value[0].unless[0]
            .1
            .value,
        "off"
    );
}

#[test]
fn other_spellings_and_empty_values_mean_the_same() {
    let config = good("other_spellings.yaml");
    assert!(
        config.endpoint.is_none() && config.token.is_none() && config.metadata.namespace.is_none()
    );
    assert!(config.tls.insecure);
    let hook = &config.hooks.before_lease.as_ref().unwrap().value;
    assert_eq!((hook.timeout, hook.exec.as_deref()), (90, None));
    assert!(config.hooks.after_lease.is_none());
    assert_eq!(config.failure_detection.max_rapid_failures, 7);
    assert_eq!(config.failure_detection.rapid_failure_window, 90);
    assert_eq!(
        driver_json(&config, "b"),
        ("power.mock".to_owned(), serde_json::json!({}))
    );
}

#[test]
fn anchors_and_merge_keys_expand() {
    let config = good("anchors.yaml");
    let chip = |line| serde_json::json!({"device": "/dev/gpiochip0", "line": line});
    assert_eq!(
        driver_json(&config, "left.power"),
        ("power.gpio".to_owned(), chip(4))
    );
    assert_eq!(
        driver_json(&config, "right.power"),
        ("power.gpio".to_owned(), chip(5))
    );
    let console = (
        "serial".to_owned(),
        serde_json::json!({"baudrate": 115_200}),
    );
    assert_eq!(driver_json(&config, "right.console"), console);
    assert_eq!(driver_json(&config, "spare.console"), console);
}

#[test]
fn words_are_read_as_pyyaml_reads_them() {
    let config = good("booleans.yaml");
    let expected = serde_json::json!({
        "flag": true, "other": false, "text": "off", "time": 90, "word": "y", "date": "2024-02-30", "float": "1e3"
    });
    assert_eq!(driver_json(&config, "off"), ("on".to_owned(), expected));
    assert_eq!(config.grpc_options["d"], GrpcOption::Int(8));
    assert_eq!(config.grpc_options["c"], GrpcOption::Text("010".to_owned()));
}

#[test]
fn the_environment_fills_only_what_the_file_lacks() {
    let env = |name: &str| Some(format!("from-{name}"));
    let metadata = |text: &str| parse("x", text, &env).unwrap().metadata;
    let filled = metadata("export: {}");
    assert_eq!(
        (filled.name.as_str(), filled.namespace.as_deref()),
        ("from-JMP_NAME", Some("from-JMP_NAMESPACE"))
    );
    let kept = metadata("metadata: {name: a, namespace: null}");
    assert_eq!((kept.name.as_str(), kept.namespace), ("a", None));
}

#[test]
fn files_that_cannot_be_read_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let told = |name: &str, bytes: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let found = rigd::config::load(&path, &no_env).unwrap_err();
        assert!(found.to_string().contains(name));
        found.problems()[0].message.clone()
    };
    assert_eq!(told("absent.yaml", None), "there is no such file");
    assert_eq!(told("", None), "this is a directory, not a file");
    assert_eq!(
        told("latin1.yaml", Some(b"a: 1\nb: \xe4\n")),
        "not UTF-8: byte 8 in line 2 belongs to no character"
    );
    let large = vec![b'#'; rigd::config::MAX_FILE_BYTES + 1];
    assert_eq!(
        told("large.yaml", Some(&large)),
        "larger than 1 MiB, so this is no exporter's configuration"
    );
}

#[test]
fn many_mistakes_and_many_references_stay_bounded() {
    let mut text = "metadata: {name: a}\nexport:\n".to_owned();
    for number in 0..20_000 {
        text.push_str(&format!("  n{number}: {{ref: n{}}}\n", number + 1));
    }
    let found = parse("x", &text, &no_env).unwrap_err();
    assert_eq!(found.problems()[0].message, "more than 4096 instances");
    let unknown: String = (0..20_000)
        .map(|number| format!("k{number}: 1\n"))
        .collect();
    let shown = parse("x", &unknown, &no_env).unwrap_err().to_string();
    assert!(
        shown.ends_with("error: 19951 more mistakes follow"),
        "{}",
        &shown[shown.len() - 200..]
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "(?s).{0,300}") {
        let shown = parse("x", &text, &no_env).map_err(|found| found.to_string());
        prop_assert!(shown.is_ok() || !shown.unwrap_err().is_empty());
    }

    #[test]
    fn a_damaged_file_neither(which in 0usize..6, cut in 0usize..3000, put in "[\\[\\]{}:&*!|'\"\\t\\n#,?<~-]{0,3}|on|null|token: ä|<<: \\*chip") {
        let files = yaml_files(&corpus());
        let mut text = fs::read_to_string(&files[which % files.len()]).unwrap();
        let at = (0..=cut % text.len()).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        text.insert_str(at, &put);
        if let Err(found) = parse("x", &text, &no_env) {
            let shown = found.to_string();
            prop_assert!(!shown.contains("eyJhbGciOi.not.real") || !text.contains("\ntoken: eyJ"), "{}", shown);
        }
    }
}
