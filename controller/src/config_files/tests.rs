//! Byte for byte what Jumpstarter 0.9 saves, where it looks for it.

use std::{ffi::OsString, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::auth::Token;

fn access() -> Access {
    Access {
        namespace: "lab".into(),
        name: "123".into(),
        endpoint: "127.0.0.1:8082".into(),
        ca: "QUJD".repeat(100) + "==",
        token: Token::new("eyJ.a-_.b"),
    }
}

fn text() -> String {
    client(&access(), &Drivers::installed())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_client_is_written_as_jumpstarter_saves_it() {
    let expected = "apiVersion: jumpstarter.dev/v1alpha1
kind: ClientConfig
metadata:
  namespace: lab
  name: '123'
endpoint: 127.0.0.1:8082
tls:
  ca: CA
  insecure: false
token: eyJ.a-_.b
grpcOptions: {}
drivers:
  allow:
  - '*'
  unsafe: false
shell:
  use_profiles: false
";
    assert_eq!(
        text(),
        expected.replace("CA\n", &format!("{}\n", access().ca))
    );
    let drivers = Drivers {
        allow: vec!["jumpstarter_driver_power.*".into()],
        unrestricted: true,
    };
    let other = client(&access(), &drivers);
    assert!(other.contains("  allow:\n  - jumpstarter_driver_power.*\n  unsafe: true\n"));
    let none = Drivers {
        allow: vec![],
        unrestricted: false,
    };
    assert!(client(&access(), &none).contains("  allow: []\n"));
}

#[test]
fn an_exporter_is_written_as_jumpstarter_saves_it() {
    let access = Access {
        endpoint: "[::1]:8082".into(),
        ca: String::new(),
        ..access()
    };
    let expected = "apiVersion: jumpstarter.dev/v1alpha1
kind: ExporterConfig
metadata:
  namespace: lab
  name: '123'
endpoint: '[::1]:8082'
tls:
  ca: ''
  insecure: false
token: eyJ.a-_.b
grpcOptions: {}
description: null
export: {}
hooks:
  beforeLease: null
  afterLease: null
failureDetection:
  maxRapidFailures: 5
  rapidFailureWindow: 60
";
    assert_eq!(exporter(&access), expected);
}

#[test]
fn the_first_client_becomes_the_current_one_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("home"));
    let user_file = dir.path().join("home/config.yaml");
    let save = |alias: &str| {
        home.save(Role::Client, alias, &text(), Existing::Keep)
            .unwrap()
    };
    let saved = save("first");
    assert_eq!(saved.path, dir.path().join("home/clients/first.yaml"));
    assert_eq!(saved.current, Current::This);
    let expected = "apiVersion: jumpstarter.dev/v1alpha1
kind: UserConfig
config:
  current-client: first
";
    assert_eq!(std::fs::read_to_string(&user_file).unwrap(), expected);
    assert_eq!(std::fs::read_to_string(&saved.path).unwrap(), text());
    assert_eq!((mode(&saved.path), mode(&user_file)), (0o600, 0o600));

    assert_eq!(save("second").current, Current::Unchanged);
    assert_eq!(std::fs::read_to_string(&user_file).unwrap(), expected);
    std::fs::write(&user_file, user(None)).unwrap();
    home.save(Role::Exporter, "rig", "x", Existing::Keep)
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(&user_file).unwrap(),
        user(None),
        "exporters are no clients"
    );
    assert_eq!(save("third").current, Current::This);
    for foreign in [
        "current-client: [",
        "config: {}\n",
        "",
        "config: {current-client: other}\n",
    ] {
        std::fs::write(&user_file, foreign).unwrap();
        let saved = home
            .save(Role::Client, "first", &text(), Existing::Replace)
            .unwrap();
        assert_eq!(saved.current, Current::Unchanged);
        assert_eq!(std::fs::read_to_string(&user_file).unwrap(), foreign);
    }
}

#[test]
fn what_is_there_is_kept_unless_said_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    let path = home
        .save(Role::Exporter, "rig", "old", Existing::Keep)
        .unwrap()
        .path;
    let error = home
        .save(Role::Exporter, "rig", "new", Existing::Keep)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!(
            "{} exists already: remove it, or choose another alias",
            path.display()
        )
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    home.save(Role::Exporter, "rig", "new", Existing::Replace)
        .unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    for alias in ["", "a.b", "../x", "a/b", ".", "a b", "ä"] {
        let error = home
            .save(Role::Client, alias, "x", Existing::Keep)
            .unwrap_err();
        assert!(matches!(error, ConfigFileError::Alias(_)), "{alias}");
    }
}

#[test]
fn a_new_token_changes_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    let content = text() + "leases:\n  retry_timeout: 300.0 # mine\n";
    let path = home
        .save(Role::Client, "a", &content, Existing::Keep)
        .unwrap()
        .path;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    renew_file(&path, &Token::new("eyJ.new.t")).unwrap();
    let new = std::fs::read_to_string(&path).unwrap();
    assert_eq!(new, content.replace("eyJ.a-_.b", "eyJ.new.t"));
    assert_eq!(mode(&path), 0o600);
    for bad in [
        "kind: ClientConfig\n",
        "token: a\ntoken: b\n",
        "  token: a\n",
    ] {
        std::fs::write(&path, bad).unwrap();
        let error = renew_file(&path, &Token::new("t")).unwrap_err();
        assert!(matches!(error, ConfigFileError::NoToken { .. }));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
    }
    let none = path.with_file_name("none.yaml");
    let error = renew_file(&none, &Token::new("t")).unwrap_err();
    assert!(matches!(error, ConfigFileError::File { .. }));
}

#[test]
fn the_labs_own_client_is_called_default_and_its_token_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let home = write_own_client(dir.path(), &access()).unwrap();
    assert_eq!(home, dir.path().join("client"));
    let path = home.join("clients/default.yaml");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text());
    let config = std::fs::read_to_string(home.join("config.yaml")).unwrap();
    assert_eq!(config, user(Some("default")));
    assert_eq!(token_of(&path), Some(Token::new("eyJ.a-_.b")));
    write_own_client(
        dir.path(),
        &Access {
            token: Token::new("x.y.z"),
            ..access()
        },
    )
    .unwrap();
    assert_eq!(token_of(&path), Some(Token::new("x.y.z")));
    assert_eq!(token_of(&home.join("none")), None);
}

#[test]
fn the_callers_directory_is_where_jmp_looks() {
    let home = |set: &[(&str, &str)]| {
        let set: Vec<_> = set.iter().map(|(k, v)| (*k, OsString::from(v))).collect();
        Home::of_caller(move |name| {
            set.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.clone())
        })
    };
    let (jmp, xdg, own) = (
        ("JMP_CLIENT_CONFIG_HOME", "/j"),
        ("XDG_CONFIG_HOME", "/x"),
        ("HOME", "/h"),
    );
    assert_eq!(home(&[jmp, xdg, own]).unwrap(), Home::at("/j"));
    assert_eq!(
        home(&[("JMP_CLIENT_CONFIG_HOME", ""), xdg, own]).unwrap(),
        Home::at("/x/jumpstarter")
    );
    assert_eq!(home(&[own]).unwrap(), Home::at("/h/.config/jumpstarter"));
    assert!(matches!(home(&[]), Err(ConfigFileError::NoHome)));
}

#[test]
fn what_is_no_regular_file_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("null");
    std::os::unix::fs::symlink("/dev/null", &device).unwrap();
    for path in [&*device, dir.path()] {
        let error = write_file(path, "text", Existing::Replace).unwrap_err();
        assert!(matches!(error, ConfigFileError::NotAFile { .. }), "{error}");
        let error = write_file(path, "text", Existing::Keep).unwrap_err();
        assert!(matches!(error, ConfigFileError::Exists { .. }), "{error}");
    }
    assert!(device.is_symlink() && dir.path().is_dir());
    // A file elsewhere is another matter: its name is given to the new one.
    let (link, file) = (dir.path().join("link"), dir.path().join("file"));
    std::fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    write_file(&link, "new", Existing::Replace).unwrap();
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "new");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
}
