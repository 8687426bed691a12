//! Tokens that are no good, and good ones that nobody else is to see.

use std::time::{Duration, Instant, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rigd_controller::{
    auth::{Kind, Subject, Tokens},
    store::Store,
};
use rigd_proto::{
    client::v1::{ListExportersRequest, RotateTokenRequest},
    v1::{StreamRequest, router_service_client::RouterServiceClient},
};
use tonic::{Code, Request};

use super::{
    Lab,
    callers::{list, refused},
};
use crate::{
    embedded::{Site, caller::Credentials},
    support::daemon::Daemon,
};

/// Longer than any token of a lab is good.
const LONG: Duration = Duration::from_secs(3 * 365 * 24 * 60 * 60);

/// A token with another payload, and the signature of before.
fn forged(token: &str, change: impl Fn(String) -> String) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let payload = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let payload = change(String::from_utf8(payload).unwrap());
    let payload = URL_SAFE_NO_PAD.encode(payload);
    [parts[0], &payload, parts[2]].join(".")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_no_good() {
    let lab = Lab::new();
    let site = &lab.site;
    let who = Credentials::read(&site.home("ci.yaml"));
    // One that was good until a year ago, by the lab's own key.
    let expired = {
        let store = Store::open(&site.state()).unwrap();
        let loaded = store.load().unwrap();
        let client = &loaded.world.clients["ci"];
        let subject = Subject {
            kind: Kind::Client,
            namespace: "default".into(),
            name: "ci".into(),
            uid: client.uid,
        };
        let tokens = Tokens::new(&loaded.keys, Duration::from_secs(60)).unwrap();
        let then = SystemTime::now() - LONG;
        tokens
            .issue(&subject, then, then)
            .unwrap()
            .token
            .reveal()
            .to_owned()
    };
    let foreign = Credentials::read(&Site::new().create_client("ci")).token;
    let mut daemon = site.controller(&[]);
    let ci = site.known("ci").await;
    let rig = Credentials::read(&site.home("rig.yaml"));
    let token = |token: &str| Credentials {
        token: token.to_owned(),
        ..who.clone()
    };

    let unknown = "failed to authenticate token";
    let verify = "oidc: verify token: ";
    let none = forged(&who.token, |it| {
        it.replace("https://localhost:8085", "https://other")
    });
    for (what, presented, text) in [
        ("no token", "opaque".to_owned(), unknown),
        ("three words", "a.b.c".to_owned(), unknown),
        ("another issuer", none, unknown),
        (
            "another subject",
            forged(&who.token, |it| it.replace(":ci:", ":root:")),
            "oidc: verify token: failed to verify signature",
        ),
        (
            "a later end",
            forged(&who.token, |it| it.replace("\"exp\":1", "\"exp\":9")),
            "oidc: verify token: failed to verify signature",
        ),
        (
            "another lab's",
            foreign,
            "oidc: verify token: failed to verify signature",
        ),
        (
            "an expired one",
            expired,
            "oidc: verify token: oidc: token is expired (Token Expiry: ",
        ),
    ] {
        eprintln!("{what}");
        assert!(text == unknown || text.starts_with(verify));
        refused(list(&ci, &token(&presented)).await, Code::Unknown, text);
    }

    // The header that carries it.
    let headers = |values: &[&str]| {
        let mut request = who.request(ListExportersRequest {
            parent: "namespaces/default".to_owned(),
            ..ListExportersRequest::default()
        });
        request.metadata_mut().remove("authorization");
        for value in values {
            request
                .metadata_mut()
                .append("authorization", value.parse().unwrap());
        }
        request
    };
    let good = format!("Bearer {}", who.token);
    let good = good.as_str();
    for (values, code, text) in [
        (
            &[][..],
            Code::Unauthenticated,
            "missing authorization header",
        ),
        (
            &[good, good],
            Code::InvalidArgument,
            "multiple authorization headers",
        ),
        (
            &["Basic eHg6eHg="],
            Code::InvalidArgument,
            "malformed authorization header",
        ),
        (
            &["Bearer"],
            Code::InvalidArgument,
            "malformed authorization header",
        ),
    ] {
        let answer = ci.service().list_exporters(headers(values)).await;
        refused(answer, code, text);
    }
    let answer = ci
        .service()
        .list_exporters(Request::new(ListExportersRequest::default()))
        .await;
    refused(
        answer,
        Code::Unauthenticated,
        "missing authorization header",
    );

    // Revoked by rotation, and by deletion.
    let second = site.home("second.yaml");
    site.ok(&[
        "controller",
        "rotate",
        "client",
        "ci",
        "--out",
        second.to_str().unwrap(),
    ]);
    refused(
        list(&ci, &who).await,
        Code::Unknown,
        "oidc: verify token: oidc: token was revoked",
    );
    let new = Credentials::read(&second);
    assert_eq!(list(&ci, &new).await.unwrap(), 1);
    site.ok(&["controller", "delete", "client", "ci"]);
    let text = "client default/ci: Client.jumpstarter.dev \"ci\" not found";
    refused(list(&ci, &new).await, Code::Unknown, text);
    // One of the same name is somebody else.
    std::fs::remove_file(site.home("ci.yaml")).unwrap();
    site.create_client("ci");
    let text = "permission denied for client default/ci";
    refused(list(&ci, &new).await, Code::PermissionDenied, text);
    assert_eq!(
        list(&ci, &Credentials::read(&site.home("ci.yaml")))
            .await
            .unwrap(),
        1
    );

    // A router takes tokens of streams alone.
    for presented in ["opaque", &rig.token] {
        let mut request = Request::new(tokio_stream::iter([StreamRequest::default()]));
        let bearer = format!("Bearer {presented}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let answer = RouterServiceClient::new(ci.channel.clone())
            .stream(request)
            .await;
        refused(answer, Code::Unauthenticated, "invalid jwt token");
    }
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_logins_delay_no_good_token() {
    let lab = Lab::new();
    let mut daemon = lab.site.controller(&[]);
    let ci = lab.site.known("ci").await;
    let guess = Credentials {
        token: forged(&ci.who.token, |it| it.replace(":ci:", ":root:")),
        ..ci.who.clone()
    };
    let mut told = 0;
    for _ in 0..100 {
        let status = list(&ci, &guess).await.unwrap_err();
        match status.code() {
            Code::Unknown => told += 1,
            Code::ResourceExhausted => {
                let text = status.message();
                assert!(
                    text.starts_with("too many failed logins, try again in "),
                    "{text}"
                );
            }
            _ => panic!("{status:?}"),
        }
    }
    assert!(
        (5..50).contains(&told),
        "{told} of 100 guesses were answered"
    );
    let begun = Instant::now();
    assert_eq!(ci.names("").await, ["rig"]);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "a good token was delayed"
    );
    // So many lines in the log, too.
    let lines = daemon.output.text();
    let failures = lines
        .lines()
        .filter(|line| line.contains("failed to verify signature"))
        .count();
    assert!((1..50).contains(&failures), "{failures} lines:\n{lines}");
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_in_no_log() {
    let site = Site::with_board();
    let mut run = site.run_command(&["--controller-listen", &site.address()]);
    run.env("RIGD_LOG", "trace");
    let mut daemon = Daemon::serve_by(run, &site.settings);
    let ci = site.client("ci").await;
    ci.sees("", &["rpi4"]).await;
    let lease = ci.lease("board=rpi4").await;
    ci.uses(&lease).await;
    let wrong = Credentials {
        token: forged(&ci.who.token, |it| it.replace(":ci:", ":root:")),
        ..ci.who.clone()
    };
    assert!(list(&ci, &wrong).await.is_err());
    let dialled = ci.dial_in_time(&lease).await.unwrap();
    let request = ci.who.request(RotateTokenRequest {
        parent: ci.parent(),
    });
    let rotated = ci
        .service()
        .rotate_token(request)
        .await
        .unwrap()
        .into_inner();
    daemon.stop_cleanly();
    let text = daemon.output.text();
    assert!(
        text.contains("TRACE") && text.contains("DEBUG"),
        "nothing to see:\n{text}"
    );
    for token in [
        &ci.who.token,
        &wrong.token,
        &rotated.token,
        &dialled.router_token,
    ] {
        // The signature and the payload; the first part is in every token.
        for part in token.split('.').skip(1) {
            assert!(!text.contains(part), "a token is in the log");
        }
    }
}
