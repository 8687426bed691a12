//! Leases in lists.

use super::*;

fn all() -> ListLeasesRequest {
    ListLeasesRequest {
        parent: "namespaces/lab".into(),
        ..ListLeasesRequest::default()
    }
}

async fn names(client: &mut Client, request: ListLeasesRequest) -> (Vec<String>, String) {
    let answer = client.list_leases(request).await.unwrap().into_inner();
    let name = |lease: message::Lease| lease.name.replace("namespaces/lab/leases/", "");
    let names = answer.leases.into_iter().map(name).collect();
    (names, answer.next_page_token)
}

async fn tagged(client: &mut Client, name: &str, selector: &str, tag: &str) {
    let mut request = wish(name, selector);
    request.lease.as_mut().unwrap().tags = sample::labels(&[("run", tag)]);
    client.create_lease(request).await.unwrap();
}

#[tokio::test]
async fn lists_are_filtered_by_what_is_asked_and_by_tags() {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4"), ("zone", "a")]))
        .await;
    let (mut alice, mut bob) = (site.client("alice").await, site.client("bob").await);
    tagged(&mut alice, "a", "board=rpi4", "1").await;
    tagged(&mut bob, "b", "board=rpi4,zone!=b", "2").await;
    tagged(&mut bob, "c", "zone=a", "2").await;
    delete(&mut alice, "a").await.unwrap();

    let with = |filter: &str, tags: &str, active: Option<bool>| ListLeasesRequest {
        filter: filter.into(),
        tag_filter: tags.into(),
        only_active: active,
        ..all()
    };
    for (filter, tags, active, expected) in [
        ("", "", None, vec!["b", "c"]),
        ("", "", Some(true), vec!["b", "c"]),
        ("", "", Some(false), vec!["a", "b", "c"]),
        ("board=rpi4", "", None, vec!["b"]),
        ("zone!=b", "", None, vec!["b", "c"]),
        ("", "run=2", None, vec!["b", "c"]),
        ("", "run in (1)", Some(false), vec!["a"]),
        ("metadata.jumpstarter.dev/run=1", "", Some(false), vec!["a"]),
        (
            "jumpstarter.dev/lease-ended=true",
            "",
            Some(false),
            vec!["a"],
        ),
        ("jumpstarter.dev/lease-ended=true", "", None, vec![]),
    ] {
        let (found, next) = names(&mut alice, with(filter, tags, active)).await;
        assert_eq!(found, expected, "{filter} {tags} {active:?}");
        assert_eq!(next, "");
    }
    let answer = alice.list_leases(with("a in (", "", None)).await;
    assert_eq!(refused(answer).0, Code::Unknown);
    for tags in ["a in (", "a/b=c"] {
        let answer = alice.list_leases(with("", tags, None)).await;
        assert_eq!(refused(answer).0, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn ten_leases_are_two_pages_of_five() {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4")]))
        .await;
    let mut alice = site.client("alice").await;
    for n in 0..10 {
        ask(&mut alice, &format!("n{n}"), "board=rpi4").await;
    }
    let page = |token: String| ListLeasesRequest {
        page_size: 5,
        page_token: token,
        ..all()
    };
    let (first, next) = names(&mut alice, page(String::new())).await;
    assert_eq!(first, ["n0", "n1", "n2", "n3", "n4"]);
    delete(&mut alice, "n4").await.unwrap();
    let (second, end) = names(&mut alice, page(next.clone())).await;
    assert_eq!(second, ["n5", "n6", "n7", "n8", "n9"]);
    assert_eq!(end, "");
    // One of another list is none of this.
    let request = ListExportersRequest {
        parent: "namespaces/lab".into(),
        page_token: next,
        ..ListExportersRequest::default()
    };
    let answer = alice.list_exporters(request).await;
    assert_eq!(refused(answer).0, Code::InvalidArgument);
}
