//! The life of a lease as its client sees it.

use prost_types::Duration;

use super::*;

async fn bench() -> (Site, Client, Client) {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4"), ("zone", "a")]))
        .await;
    let (alice, bob) = (site.client("alice").await, site.client("bob").await);
    (site, alice, bob)
}

fn change(name: &str) -> message::Lease {
    message::Lease {
        name: lease_name(name),
        ..message::Lease::default()
    }
}

#[tokio::test]
async fn the_answer_is_the_wish_and_the_first_look_has_the_exporter() {
    let (_site, mut alice, mut bob) = bench().await;
    let mut request = wish("one", "zone!=b,board==rpi4");
    let wanted = request.lease.as_mut().unwrap();
    wanted.tags = sample::labels(&[("run", "7")]);
    wanted.context = sample::labels(&[("job", "x")]);
    let answer = alice.create_lease(request).await.unwrap().into_inner();
    let expected = message::Lease {
        name: lease_name("one"),
        selector: "board=rpi4,zone notin (b)".into(),
        duration: sample::seconds(3600),
        client: Some("namespaces/lab/clients/alice".into()),
        tags: sample::labels(&[("run", "7")]),
        context: sample::labels(&[("job", "x")]),
        ..message::Lease::default()
    };
    assert_eq!(answer, expected);

    // Any client may look.
    for client in [&mut alice, &mut bob] {
        let lease = get(client, "one").await;
        assert_eq!(last(&lease), ("Ready", "True", "Ready"));
        let ready = lease.conditions.last().unwrap();
        assert_eq!(ready.observed_generation, Some(1));
        let since = ready.last_transition_time.unwrap();
        let begin = lease.effective_begin_time.unwrap();
        assert_eq!(
            (since.seconds, since.nanos),
            (Some(begin.seconds), Some(begin.nanos))
        );
        assert_eq!(lease.exporter(), "namespaces/lab/exporters/rig");
        assert_eq!(lease.client(), "namespaces/lab/clients/alice");
        assert_eq!((lease.begin_time, lease.end_time), (None, None));
        assert!(lease.effective_duration.is_some() && lease.effective_end_time.is_none());
        assert_eq!(lease.exporter_name, None);
    }
}

#[tokio::test]
async fn who_waits_is_told_why_and_is_served_when_it_is_free() {
    let (_site, mut alice, mut bob) = bench().await;
    ask(&mut alice, "one", "board=rpi4").await;
    ask(&mut bob, "two", "board=rpi4").await;
    ask(&mut bob, "three", "board=rpi4").await;
    let third = get(&mut alice, "three").await;
    assert_eq!(last(&third), ("Pending", "True", "NotAvailable"));
    let text = third.conditions[0].message();
    assert!(text.starts_with("1 ahead. ") && text.len() < 60, "{text}");
    delete(&mut alice, "one").await.unwrap();
    let second = get(&mut bob, "two").await;
    let kinds: Vec<_> = second.conditions.iter().map(|one| one.r#type()).collect();
    assert_eq!(kinds, ["Pending", "Ready"]);
    assert_eq!(last(&second), ("Ready", "True", "Ready"));
}

#[tokio::test]
async fn wishes_against_the_rules_are_refused_as_clients_know_it() {
    let (site, mut alice, _) = bench().await;
    let with = |change: fn(&mut CreateLeaseRequest)| {
        let mut request = wish("", "board=rpi4");
        change(&mut request);
        request
    };
    let lease = |request: &mut CreateLeaseRequest| request.lease.take().unwrap();
    let none = with(|request| request.lease = None);
    let cases = [
        (
            none,
            Code::InvalidArgument,
            "one of selector or exporter_name",
        ),
        (
            wish("", ""),
            Code::InvalidArgument,
            "one of selector or exporter_name",
        ),
        (
            wish("", "a=1,a=2"),
            Code::Unknown,
            "unable to parse requirement",
        ),
        (
            wish("", "a in ("),
            Code::Unknown,
            "unable to parse requirement",
        ),
        (wish("A", "a=1"), Code::Unknown, "invalid name"),
        (
            with(|r| {
                drop(
                    r.lease
                        .as_mut()
                        .unwrap()
                        .tags
                        .insert("a/b".into(), "c".into()),
                )
            }),
            Code::InvalidArgument,
            "must not contain '/'",
        ),
        (
            with(|r| r.lease.as_mut().unwrap().duration = None),
            Code::Unknown,
            "duration is required",
        ),
        (
            with(|r| r.lease.as_mut().unwrap().duration = sample::seconds(0)),
            Code::Unknown,
            "duration must be positive",
        ),
        (
            with(|r| r.parent = "namespaces/other".into()),
            Code::PermissionDenied,
            "namespace mismatch",
        ),
        (
            with(|r| r.parent = "lab".into()),
            Code::InvalidArgument,
            "namespaces/NAMESPACE",
        ),
    ];
    for (request, code, text) in cases {
        let (was, told) = refused(alice.create_lease(request).await);
        assert!(was == code && told.contains(text), "{was:?}: {told}");
    }
    assert_eq!(site.engine.read(|world| world.leases.len()), 0);

    ask(&mut alice, "one", "board=rpi4").await;
    let (code, text) = refused(alice.create_lease(wish("one", "board=rpi4")).await);
    assert_eq!(code, Code::Unknown);
    assert!(text.ends_with("already exists"), "{text}");
    let mut pinned = wish("", "");
    let mut body = lease(&mut pinned);
    body.exporter_name = Some("rig".into());
    pinned.lease = Some(body);
    let answer = alice.create_lease(pinned).await.unwrap().into_inner();
    assert_eq!(
        (answer.exporter_name(), answer.selector.as_str()),
        ("rig", "<none>")
    );
    let id = answer.name.strip_prefix("namespaces/lab/leases/").unwrap();
    assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 7);
}

#[tokio::test]
async fn a_lease_nobody_can_fulfil_has_ended_without_a_begin() {
    let (_site, mut alice, _) = bench().await;
    ask(&mut alice, "one", "board=none").await;
    let lease = get(&mut alice, "one").await;
    assert_eq!(last(&lease), ("Unsatisfiable", "True", "NoAccess"));
    assert_eq!(lease.effective_begin_time, None);
    assert_eq!(
        (lease.effective_end_time, lease.effective_duration),
        (None, None)
    );
    let name = lease_name("none");
    let missing = alice.get_lease(GetLeaseRequest { name }).await;
    let text = "Lease.jumpstarter.dev \"none\" not found".to_owned();
    assert_eq!(refused(missing), (Code::Unknown, text));
}

#[tokio::test]
async fn a_lease_is_lengthened_and_shortened_by_its_owner() {
    let (_site, mut alice, mut bob) = bench().await;
    ask(&mut alice, "one", "board=rpi4").await;
    let mut wanted = change("one");
    wanted.duration = sample::seconds(7200);
    let (code, text) = refused(update(&mut bob, wanted.clone()).await);
    assert_eq!(
        (code, text.as_str()),
        (Code::Unknown, "UpdateLease permission denied")
    );
    let lease = update(&mut alice, wanted).await.unwrap();
    assert_eq!(lease.duration, sample::seconds(7200));
    assert_eq!(get(&mut bob, "one").await.duration, sample::seconds(7200));

    // As much time as has passed already: over at once.
    let mut wanted = change("one");
    wanted.duration = Some(Duration {
        seconds: 0,
        nanos: 1,
    });
    let lease = update(&mut alice, wanted).await.unwrap();
    assert_eq!(last(&lease), ("Ready", "False", "Expired"));
    assert!(lease.effective_end_time.is_some());
    let mut wanted = change("one");
    wanted.duration = sample::seconds(7200);
    assert_eq!(
        refused(update(&mut alice, wanted).await).0,
        Code::FailedPrecondition
    );
    // Its time was over, but nobody released it.
    delete(&mut alice, "one").await.unwrap();
}

#[tokio::test]
async fn a_lease_goes_to_another_client() {
    let (_site, mut alice, mut bob) = bench().await;
    ask(&mut alice, "one", "board=rpi4").await;
    ask(&mut alice, "two", "board=rpi4").await;
    let to = |name: &str, client: &str| message::Lease {
        client: Some(client.to_owned()),
        ..change(name)
    };
    for (name, client, code, text) in [
        ("one", "bob", Code::InvalidArgument, "clients/NAME"),
        (
            "one",
            "namespaces/other/clients/bob",
            Code::Unknown,
            "cannot transfer lease to client in different namespace",
        ),
        (
            "one",
            "namespaces/lab/clients/eve",
            Code::Unknown,
            "target client not found",
        ),
        (
            "two",
            "namespaces/lab/clients/bob",
            Code::Unknown,
            "cannot transfer lease: lease has not",
        ),
    ] {
        let (was, told) = refused(update(&mut alice, to(name, client)).await);
        assert!(was == code && told.contains(text), "{was:?}: {told}");
    }
    let lease = update(&mut alice, to("one", "namespaces/lab/clients/bob")).await;
    assert_eq!(lease.unwrap().client(), "namespaces/lab/clients/bob");
    let (code, text) = refused(delete(&mut alice, "one").await);
    assert_eq!(
        (code, text.as_str()),
        (Code::Unknown, "DeleteLease permission denied")
    );
    delete(&mut bob, "one").await.unwrap();
    let back = update(&mut bob, to("one", "namespaces/lab/clients/alice")).await;
    let text = "cannot transfer lease: lease has already ended".to_owned();
    assert_eq!(refused(back), (Code::Unknown, text));
}

#[tokio::test]
async fn the_second_delete_is_refused() {
    let (_site, mut alice, _) = bench().await;
    ask(&mut alice, "one", "board=rpi4").await;
    delete(&mut alice, "one").await.unwrap();
    let lease = get(&mut alice, "one").await;
    assert_eq!(last(&lease), ("Ready", "False", "Released"));
    let (code, text) = refused(delete(&mut alice, "one").await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(text.ends_with("already been released"), "{text}");
    assert_eq!(refused(delete(&mut alice, "none").await).0, Code::Unknown);
}

#[tokio::test]
async fn ten_thousand_wishes_of_one_client_leave_room_for_others() {
    let (site, mut alice, mut bob) = bench().await;
    let mut admitted = 0;
    for _ in 0..10_000 {
        match alice.create_lease(wish("", "board=rpi4")).await {
            Ok(_) => admitted += 1,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
        }
    }
    assert_eq!(admitted, 100);
    assert_eq!(site.engine.read(|world| world.leases.len()), 100);
    ask(&mut bob, "mine", "board=rpi4").await;
    let lease = get(&mut bob, "mine").await;
    assert_eq!(last(&lease), ("Pending", "True", "NotAvailable"));
}
