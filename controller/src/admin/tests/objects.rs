//! What is shown, deleted and held back.

use super::*;
use crate::{model::End, resources::Object};

fn name(object: &Object) -> &str {
    match object {
        Object::Client(one) => &one.metadata.name,
        Object::Exporter(one) => &one.metadata.name,
        Object::Lease(one) => &one.metadata.name,
        Object::ExporterAccessPolicy(one) => &one.metadata.name,
    }
}

fn names(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(name).collect()
}

fn found(lab: &Lab, what: What, named: &[&str], selector: &str) -> Result<Vec<Object>, Status> {
    let named: Vec<_> = named.iter().map(|name| (*name).to_owned()).collect();
    get(&lab.engine, what, &named, selector, "lab.example:1")
}

#[tokio::test]
async fn objects_are_found_by_name_and_selector() {
    let lab = Lab::new().await;
    lab.ask("one", "alice", "board=rpi4").await;
    lab.ask("two", "bob", "board=rpi5").await;
    delete(&lab.engine, What::Lease, "two").await.unwrap();
    for (what, named, selector, expected) in [
        (What::Exporter, &[][..], "", &["rig-1", "rig-2"][..]),
        (What::Exporter, &["rig-2", "rig-1"], "", &["rig-2", "rig-1"]),
        (What::Exporter, &[], "board in (rpi5,rpi6)", &["rig-2"]),
        (What::Exporter, &["rig-1"], "board=rpi5", &[]),
        (What::Client, &[], "team=b", &["bob"]),
        (What::Lease, &[], "board=rpi4", &["one"]),
        (What::Lease, &[], "!jumpstarter.dev/lease-ended", &["one"]),
        (What::Lease, &[], "job=nightly", &["one", "two"]),
        (
            What::Lease,
            &[],
            "metadata.jumpstarter.dev/job=nightly,board!=rpi4",
            &["two"],
        ),
        (What::Policy, &[], "", &[]),
    ] {
        let objects = found(&lab, what, named, selector).unwrap();
        assert_eq!(names(&objects), expected, "{what} {named:?} {selector}");
    }
}

#[tokio::test]
async fn an_exporter_says_who_has_it_and_where_the_lab_is() {
    let lab = Lab::new().await;
    lab.ask("one", "alice", "board=rpi4").await;
    let objects = found(&lab, What::Exporter, &["rig-1"], "").unwrap();
    let [Object::Exporter(rig)] = &objects[..] else {
        panic!("{objects:?}")
    };
    let status = rig.status.clone().unwrap();
    assert_eq!(status.lease_ref.unwrap().name, "one");
    assert_eq!(status.endpoint, "lab.example:1");
    assert_eq!(rig.metadata.namespace.as_deref(), Some("lab"));
}

#[tokio::test]
async fn a_lease_that_is_asked_for_by_name_is_told_its_place() {
    let lab = Lab::new().await;
    for name in ["one", "two", "three"] {
        lab.ask(name, "alice", "board=rpi4").await;
    }
    let objects = found(&lab, What::Lease, &["three"], "").unwrap();
    let [Object::Lease(lease)] = &objects[..] else {
        panic!("{objects:?}")
    };
    let told = &lease.status.as_ref().unwrap().conditions;
    let told = &told.last().unwrap().message;
    assert!(told.starts_with("1 ahead. "), "{told}");
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let lab = Lab::new().await;
    let missing = |what, name: &str| refused(found(&lab, what, &[name], "")).1;
    assert_eq!(
        missing(What::Exporter, "rig1"),
        "exporter lab/rig1 not found: did you mean rig-1?"
    );
    assert_eq!(
        missing(What::Lease, "x"),
        "lease lab/x not found: there is none"
    );
    let (code, said) = refused(found(&lab, What::Client, &["alice", "zoe"], ""));
    assert_eq!(code, Code::NotFound);
    assert_eq!(said, "client lab/zoe not found: there is alice, bob");
    for n in 0..10 {
        let name = format!("client-with-a-long-name-{n}");
        create(&lab.engine, Kind::Client, &name, Labels::new())
            .await
            .unwrap();
    }
    let said = missing(What::Client, &"z".repeat(1000));
    assert!(said.ends_with(" and 4 more") && said.len() < 400, "{said}");
}

#[tokio::test]
async fn a_selector_that_is_none_is_told() {
    let lab = Lab::new().await;
    let (code, said) = refused(found(&lab, What::Exporter, &[], "board in rpi4"));
    assert_eq!(code, Code::InvalidArgument);
    assert!(
        said.starts_with("selector: unable to parse requirement: "),
        "{said}"
    );
}

#[tokio::test]
async fn a_client_takes_its_leases_along() {
    let lab = Lab::new().await;
    lab.ask("one", "alice", "board=rpi4").await;
    lab.ask("waits", "alice", "board=rpi4").await;
    lab.ask("other", "bob", "board=rpi4").await;
    let mut holding = lab.engine.holding("rig-1");
    assert_eq!(holding.borrow_and_update().lease, "one");

    delete(&lab.engine, What::Client, "alice").await.unwrap();
    for name in ["one", "waits"] {
        let over = lab.lease(name).over.unwrap();
        assert_eq!(over.how, End::Released, "{name}");
    }
    // The exporter is told at once that somebody else has it.
    assert_eq!(holding.borrow_and_update().lease, "other");
    assert_eq!(lab.names(What::Client), ["bob"]);
}

#[tokio::test]
async fn an_exporter_ends_the_lease_that_it_serves() {
    let lab = Lab::new().await;
    lab.ask("one", "alice", "board=rpi4").await;
    lab.ask("two", "bob", "board=rpi5").await;
    let mut holding = lab.engine.holding("rig-1");
    delete(&lab.engine, What::Exporter, "rig-1").await.unwrap();
    assert_eq!(lab.lease("one").over.unwrap().how, End::Released);
    assert_eq!(lab.lease("two").over, None);
    // Its Status stream ends.
    holding.borrow_and_update();
    assert!(holding.changed().await.is_err());
}

#[tokio::test]
async fn a_lease_is_released_once_and_stays_to_be_looked_at() {
    let lab = Lab::new().await;
    lab.ask("one", "alice", "board=rpi4").await;
    delete(&lab.engine, What::Lease, "one").await.unwrap();
    assert_eq!(lab.lease("one").over.unwrap().how, End::Released);
    assert_eq!(lab.engine.holding("rig-1").borrow().lease, "");
    let again = refused(delete(&lab.engine, What::Lease, "one").await);
    let text = "lease lab/one has ended already".to_owned();
    assert_eq!(again, (Code::FailedPrecondition, text));
}

#[tokio::test]
async fn a_policy_goes() {
    let lab = Lab::new().await;
    let mut world = World::default();
    sample::policy(&mut world, "all", "", vec![sample::rule("", 1)]);
    let policy = world.policies.remove("all");
    let change = Change::Policy("all".into(), policy);
    lab.engine
        .change(|_, _| Ok(((), vec![change])))
        .await
        .unwrap();
    delete(&lab.engine, What::Policy, "all").await.unwrap();
    assert!(lab.names(What::Policy).is_empty());
    for what in [What::Client, What::Exporter, What::Lease, What::Policy] {
        let (code, said) = refused(delete(&lab.engine, what, "no-such-thing").await);
        assert_eq!(code, Code::NotFound);
        let start = format!("{what} lab/no-such-thing not found: there is ");
        assert!(said.starts_with(&start), "{said}");
    }
}

#[tokio::test]
async fn an_exporter_that_is_held_is_not_given_out() {
    let lab = Lab::new().await;
    lab.ask("before", "alice", "board=rpi5").await;
    for rig in ["rig-1", "rig-2"] {
        let reason = Some("  the relay smells ".to_owned());
        hold(&lab.engine, rig, reason).await.unwrap();
    }
    assert_eq!(lab.lease("before").over, None);
    lab.ask("one", "alice", "board=rpi4").await;
    assert_eq!(lab.lease("one").held, None);
    let told = lab.lease("one").conditions.pop().unwrap().message;
    assert_eq!(told, "Exporter rig-1 is on hold: the relay smells");

    hold(&lab.engine, "rig-1", None).await.unwrap();
    assert_eq!(lab.lease("one").held.unwrap().exporter, "rig-1");
    // Once more is no mistake.
    hold(&lab.engine, "rig-1", None).await.unwrap();
}

#[tokio::test]
async fn a_hold_needs_a_reason_of_a_line_and_an_exporter() {
    let lab = Lab::new().await;
    for reason in ["", "  ", "two\nlines", &"x".repeat(MAX_REASON + 1)] {
        let reason = Some(reason.to_owned());
        let (code, said) = refused(hold(&lab.engine, "rig-1", reason).await);
        assert_eq!(code, Code::InvalidArgument);
        assert!(said.contains("one line of 1 to 200 characters"), "{said}");
    }
    let (code, said) = refused(hold(&lab.engine, "rig-3", None).await);
    assert_eq!(code, Code::NotFound);
    assert_eq!(said, "exporter lab/rig-3 not found: did you mean rig-1?");
}

#[test]
fn kinds_have_the_words_of_kubectl() {
    for (word, what) in [
        ("exporter", What::Exporter),
        ("Exporters", What::Exporter),
        ("clients.jumpstarter.dev", What::Client),
        ("lease", What::Lease),
        ("policies", What::Policy),
        ("ExporterAccessPolicy", What::Policy),
    ] {
        assert_eq!(word.parse(), Ok(what), "{word}");
        assert_eq!(what.object().parse(), Ok(what));
        assert_eq!(what.to_string().parse(), Ok(what));
    }
    let error = "pods".parse::<What>().unwrap_err().to_string();
    assert_eq!(
        error,
        "unknown kind \"pods\": there are clients, exporters, leases and policies"
    );
}
