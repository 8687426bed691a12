//! Objects as texts say them: clients, exporters, policies, and texts that are refused.

use super::*;
use crate::resources::{Object, Resource};

pub(super) const HEAD: &str = "apiVersion: jumpstarter.dev/v1alpha1";

/// An object; `rest` are lines at its top level.
pub(super) fn object(kind: &str, name: &str, rest: &str) -> String {
    format!("{HEAD}\nkind: {kind}\nmetadata: {{name: {name}}}\n{rest}\n")
}

pub(super) fn json(object: &Object) -> String {
    match object {
        Object::Client(one) => one.dump_json(),
        Object::Exporter(one) => one.dump_json(),
        Object::Lease(one) => one.dump_json(),
        Object::ExporterAccessPolicy(one) => one.dump_json(),
    }
}

/// All objects of the lab as one List in JSON.
pub(super) fn everything(lab: &Lab) -> String {
    let kinds = [What::Lease, What::Client, What::Exporter, What::Policy];
    let of = |what| get(&lab.engine, what, &[], "", "lab.example:1").unwrap();
    let all: Vec<_> = kinds.into_iter().flat_map(of).collect();
    let items: Vec<_> = all.iter().map(json).collect();
    let items = items.join(",");
    format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{items}]}}")
}

pub(super) async fn done(lab: &Lab, text: &str) -> Vec<Done> {
    let applied = apply(&lab.engine, text).await.unwrap();
    applied.into_iter().map(|applied| applied.done).collect()
}

pub(super) async fn no(lab: &Lab, text: &str) -> (Code, String) {
    let before = lab.world();
    let answer = refused(apply(&lab.engine, text).await);
    assert_eq!(lab.world(), before, "{answer:?}");
    answer
}

const POLICY: &str = "\
spec:
  exporterSelector: {matchLabels: {board: rpi4}, matchExpressions: [{key: broken, operator: DoesNotExist}]}
  policies:
  - priority: 7
    maximumDuration: 2h
    from: [{clientSelector: {matchLabels: {team: a}}}]
";

#[tokio::test]
async fn what_is_shown_can_be_applied_and_changes_nothing() {
    let lab = Lab::new().await;
    lab.ask("one", "alice", "board=rpi4,board!=x").await;
    lab.ask("waits", "bob", "board=rpi4").await;
    lab.ask("released", "bob", "board=rpi5").await;
    delete(&lab.engine, What::Lease, "released").await.unwrap();
    let policy = object("ExporterAccessPolicy", "all", POLICY);
    let policy = policy.replace("team: a", "other: b");
    apply(&lab.engine, &policy).await.unwrap();
    let before = lab.world();
    let text = everything(&lab);
    let applied = apply(&lab.engine, &text).await.unwrap();
    assert_eq!(applied.len(), 8, "{text}");
    assert_eq!(applied[0].what, What::Lease);
    assert!(
        applied.iter().all(|one| one.done == Done::Unchanged),
        "{applied:?}"
    );
    assert_eq!(lab.world(), before);
}

#[tokio::test]
async fn documents_of_all_kinds_are_applied_in_one_go() {
    let lab = Lab::new().await;
    let steps = *lab.engine.version().borrow();
    // The lease comes before its client.
    let lease =
        "spec: {clientRef: {name: carol}, duration: 1h, selector: {matchLabels: {board: rpi4}}}";
    let text = [
        object("Lease", "one", lease),
        object("Client", "carol", ""),
        object("Exporter", "rig-3", "spec: {enabled: false}"),
        object("Exporter", "rig-1", ""),
        object(
            "ExporterAccessPolicy",
            "all",
            &POLICY.replace("{team: a}", "{}"),
        ),
    ];
    let expected = [
        (What::Lease, "one", Done::Created),
        (What::Client, "carol", Done::Created),
        (What::Exporter, "rig-3", Done::Created),
        (What::Exporter, "rig-1", Done::Configured),
        (What::Policy, "all", Done::Created),
    ];
    let applied = apply(&lab.engine, &text.join("---\n")).await.unwrap();
    let applied: Vec<_> = applied
        .iter()
        .map(|one| (one.what, one.name.as_str(), one.done))
        .collect();
    assert_eq!(applied, expected);
    let world = lab.world();
    assert!(!world.exporters["rig-3"].enabled && world.exporters["rig-1"].enabled);
    assert!(world.exporters["rig-1"].labels.is_empty());
    assert_eq!(world.policies["all"].rules[0].priority, 7);
    assert_eq!(world.leases["one"].client, "carol");
    assert_eq!(*lab.engine.version().borrow(), steps + 1);
}

#[tokio::test]
async fn an_exporter_keeps_what_its_object_does_not_say() {
    let lab = Lab::new().await;
    hold(&lab.engine, "rig-1", Some("why".into()))
        .await
        .unwrap();
    let before = lab.world().exporters["rig-1"].clone();
    let text = format!(
        "{HEAD}\nkind: Exporter\nmetadata: {{name: rig-1, namespace: lab, labels: {{a: b}}, \
         uid: 0190a1c8-7b7e-7000-8000-000000000000}}\nspec: {{enabled: false}}\n\
         status: {{devices: [{{uuid: x}}]}}"
    );
    assert_eq!(done(&lab, &text).await, [Done::Configured]);
    assert_eq!(done(&lab, &text).await, [Done::Unchanged]);
    let after = lab.world().exporters["rig-1"].clone();
    let expected = crate::model::Exporter {
        labels: labels(&[("a", "b")]),
        enabled: false,
        ..before
    };
    assert_eq!(after, expected);
}

#[tokio::test]
async fn an_object_that_comes_back_does_not_bring_its_tokens_back() {
    let lab = Lab::new().await;
    let former = create(&lab.engine, Kind::Client, "carol", Labels::new());
    let former = former.await.unwrap();
    let shown = get(&lab.engine, What::Client, &["carol".into()], "", "x:1").unwrap();
    delete(&lab.engine, What::Client, "carol").await.unwrap();
    assert_eq!(done(&lab, &json(&shown[0])).await, [Done::Created]);
    assert!(!lab.admits(&former));
    let again = issue(&lab.engine, Kind::Client, "carol").await.unwrap();
    assert!(lab.admits(&again));
}

#[tokio::test]
async fn a_policy_is_replaced_and_stays_the_same_one() {
    let lab = Lab::new().await;
    let text = object("ExporterAccessPolicy", "all", POLICY);
    assert_eq!(done(&lab, &text).await, [Done::Created]);
    let uid = lab.world().policies["all"].uid;
    assert_eq!(done(&lab, &text).await, [Done::Unchanged]);
    let text = text.replace("priority: 7", "priority: 8");
    assert_eq!(done(&lab, &text).await, [Done::Configured]);
    let policy = lab.world().policies["all"].clone();
    assert_eq!((policy.uid, policy.rules[0].priority), (uid, 8));
}

#[tokio::test]
async fn one_wrong_document_changes_nothing_and_is_named() {
    let lab = Lab::new().await;
    lab.ask("one", "alice", "board=rpi4").await;
    let good = object("Client", "carol", "");
    let meta = |rest: &str| format!("{HEAD}\nkind: Client\nmetadata: {{name: dave, {rest}}}\n");
    for (second, text) in [
        (
            object("Client", "Dave", ""),
            "Client \"Dave\": metadata.name: invalid name \"Dave\": ",
        ),
        (
            meta("labels: {team: 'a b'}"),
            "Client \"dave\": metadata.labels.team: invalid label value 'a b': ",
        ),
        (
            meta("namespace: other"),
            "Client \"dave\": metadata.namespace: it is \"other\", and this lab has the one \
             namespace \"lab\": write that, or leave the field out",
        ),
        (
            meta("nmae: x"),
            "document 2.metadata: unknown field `nmae`: did you mean `name`?",
        ),
        (
            object("Client", "carol", ""),
            "Client \"carol\" is in the text twice",
        ),
        (
            object("Client", "dave", "spec: {username: 'dex:dave'}"),
            "Client \"dave\": spec.username: ",
        ),
        (
            object("Pod", "dave", ""),
            "document 2.kind: unknown kind `Pod`: valid are ",
        ),
        (
            object(
                "ExporterAccessPolicy",
                "all",
                "spec: {exporterSelector: {matchExpressions: [{key: a, operator: In}]}}",
            ),
            "ExporterAccessPolicy \"all\": spec.exporterSelector.matchExpressions[0].values: ",
        ),
        ("a: [".into(), "this is no YAML: line "),
    ] {
        let (code, said) = no(&lab, &format!("{good}---\n{second}")).await;
        assert_eq!(code, Code::InvalidArgument, "{said}");
        assert!(said.starts_with(text), "{said}");
    }
    for (text, told) in [
        ("", "there is no object in the text"),
        ("---\n---\n", "there is no object in the text"),
    ] {
        assert_eq!(no(&lab, text).await, (Code::InvalidArgument, told.into()));
    }
    let (code, said) = no(&lab, &" ".repeat(MAX_TEXT + 1)).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(said.contains("apply it in parts"), "{said}");
}
