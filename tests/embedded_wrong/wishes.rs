//! Requests of good clients that are against the rules.

use std::fmt::Debug;

use rigd_proto::client::v1::{GetLeaseRequest, Lease, ListExportersRequest, ListLeasesRequest};
use tonic::{Code, Status};

use super::Lab;
use crate::embedded::caller::wanted;

#[track_caller]
fn refused<T: Debug>(what: &str, answer: Result<T, Status>, code: Code, text: &str) {
    let status = answer.expect_err(what);
    assert_eq!(status.code(), code, "{what}: {status:?}");
    assert!(
        status.message().contains(text),
        "{what}: no {text:?}: {status:?}"
    );
}

fn tagged(key: &str, value: &str) -> Lease {
    Lease {
        tags: [(key.to_owned(), value.to_owned())].into(),
        ..wanted("board=rpi4")
    }
}

fn lasting(seconds: i64, nanos: i32) -> Lease {
    Lease {
        duration: Some(prost_types::Duration { seconds, nanos }),
        ..wanted("board=rpi4")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_against_the_rules() {
    let lab = Lab::new();
    let mut daemon = lab.site.controller(&[]);
    let ci = lab.site.known("ci").await;
    let many = Lease {
        tags: (0..11).map(|n| (format!("t{n}"), String::new())).collect(),
        ..wanted("board=rpi4")
    };
    let endless = Lease {
        duration: None,
        ..wanted("board=rpi4")
    };
    let invalid = Code::InvalidArgument;
    for (what, wish, code, text) in [
        (
            "no target",
            wanted(""),
            invalid,
            "one of selector or exporter_name is required",
        ),
        (
            "reserved tag",
            tagged("jumpstarter.dev/x", "y"),
            invalid,
            "invalid lease tags: tag key \"jumpstarter.dev/x\" must not use reserved prefix",
        ),
        (
            "tag with a prefix",
            tagged("a/b", "y"),
            invalid,
            "must not contain '/' (use simple names without prefix)",
        ),
        (
            "tag that is no key",
            tagged("a b", "y"),
            invalid,
            "tag key \"a b\" is not a valid label key",
        ),
        (
            "tag that is no value",
            tagged("a", "no value!"),
            invalid,
            "tag value for key \"a\" is not a valid label value",
        ),
        (
            "long tag",
            tagged("a", &"x".repeat(64)),
            invalid,
            "not a valid label value",
        ),
        ("many tags", many, invalid, "too many tags: 11 (maximum 10)"),
        (
            "no selector",
            wanted("board in rpi4"),
            Code::Unknown,
            "unable to parse requirement",
        ),
        (
            "no selector",
            wanted("board=rpi4,,"),
            Code::Unknown,
            "unable to parse requirement",
        ),
        ("no value", wanted("board=rpi 4"), Code::Unknown, ""),
        ("no key", wanted("-b=x"), Code::Unknown, ""),
        ("twice", wanted("board=a,board=b"), Code::Unknown, ""),
        (
            "a long one",
            wanted(&"a,".repeat(100_000)),
            Code::Unknown,
            "",
        ),
        (
            "no duration",
            endless,
            Code::Unknown,
            "duration is required",
        ),
        (
            "no time",
            lasting(0, 0),
            Code::Unknown,
            "duration must be positive",
        ),
        (
            "less",
            lasting(-1, 0),
            Code::Unknown,
            "duration must be positive",
        ),
        ("for ever", lasting(i64::MAX, 0), Code::Unknown, "duration"),
    ] {
        refused(what, ci.wish(wish).await, code, text);
    }
    assert_eq!(ci.leases().await.unwrap(), []);
    refused(
        "filter",
        ci.exporters("board in rpi4").await,
        Code::Unknown,
        "unable to parse requirement",
    );
    let request = ListLeasesRequest {
        parent: ci.parent(),
        tag_filter: "a/b=c".to_owned(),
        ..ListLeasesRequest::default()
    };
    let answer = ci.service().list_leases(ci.who.request(request)).await;
    refused(
        "tag filter",
        answer,
        invalid,
        "invalid tag_filter: tag key \"a/b\" must not contain '/'",
    );

    // What administrators give.
    let create = |kind: &str, args: &[&str], words: &[&str]| {
        let out = lab.site.home("new.yaml");
        let words = [&["error: "], words].concat();
        let head = ["controller", "create", kind];
        let all = [&head[..], args, &["--out", out.to_str().unwrap()]].concat();
        lab.site.rigd(&all).refused(1, &words);
        assert!(!out.exists());
    };
    create("exporter", &["rig-2", "-l", "a b=c"], &["label ", "a b"]);
    create("exporter", &["rig-2", "-l", "a=b c"], &["label ", "b c"]);
    create(
        "exporter",
        &["Rig_2", "-l", "a=b"],
        &["invalid name \"Rig_2\""],
    );
    create("client", &["Me"], &["invalid name \"Me\""]);
    create("client", &["ci"], &["client default/ci already exists"]);
    daemon.stop_cleanly();
    lab.site.ok(&["controller", "delete", "client", "default"]);
    lab.is_intact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_tokens_and_names_made_up() {
    let lab = Lab::new();
    let mut daemon = lab.site.controller(&[]);
    let ci = lab.site.known("ci").await;
    for _ in 0..3 {
        ci.ask("board=rpi4").await;
    }
    let leases = async |page_size: i32, page_token: &str| {
        let request = ListLeasesRequest {
            parent: ci.parent(),
            page_size,
            page_token: page_token.to_owned(),
            ..ListLeasesRequest::default()
        };
        let answer = ci.service().list_leases(ci.who.request(request)).await;
        answer.map(tonic::Response::into_inner)
    };
    let exporters = async |page_token: &str| {
        let request = ListExportersRequest {
            parent: ci.parent(),
            page_token: page_token.to_owned(),
            ..ListExportersRequest::default()
        };
        ci.service().list_exporters(ci.who.request(request)).await
    };
    let first = leases(2, "").await.unwrap();
    assert_eq!(first.leases.len(), 2);
    let next = first.next_page_token;
    let second = leases(2, &next).await.unwrap();
    assert_eq!(
        (second.leases.len(), second.next_page_token.as_str()),
        (1, "")
    );

    let invalid = Code::InvalidArgument;
    let text = "invalid page_token: it must be the next_page_token of an answer to the same method";
    let long = "A".repeat(100_000);
    for token in ["1", "eyJvZmZzZXQiOjF9", "%%%", "../../etc/passwd", &long] {
        refused(token, leases(2, token).await, invalid, text);
        refused(token, exporters(token).await, invalid, text);
    }
    refused("another method's", exporters(&next).await, invalid, text);
    refused(
        "a negative page",
        leases(-1, "").await,
        invalid,
        "page_size",
    );
    assert_eq!(leases(i32::MAX, "").await.unwrap().leases.len(), 3);

    for name in [
        "",
        "x",
        "namespaces/default/leases/",
        "namespaces/default/exporters/x",
        "namespaces//leases/x",
        "namespaces/default/leases/a/b",
    ] {
        let request = GetLeaseRequest {
            name: name.to_owned(),
        };
        let answer = ci.service().get_lease(ci.who.request(request)).await;
        refused(name, answer, invalid, "namespaces/NAMESPACE/leases/NAME");
    }
    refused(
        "no lease",
        ci.get("none").await,
        Code::Unknown,
        "Lease.jumpstarter.dev \"none\" not found",
    );
    refused(
        "no lease",
        ci.release("none").await,
        Code::Unknown,
        "not found",
    );
    daemon.stop_cleanly();
}
