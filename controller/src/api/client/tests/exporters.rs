//! Exporters, alone and in pages.

use std::time::Instant;

use rigd_proto::v1::ExporterStatus;

use super::*;

fn page(size: i32, token: &str, filter: &str) -> ListExportersRequest {
    ListExportersRequest {
        parent: "namespaces/lab".into(),
        page_size: size,
        page_token: token.into(),
        filter: filter.into(),
        ..ListExportersRequest::default()
    }
}

async fn names(client: &mut Client, request: ListExportersRequest) -> (Vec<String>, String) {
    let answer = client.list_exporters(request).await.unwrap().into_inner();
    let exporters = answer.exporters.into_iter();
    (
        exporters.map(|exporter| exporter.name).collect(),
        answer.next_page_token,
    )
}

#[tokio::test]
async fn an_exporter_is_told_with_its_labels_and_its_state() {
    let site = Site::open().await;
    site.add(|world| {
        sample::exporter(world, "rig-1", &[("board", "rpi4")]);
        sample::exporter(world, "rig-2", &[]);
        world.exporters.get_mut("rig-2").unwrap().enabled = false;
        world.exporters.get_mut("rig-2").unwrap().presence = Default::default();
    })
    .await;
    let mut alice = site.client("alice").await;
    let name = "namespaces/lab/exporters/rig-1".to_owned();
    let ask = |name: &str| GetExporterRequest {
        name: name.into(),
        ..GetExporterRequest::default()
    };
    let one = alice.get_exporter(ask(&name)).await.unwrap().into_inner();
    let expected = message::Exporter {
        name,
        labels: sample::labels(&[("board", "rpi4")]),
        online: true,
        status: ExporterStatus::Available.into(),
        enabled: Some(true),
        ..message::Exporter::default()
    };
    assert_eq!(one, expected);
    let other = ask("namespaces/lab/exporters/rig-2");
    let other = alice.get_exporter(other).await.unwrap().into_inner();
    assert_eq!((other.online, other.enabled), (false, Some(false)));
    assert_eq!(other.status(), ExporterStatus::Offline);
    let none = alice
        .get_exporter(ask("namespaces/lab/exporters/rig-3"))
        .await;
    let text = "Exporter.jumpstarter.dev \"rig-3\" not found".to_owned();
    assert_eq!(refused(none), (Code::Unknown, text));
    let wrong = alice.get_exporter(ask("rig-1")).await;
    assert_eq!(refused(wrong).0, Code::InvalidArgument);
    let elsewhere = alice
        .get_exporter(ask("namespaces/other/exporters/rig-1"))
        .await;
    let text = "namespace mismatch".to_owned();
    assert_eq!(refused(elsewhere), (Code::PermissionDenied, text));
}

#[tokio::test]
async fn ten_exporters_are_two_pages_of_five() {
    let site = Site::open().await;
    site.add(|world| {
        for n in 0..10 {
            sample::exporter(world, &format!("rig-{n}"), &[("odd", &(n % 2).to_string())]);
        }
    })
    .await;
    let mut alice = site.client("alice").await;
    let (first, next) = names(&mut alice, page(5, "", "")).await;
    assert_eq!((first.len(), next.is_empty()), (5, false));
    // What is gone and what is new in front of the page moves nothing.
    let gone = vec![Change::Exporter("rig-4".into(), None)];
    site.engine.change(|_, _| Ok(((), gone))).await.unwrap();
    site.add(|world| sample::exporter(world, "a", &[])).await;
    let (second, end) = names(&mut alice, page(5, &next, "")).await;
    assert_eq!(end, "");
    let expected: Vec<_> = (5..10)
        .map(|n| format!("namespaces/lab/exporters/rig-{n}"))
        .collect();
    assert_eq!(second, expected);
    let (odd, end) = names(&mut alice, page(5, "", "odd=1")).await;
    assert_eq!((odd.len(), end.as_str()), (5, ""));

    for (size, token) in [(5, "5"), (5, "made-up"), (-1, "")] {
        let answer = alice.list_exporters(page(size, token, "")).await;
        assert_eq!(refused(answer).0, Code::InvalidArgument, "{token}");
    }
    let answer = alice.list_exporters(page(5, "", "board in rpi4")).await;
    let (code, text) = refused(answer);
    assert_eq!(code, Code::Unknown);
    assert!(text.starts_with("unable to parse requirement: "), "{text}");
    for (parent, code) in [
        ("", Code::InvalidArgument),
        ("namespaces/other", Code::PermissionDenied),
    ] {
        let mut request = page(5, "", "");
        request.parent = parent.into();
        assert_eq!(refused(alice.list_exporters(request).await).0, code);
    }
}

#[tokio::test]
async fn a_thousand_exporters_are_listed_at_once() {
    let site = Site::open().await;
    site.add(|world| {
        for n in 0..1000 {
            sample::exporter(world, &format!("rig-{n:04}"), &[("board", "rpi4")]);
        }
    })
    .await;
    let mut alice = site.client("alice").await;
    let start = Instant::now();
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let (some, next) = names(&mut alice, page(100, &token, "board=rpi4")).await;
        all.extend(some);
        token = next;
        if token.is_empty() {
            break;
        }
    }
    all.dedup();
    assert_eq!(all.len(), 1000);
    let (all, end) = names(&mut alice, page(0, "", "")).await;
    assert_eq!((all.len(), end.as_str()), (1000, ""));
    // A hundredth of that is usual; the machine may be busy.
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
