//! The files of `systemd/`, and those that `docs/service.md` proposes: systemd's own tools accept
//! them without a word, the sandbox is as tight as promised, and no rule hands out disks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// In tenths, as `--threshold` counts: 2.2 of 10.
const MAX_EXPOSURE: &str = "--threshold=22";

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn systemd(name: &str) -> PathBuf {
    top().join("systemd").join(name)
}

/// Says that something is missing, which is a failure with `RIGD_TEST_REQUIRE=all`.
fn skip(why: &str) {
    let required = std::env::var_os("RIGD_TEST_REQUIRE");
    assert_ne!(required.as_deref(), Some(OsStr::new("all")), "{why}");
    eprintln!("SKIPPED: {why}");
}

/// Whether the tool is there.
fn have(tool: &str) -> bool {
    let asked = Command::new(tool)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let there = asked.is_ok_and(|output| output.status.success());
    if !there {
        skip(&format!("{tool} is missing"));
    }
    there
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("it starts")
}

/// Both streams.
fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The unit with the program that was built, for `verify` wants it to be there, and with more
/// settings at its end.
fn unit(dir: &TempDir, more: &str) -> PathBuf {
    let text = fs::read_to_string(systemd("rigd.service")).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/rigd run\n"));
    let built = text.replace("/usr/bin/rigd", env!("CARGO_BIN_EXE_rigd"));
    let path = dir.path().join("rigd.service");
    fs::write(&path, format!("{built}\n{more}\n")).unwrap();
    path
}

/// What `systemd-analyze verify` has to say. It ends well in spite of unknown keys and bad values:
/// only silence is good.
fn verify(more: &str) -> String {
    let dir = TempDir::new().unwrap();
    let output = run(Command::new("systemd-analyze")
        .arg("verify")
        .arg(unit(&dir, more)));
    let said = said(&output);
    if said.is_empty() {
        assert!(output.status.success(), "{output:?}");
    }
    said
}

/// The text of the blocks of `docs/service.md` that are marked so.
fn documented(mark: &str) -> Vec<String> {
    let text = fs::read_to_string(top().join("docs/service.md")).unwrap();
    let fence = format!("\n```{mark}\n");
    text.split(&fence)
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn systemd_has_nothing_to_say_about_the_unit() {
    if !have("systemd-analyze") {
        return;
    }
    assert_eq!(verify(""), "");
    for mistake in [
        "[Service]\nProtectSysten=strict",
        "[Service]\nWatchdogSec=soon",
        "[Service]\nSystemCallFilter=@sytem-service",
    ] {
        assert_ne!(verify(mistake), "", "{mistake} was not found");
    }
}

#[test]
fn systemd_has_nothing_to_say_about_what_the_document_adds_to_it() {
    if !have("systemd-analyze") {
        return;
    }
    let additions = documented("ini");
    assert!(additions.len() >= 3, "{additions:?}");
    for addition in additions {
        assert_eq!(verify(&addition), "", "{addition}");
    }
}

#[test]
fn systemd_has_nothing_to_say_about_units_of_the_document() {
    if !have("systemd-analyze") {
        return;
    }
    let units = documented("systemd");
    assert!(!units.is_empty());
    for text in units {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("documented.service");
        // `verify` wants the program to be there.
        let text = text.replace("ExecStart=/usr/local/sbin/", "ExecStart=/bin/true ");
        assert!(text.contains("/bin/true"), "{text}");
        fs::write(&path, text).unwrap();
        let output = run(Command::new("systemd-analyze").arg("verify").arg(&path));
        assert!(
            output.status.success() && said(&output).is_empty(),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn the_sandbox_is_tight() {
    if !have("systemd-analyze") {
        return;
    }
    let exposure = |more| {
        let dir = TempDir::new().unwrap();
        run(Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", MAX_EXPOSURE])
            .arg(unit(&dir, more)))
    };
    let output = exposure("");
    let said = said(&output);
    let figure = said
        .lines()
        .find(|line| line.contains("Overall exposure level"))
        .unwrap_or_else(|| panic!("no figure in {said}"));
    println!("{figure}");
    assert!(output.status.success(), "{said}");
    let loose = "[Service]\nUser=root\nCapabilityBoundingSet=~\nSystemCallFilter=";
    assert!(!exposure(loose).status.success(), "everything passes");
}

#[test]
fn users_and_directories_are_made() {
    if !have("systemd-sysusers") || !have("systemd-tmpfiles") {
        return;
    }
    if !rustix::process::getuid().is_root() {
        return skip("only root can make users and directories of theirs");
    }
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let mut root = std::ffi::OsString::from("--root=");
    root.push(dir.path());
    let users = run(Command::new("systemd-sysusers")
        .arg(&root)
        .arg(systemd("sysusers.d/rigd.conf")));
    assert!(users.status.success(), "{}", said(&users));
    let etc = |name: &str| fs::read_to_string(dir.path().join("etc").join(name)).unwrap();
    let passwd = etc("passwd");
    let rigd = passwd.lines().find(|line| line.starts_with("rigd:"));
    let rigd: Vec<_> = rigd.expect("the user").split(':').collect();
    assert_eq!(rigd[5], "/var/lib/rigd");
    assert!(rigd[6].ends_with("/nologin"), "{rigd:?}");
    for group in ["dialout", "gpio"] {
        let found = etc("group").lines().any(|line| {
            line.starts_with(&format!("{group}:")) && line.rsplit(':').next() == Some("rigd")
        });
        assert!(found, "rigd is no member of {group}");
    }

    let made = run(Command::new("systemd-tmpfiles")
        .arg("--create")
        .arg(&root)
        .arg(systemd("tmpfiles.d/rigd.conf")));
    assert!(
        made.status.success() && said(&made).is_empty(),
        "{}",
        said(&made)
    );
    let exporters = fs::metadata(dir.path().join("etc/rigd/exporters")).unwrap();
    assert_eq!(exporters.mode() & 0o7777, 0o750);
    assert_eq!(
        (exporters.uid(), exporters.gid().to_string()),
        (0, rigd[3].to_owned())
    );
}

/// A key of a rule, its operator and value.
type Term = (String, String, String);

/// The terms of a rule: `KEY==\"value\", KEY=\"value\"`.
fn terms(rule: &str) -> Vec<Term> {
    let terms = rule.split(", ").map(|term| {
        let at = term.find(['=', '!', '+', '-']).expect("an operator");
        let (key, rest) = term.split_at(at);
        let quote = rest.find('"').expect("a value in quotes");
        let (operator, value) = rest.split_at(quote);
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let known = ["==", "!=", "=", "+="];
        assert!(known.contains(&operator), "operator {operator} in {rule}");
        let value = value.unwrap_or_else(|| panic!("the end of {term} in {rule}"));
        (key.to_owned(), operator.to_owned(), value.to_owned())
    });
    terms.collect()
}

/// Why this rule must not be, if so. Rules are one line each here.
fn objection(rule: &str) -> Option<&'static str> {
    let terms = terms(rule);
    let value = |key: &str, operator: &str| {
        let found = terms.iter().find(|(k, o, _)| k == key && o == operator);
        found.map(|(_, _, value)| value.as_str())
    };
    let hands_out = ["GROUP", "OWNER", "MODE", "TAG"];
    if !hands_out
        .iter()
        .any(|key| terms.iter().any(|(k, _, _)| k == key))
    {
        return None;
    }
    let id = |name: &str| {
        value(&format!("ATTR{{{name}}}"), "==").or_else(|| value(&format!("ATTRS{{{name}}}"), "=="))
    };
    // sysfs writes them so, and udev compares text.
    let exact = |id: &str| id.len() == 4 && id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    let on_board =
        value("SUBSYSTEM", "==") == Some("gpio") && value("KERNEL", "==") == Some("gpiochip[0-9]*");
    let named = ["idVendor", "idProduct"]
        .iter()
        .all(|name| id(name).is_some_and(exact));
    if value("SUBSYSTEM", "==").is_none() {
        Some("names no subsystem")
    } else if !(on_board || named) {
        Some("names no vendor and product")
    } else if value("MODE", "=") != Some("0660") {
        Some("is not for a group alone")
    } else if value("GROUP", "=") != Some(if on_board { "gpio" } else { "rigd" }) {
        Some("is for another group")
    } else {
        None
    }
}

fn rules(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[test]
fn udev_hands_out_named_hardware_and_no_class_of_disks() {
    let text = fs::read_to_string(systemd("60-rigd.rules")).unwrap();
    assert!(rules(&text).count() > 10);
    let documented = documented("udev").join("\n");
    assert!(rules(&documented).count() > 0);
    for rule in rules(&text).chain(rules(&documented)) {
        assert_eq!(objection(rule), None, "{rule}");
    }
    for bad in [
        r#"SUBSYSTEM=="block", GROUP="rigd", MODE="0660""#,
        r#"SUBSYSTEM=="block", SUBSYSTEMS=="usb", GROUP="rigd", MODE="0660""#,
        r#"SUBSYSTEM=="block", ATTRS{idVendor}=="0424", GROUP="rigd", MODE="0660""#,
        r#"SUBSYSTEM=="usb", ATTR{idVendor}=="04E8", ATTR{idProduct}=="6001", GROUP="rigd", MODE="0660""#,
        r#"ATTRS{idVendor}=="0424", ATTRS{idProduct}=="4050", GROUP="rigd", MODE="0660""#,
        r#"SUBSYSTEM=="hidraw", ATTRS{idVendor}=="04d8", ATTRS{idProduct}=="f2f7", MODE="0666""#,
    ] {
        assert!(objection(bad).is_some(), "{bad}");
    }
}

#[test]
fn udev_can_read_the_rules() {
    // It came with systemd 254; Debian 12 has 252.
    let help = Command::new("udevadm").arg("--help").output();
    if !help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("verify")) {
        eprintln!("SKIPPED: no udevadm that verifies; the rules are parsed by another test");
        return;
    }
    let verified = run(Command::new("udevadm")
        .arg("verify")
        .arg(systemd("60-rigd.rules")));
    assert!(verified.status.success(), "{}", said(&verified));
}
