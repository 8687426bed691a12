//! Clients, exporters and their tokens, from the administrator's commands to what `jmp` says.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{
    embedded::value,
    lab::{Lab, edit, token},
    python_exporter::PythonExporter,
    support::jmp::Python,
};

/// The client's file in a configuration directory.
fn file_of(configuration: &Path, client: &str) -> PathBuf {
    configuration.join("clients").join(format!("{client}.yaml"))
}

#[test]
fn create_clients_and_exporters() {
    let Some(lab) = Lab::empty() else { return };
    let ann = lab.client("ann");
    lab.saves(&ann, &["create", "client", "ann-at-night"]);
    lab.saves(&ann, &["create", "exporter", "rig", "--label", "board=rig"]);
    let mut jmp = lab.commands(&ann);
    let listed = jmp.ok("config client list");
    let row = |text: &str, alias: &str| -> Vec<String> {
        let line = text
            .lines()
            .find(|line| line.contains(&format!("/{alias}.yaml")));
        let line = line.unwrap_or_else(|| panic!("no {alias} in {text}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    // The first one that was saved is the current one.
    let address = lab.site.address();
    assert_eq!(row(&listed, "ann")[..3], ["*", "ann", &address], "{listed}");
    assert_eq!(
        row(&listed, "ann-at-night")[..2],
        ["ann-at-night", &address],
        "{listed}"
    );
    let exporters = jmp.ok("config exporter list");
    assert_eq!(row(&exporters, "rig")[0], "rig", "{exporters}");
    assert_eq!(jmp.names("get exporters -o name"), ["rig"]);
    let exporter = jmp.json("get exporters -o json")["exporters"][0].clone();
    assert_eq!(exporter["labels"]["board"], "rig", "{exporter}");
    jmp.ok("config client use ann-at-night");
    assert!(jmp.ok("auth status").contains(":ann-at-night:"));
    assert_eq!(jmp.names("get exporters -o name"), ["rig"]);
}

#[test]
fn rotate_client() {
    let Some(lab) = Lab::with(&["a"]) else { return };
    let ann = lab.client("ann");
    let file = file_of(&ann, "ann");
    let mut tokens = vec![token(&file)];
    let mut jmp = lab.commands(&ann);
    for _ in 0..2 {
        lab.saves(&ann, &["rotate", "client", "ann"]);
        tokens.push(token(&file));
        assert_eq!(jmp.names("get exporters -o name"), ["a"]);
    }
    let out = lab.site.home("out.yaml");
    let rotate = ["controller", "rotate", "client"];
    lab.site
        .ok(&[&rotate[..], &["ann", "--out", out.to_str().unwrap()]].concat());
    tokens.push(token(&out));
    let config = format!("get exporters -o name --client-config {}", out.display());
    assert_eq!(jmp.names(&config), ["a"]);
    // What the administrator rotates may have leaked, and ends the tokens from before.
    jmp.refused("get exporters", "grpc controller responded");
    let count = tokens.len();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), count, "the same token twice");

    let said = lab
        .site
        .rigd(&[&rotate[..], &["nobody", "--out", "nobody.yaml"]].concat());
    said.refused(1, &["nobody", "not found"]);
    assert!(!lab.site.home("nobody.yaml").exists());
}

#[test]
fn auth_rotate_and_status() {
    let Some(lab) = Lab::with(&["a"]) else { return };
    let own = file_of(&lab.own(), "default");
    let old = lab.site.home("old.yaml");
    fs::copy(&own, &old).unwrap();
    let mut jmp = lab.commands(&lab.own());
    let status = jmp.ok("auth status");
    assert!(status.contains("Status: Valid"), "{status}");
    let mut tokens = vec![token(&own)];
    for _ in 0..2 {
        let said = jmp.ok("auth rotate");
        assert!(said.contains("Token rotated. New expiry: "), "{said}");
        assert!(!tokens.contains(&token(&own)), "the same token again");
        tokens.push(token(&own));
        assert_eq!(jmp.names("get exporters -o name"), ["a"]);
    }
    assert!(jmp.ok("auth status").contains("Status: Valid"));
    // Other programs of the client go on with the one they have.
    let config = format!("get exporters -o name --client-config {}", old.display());
    assert_eq!(jmp.names(&config), ["a"]);
}

#[test]
fn get_and_delete() {
    let Some(lab) = Lab::with(&["a"]) else { return };
    let ann = lab.client("ann");
    lab.exporter_file("rig", "board=rig", "power.mock");
    let names = |kind: &str| {
        let objects = lab.site.get(kind);
        let name = |one: &Value| one["metadata"]["name"].as_str().unwrap().to_owned();
        objects.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names("clients"), ["ann", "default"]);
    assert_eq!(names("exporters"), ["a", "rig"]);
    let mut jmp = lab.commands(&ann);
    assert_eq!(jmp.names("get exporters -o name"), ["a", "rig"]);
    lab.site.ok(&["controller", "delete", "exporter", "rig"]);
    assert_eq!(names("exporters"), ["a"]);
    assert_eq!(jmp.names("get exporters -o name"), ["a"]);

    let lease = jmp.ok("create lease --selector board=a --duration 1d -o name");
    let mut others = lab.commands(&lab.own());
    assert_eq!(others.ok("get leases -A -o name"), lease);
    lab.site.ok(&["controller", "delete", "client", "ann"]);
    assert_eq!(names("clients"), ["default"]);
    jmp.refused("get exporters", "not found");
    // What it held is free.
    assert_eq!(others.ok("get leases -A"), "No resources found.\n");
    let refused = lab.site.rigd(&["controller", "delete", "client", "ann"]);
    refused.refused(1, &["ann", "not found"]);
}

#[test]
fn client_config_from_the_environment_alone() {
    let Some(lab) = Lab::with(&["a"]) else { return };
    let file = lab.client("ci");
    let text = fs::read_to_string(file_of(&file, "ci")).unwrap();
    let tls = format!(
        "{{\"ca\": \"{}\", \"insecure\": false}}",
        value(&text, "ca")
    );
    let (address, home) = (lab.site.address(), lab.site.settings.path("root"));
    let variables = [
        ("JMP_NAMESPACE", "default"),
        ("JMP_NAME", "ci"),
        ("JMP_ENDPOINT", &address),
        ("JMP_TOKEN", value(&text, "token")),
        ("JMP_TLS", &tls),
        ("JMP_DRIVERS_ALLOW", "*"),
    ];
    let args = ["shell", "--selector", "board=a", "--", "j", "power", "on"];
    Python::start_at(lab.venv, &home, "jmp", &args, &variables).succeeded();
    assert!(lab.switched_on("a"));
    let daemon = lab.daemon.output.text();
    assert!(daemon.contains("client=\"ci\""), "{daemon}");
}

#[test]
fn secure_tls_with_the_authority_of_the_file() {
    let Some(lab) = Lab::with(&["a"]) else { return };
    let own = file_of(&lab.own(), "default");
    let text = fs::read_to_string(&own).unwrap();
    assert_eq!(value(&text, "insecure"), "false");
    let mut jmp = lab.commands(&lab.own());
    let said = jmp.ok("get exporters -o yaml");
    assert!(said.contains("  name: a\n"), "{said}");
    // It was that authority that made the difference.
    let without = lab.site.home("without.yaml");
    fs::copy(&own, &without).unwrap();
    edit(&without, value(&text, "ca"), "''");
    let args = format!("get exporters --client-config {}", without.display());
    jmp.refused(&args, "CERTIFICATE_VERIFY_FAILED");
}

#[test]
fn failed_authentication_is_logged_without_the_token() {
    let Some(mut lab) = Lab::empty_with(&["--log", "trace"]) else {
        return;
    };
    let ann = file_of(&lab.client("ann"), "ann");
    let rig = lab.exporter_file(
        "rig",
        "board=rig",
        "jumpstarter_driver_power.driver.MockPower",
    );
    let mut tokens = Vec::new();
    for file in [&ann, &rig] {
        let good = token(file);
        // Another signature, of the same length.
        let (rest, signature) = good.rsplit_once('.').unwrap();
        let swapped: String = signature.chars().rev().collect();
        let bad = format!("{rest}.{swapped}");
        edit(file, &good, &bad);
        tokens.extend([rest.to_owned(), swapped, signature.to_owned()]);
    }
    let mut jmp = lab.commands(&lab.own());
    let args = format!("get exporters --client-config {}", ann.display());
    jmp.refused(&args, "verify");
    let exporter = PythonExporter::start(&lab, &rig);
    for (kind, name) in [("client", "ann"), ("exporter", "rig")] {
        let words = format!("{kind} authentication failed");
        let wait = |line: &str| line.contains(&words);
        let line = lab.daemon.output.wait(Duration::from_secs(60), wait);
        let line = line.unwrap_or_else(|| panic!("no {words:?}:\n{}", lab.daemon.output.text()));
        assert!(line.contains("peer=127.0.0.1:"), "{line}");
        assert!(line.contains(&format!("name=\"{name}\"")), "{line}");
    }
    drop(exporter);
    lab.daemon.stop_cleanly();
    let said = lab.daemon.output.text();
    assert!(
        !tokens.iter().any(|token| said.contains(token.as_str())),
        "{said}"
    );
}
