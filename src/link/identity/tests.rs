//! Metadata, tokens from files, and their end.

use std::fs;

use super::*;
use crate::{config, link::answer::Answer};

fn identity(yaml: &str) -> Result<Identity, IdentityError> {
    let text = format!("metadata: {{name: rpi4, namespace: lab}}\n{yaml}\n");
    let config = config::parse("x.yaml", &text, &|_| None).unwrap();
    Identity::new(&config, &|_| None)
}

fn from_file(path: &Path) -> Identity {
    identity(&format!("tokenFile: {}", path.display())).unwrap()
}

fn jwt(claims: &str) -> String {
    format!(
        "eyJhbGciOiJFUzI1NiJ9.{}.c2ln",
        URL_SAFE_NO_PAD.encode(claims)
    )
}

fn bearer_of(identity: &Identity) -> String {
    let mut metadata = MetadataMap::new();
    identity.apply(&mut metadata).unwrap();
    metadata
        .get("authorization")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn every_call_carries_four_keys_and_shows_no_token() {
    let mut identity = identity("token: s3cr3t-token").unwrap();
    let request = identity.call(Request::new(())).unwrap();
    let metadata = request.metadata();
    for (key, value) in [
        ("authorization", "Bearer s3cr3t-token"),
        ("jumpstarter-kind", "Exporter"),
        ("jumpstarter-namespace", "lab"),
        ("jumpstarter-name", "rpi4"),
    ] {
        assert_eq!(metadata.get(key).unwrap(), value);
    }
    assert_eq!(metadata.len(), 4);
    for shown in [format!("{identity:?}"), format!("{request:?}")] {
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}

#[test]
fn what_is_missing_is_told() {
    let parse = |text: &str| config::parse("x.yaml", text, &|_| None).unwrap();
    let of = |text| {
        Identity::new(&parse(text), &|_| None)
            .unwrap_err()
            .to_string()
    };
    assert!(of("metadata: {name: a, namespace: b}").contains("`token` or `tokenFile`"));
    assert!(of("metadata: {name: a}\ntoken: t").contains("metadata.namespace"));
    assert!(of("metadata: {name: é, namespace: b}\ntoken: t").contains("metadata.name"));
}

#[test]
fn a_rotated_token_counts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let identity = from_file(&path);
    let error = identity.token().unwrap_err().to_string();
    assert!(
        error.contains(path.to_str().unwrap()) && error.contains("No such file"),
        "{error}"
    );
    fs::write(&path, " one\n").unwrap();
    assert_eq!(bearer_of(&identity), "Bearer one");
    fs::write(&path, "two").unwrap();
    assert_eq!(bearer_of(&identity), "Bearer two");
}

#[test]
fn a_credential_of_the_service_is_found_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ctl-token"), "abc").unwrap();
    let text = "metadata: {name: a, namespace: b}\ntokenFile: ctl-token\n";
    let config = config::parse("x.yaml", text, &|_| None).unwrap();
    let directory = dir.path().to_str().unwrap().to_owned();
    let env = move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| directory.clone());
    let identity = Identity::new(&config, &env).unwrap();
    assert_eq!(bearer_of(&identity), "Bearer abc");
}

#[test]
fn files_that_hold_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let large = "s3cr3t".repeat(4000);
    for (content, reason) in [
        (&b""[..], "empty"),
        (b" \n", "empty"),
        (b"s3cr3t\ns3cr3t", "line end"),
        (b"s3cr3t\x01", "header cannot carry"),
        ("s3cr3t\u{fc}".as_bytes(), "header cannot carry"),
        (b"s3cr3t\xff", "not text"),
        (large.as_bytes(), "16 KiB"),
    ] {
        fs::write(&path, content).unwrap();
        let mut identity = from_file(&path);
        let status = identity.call(Request::new(())).unwrap_err();
        let text = status.message();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
        assert_eq!(Answer::of(&status), Answer::Refused(text.to_owned()));
        assert!(
            text.contains(reason) && text.contains(path.to_str().unwrap()),
            "{text}"
        );
        assert!(!text.contains("s3cr3t"), "{text}");
    }
}

#[test]
fn a_pipe_or_a_directory_does_not_hang() {
    let dir = tempfile::tempdir().unwrap();
    let error = from_file(dir.path()).token().unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let identity = from_file(&pipe);
    let (told, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(identity.token().unwrap_err().to_string()));
    let error = answer
        .recv_timeout(Duration::from_secs(20))
        .expect("it hangs");
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn the_end_of_a_token_in_words() {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_000_000);
    for claims in [r#"{"exp":1793000000}"#, r#"{"sub":"x","exp":1793000000.0}"#] {
        let identity = identity(&format!("token: {}", jwt(claims))).unwrap();
        assert_eq!(identity.expires(), Some(end));
        let after = |seconds| identity.expired(end + Duration::from_secs(seconds));
        assert_eq!(
            after(3 * DAY + 5).unwrap(),
            "token expired 3 days ago (2026-10-26T07:33:20Z)"
        );
        assert!(after(3600).unwrap().starts_with("token expired 1 hour ago"));
        assert_eq!(identity.expired(end - Duration::from_secs(1)), None);
    }
}

#[test]
fn tokens_without_an_end() {
    for token in [
        "opaque".to_owned(),
        "a.b".to_owned(),
        "a.!.c".to_owned(),
        jwt("[]"),
        jwt("{}"),
        jwt(r#"{"exp":"soon"}"#),
        jwt(r#"{"exp":-1}"#),
        jwt(r#"{"exp":1e300}"#),
    ] {
        let identity = identity(&format!("token: {token}")).unwrap();
        assert_eq!(identity.expires(), None, "{token}");
        assert_eq!(identity.expired(SystemTime::now()), None);
    }
}
