//! Leases as texts say them.

use std::time::Duration;

use super::{
    apply::{done, everything, json, no, object},
    *,
};
use crate::model::End;

fn lease(name: &str, spec: &str) -> String {
    object("Lease", name, &format!("spec: {{{spec}}}"))
}

const RPI4: &str = "selector: {matchLabels: {board: rpi4}}";

#[tokio::test]
async fn a_lease_is_asked_for_as_by_its_client() {
    let lab = Lab::new().await;
    let text = lease(
        "one",
        &format!(
            "clientRef: {{name: alice}}, duration: 90m, {RPI4}, tags: {{job: x}}, context: {{k: v}}"
        ),
    );
    assert_eq!(done(&lab, &text).await, [Done::Created]);
    let one = lab.lease("one");
    assert_eq!(one.client, "alice");
    assert_eq!(one.duration, Some(Duration::from_secs(5400)));
    assert_eq!(one.held.unwrap().exporter, "rig-1");
    assert_eq!(one.tags, labels(&[("job", "x")]));
    assert_eq!(done(&lab, &text).await, [Done::Unchanged]);

    let pinned = "clientRef: {name: bob}, duration: 1h, exporterRef: {name: rig-2}";
    assert_eq!(done(&lab, &lease("two", pinned)).await, [Done::Created]);
    assert_eq!(lab.lease("two").held.unwrap().exporter, "rig-2");
    // Several at once have places in the queue, in their order.
    let text = ["b", "a"].map(|name| {
        lease(
            name,
            &format!("clientRef: {{name: bob}}, duration: 1h, {RPI4}"),
        )
    });
    done(&lab, &text.join("---\n")).await;
    assert!(lab.lease("b").number < lab.lease("a").number);
}

#[tokio::test]
async fn a_lease_that_makes_no_sense_is_refused() {
    let lab = Lab::new().await;
    let alice = "clientRef: {name: alice}";
    for (spec, code, text) in [
        (
            format!("clientRef: {{name: zoe}}, duration: 1h, {RPI4}"),
            Code::FailedPrecondition,
            "Lease \"one\": spec.clientRef.name: there is no client \"zoe\"",
        ),
        (
            format!("{alice}, {RPI4}"),
            Code::InvalidArgument,
            "Lease \"one\": spec: duration is required",
        ),
        (
            format!("{alice}, duration: 1h"),
            Code::InvalidArgument,
            "Lease \"one\": spec: one of selector or exporter_name is required",
        ),
        (
            format!("{alice}, duration: 1h, {RPI4}, tags: {{a/b: c}}"),
            Code::InvalidArgument,
            "Lease \"one\": spec: invalid lease tags: tag key \"a/b\" must not contain '/'",
        ),
        (
            format!("{alice}, duration: 1h, selector: {{matchLabels: {{board: 'a b'}}}}"),
            Code::InvalidArgument,
            "Lease \"one\": spec.selector: matchLabels.board: invalid label value 'a b': ",
        ),
        (
            format!("{alice}, duration: 1h, {RPI4}, release: true"),
            Code::FailedPrecondition,
            "Lease \"one\": it is over, and this lab has no lease of its name: ",
        ),
    ] {
        let text_before = format!(
            "{}---\n{}",
            object("Client", "carol", ""),
            lease("one", &spec)
        );
        let (is, said) = no(&lab, &text_before).await;
        assert_eq!(is, code, "{said}");
        assert!(said.starts_with(text), "{said}");
    }
}

#[tokio::test]
async fn a_lease_changes_its_length_and_its_holder() {
    let lab = Lab::new().await;
    let spec = |client: &str, rest: &str| {
        lease(
            "one",
            &format!("clientRef: {{name: {client}}}, {RPI4}, {rest}"),
        )
    };
    done(&lab, &spec("alice", "duration: 1h")).await;
    let longer = spec("alice", "duration: 2h");
    assert_eq!(done(&lab, &longer).await, [Done::Configured]);
    assert_eq!(done(&lab, &longer).await, [Done::Unchanged]);
    assert_eq!(lab.lease("one").duration, Some(Duration::from_secs(7200)));

    let epoch = lab.lease("one").held.unwrap().epoch;
    let others = spec("bob", "duration: 2h");
    assert_eq!(done(&lab, &others).await, [Done::Configured]);
    assert_eq!(lab.lease("one").client, "bob");
    assert_eq!(lab.lease("one").held.unwrap().epoch, epoch + 1);
    assert_eq!(lab.engine.holding("rig-1").borrow().client, "bob");

    let (code, said) = no(&lab, &spec("zoe", "duration: 2h")).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(said.contains("target client not found"), "{said}");
    let (code, said) = no(
        &lab,
        &spec("bob", "duration: 2h, beginTime: 2100-01-01T00:00:00Z"),
    )
    .await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(said.contains("cannot update BeginTime"), "{said}");
}

#[tokio::test]
async fn a_lease_with_begin_and_end_keeps_its_nanoseconds() {
    let lab = Lab::new().await;
    let begin = SystemTime::now() + Duration::new(3600, 123_456_789);
    let request = Request {
        id: "one".into(),
        times: leases::WantedTimes {
            duration: None,
            begin: Some(begin.into()),
            end: Some((begin + Duration::from_secs(600)).into()),
        },
        ..sample::request("board=rpi4")
    };
    let plan = lab.engine.change(|world, now| {
        let limits = Limits::default();
        let created = leases::create(world, &limits, "alice", &request, Uuid::now_v7(), now)?;
        Ok(((), vec![Change::Lease(created.name, Some(created.lease))]))
    });
    plan.await.unwrap();
    let before = lab.lease("one");
    let text = everything(&lab);
    assert!(
        done(&lab, &text)
            .await
            .iter()
            .all(|done| *done == Done::Unchanged)
    );
    assert_eq!(lab.lease("one"), before);

    // Handed over with all its times as they are shown, it begins when it would have.
    let shown = get(&lab.engine, What::Lease, &["one".into()], "", "x:1").unwrap();
    let (code, said) = no(&lab, &json(&shown[0]).replace("\"alice\"", "\"bob\"")).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(said.contains("lease has not started yet"), "{said}");
}

#[tokio::test]
async fn what_is_fixed_stays() {
    let lab = Lab::new().await;
    let alice = "clientRef: {name: alice}, duration: 1h";
    let good = format!("{alice}, {RPI4}");
    done(&lab, &lease("one", &good)).await;
    for (spec, field) in [
        (
            format!("{alice}, selector: {{matchLabels: {{board: x}}}}"),
            "selector",
        ),
        (
            format!("{good}, exporterRef: {{name: rig-2}}"),
            "exporterRef",
        ),
        (format!("{good}, allowDisabled: true"), "allowDisabled"),
        (format!("{good}, tags: {{a: b}}"), "tags"),
        (format!("{good}, context: {{a: b}}"), "context"),
    ] {
        let (code, said) = no(&lab, &lease("one", &spec)).await;
        assert_eq!(code, Code::FailedPrecondition);
        let start = format!("Lease \"one\": spec.{field}: it is fixed since the lease was created");
        assert!(said.starts_with(&start), "{said}");
    }
}

#[tokio::test]
async fn a_lease_is_released_and_does_not_come_back() {
    let lab = Lab::new().await;
    let good = format!("clientRef: {{name: alice}}, duration: 1h, {RPI4}");
    let release = lease("one", &format!("{good}, release: true"));
    done(&lab, &lease("one", &good)).await;
    assert_eq!(done(&lab, &release).await, [Done::Configured]);
    assert_eq!(lab.lease("one").over.unwrap().how, End::Released);
    assert_eq!(lab.engine.holding("rig-1").borrow().lease, "");
    assert_eq!(done(&lab, &release).await, [Done::Unchanged]);
    let (code, said) = no(&lab, &lease("one", &good)).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(said.contains("does not come back"), "{said}");

    // Nor from what was shown of it, where it was forgotten.
    let shown = get(&lab.engine, What::Lease, &["one".into()], "", "x:1").unwrap();
    let forget = vec![Change::Lease("one".into(), None)];
    lab.engine.change(|_, _| Ok(((), forget))).await.unwrap();
    let (code, _) = no(&lab, &json(&shown[0])).await;
    assert_eq!(code, Code::FailedPrecondition);
}
