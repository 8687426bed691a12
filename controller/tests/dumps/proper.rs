//! Objects as a cluster sends them, with the values that its own rules allow.

use proptest::{collection::vec, option, prelude::*, sample::select};
use rigd_controller::resources::{Node, Timestamp};

use super::cluster::{map, object};

fn text(text: &str) -> Option<Node> {
    Some(Node::Text(text.to_owned()))
}

fn times() -> impl Strategy<Value = Option<Node>> {
    // Ages of all sizes, seen from the moment at which the tables are made.
    let ages = prop_oneof![
        0..100_u64,
        0..100_000_u64,
        0..40_000_000_u64,
        0..1_900_000_000_u64
    ];
    ages.prop_map(|age| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(2_000_000_000 - age);
        text(&Timestamp::from(time).to_string())
    })
}

fn metadata() -> impl Strategy<Value = Option<Node>> {
    (times(), 0..9_i64, "[a-z0-9-]{1,12}").prop_map(|(created, generation, name)| {
        Some(map([
            ("creationTimestamp", created),
            ("generation", Some(Node::Int(generation))),
            (
                "managedFields",
                Some(Node::List(vec![map([("manager", text("go"))])])),
            ),
            ("name", text(&name)),
            ("namespace", text("lab")),
            ("resourceVersion", text("918")),
            ("uid", text("0d9a1c52-0b39-4d0e-9a55-2f4f1c6be001")),
        ]))
    })
}

fn named() -> impl Strategy<Value = Node> {
    "[a-z]{1,9}".prop_map(|name| map([("name", text(&name))]))
}

/// In the order of their keys, as a cluster sends them.
fn labels() -> impl Strategy<Value = Node> {
    proptest::collection::btree_map("[a-z]{1,4}", "[a-z0-9]{0,5}", 0..4)
        .prop_map(|all| Node::Map(all.into_iter().map(|(k, v)| (k, Node::Text(v))).collect()))
}

pub(crate) fn lease() -> impl Strategy<Value = Node> {
    let durations = select(vec!["30m0s", "1h0m0s", "1.5s", "24h0m0s"]);
    let spec = (named(), option::of(durations), labels()).prop_map(|(client, duration, labels)| {
        map([
            ("clientRef", Some(client)),
            ("duration", duration.and_then(text)),
            ("selector", Some(map([("matchLabels", Some(labels))]))),
        ])
    });
    let reasons = vec!["Ready", "Expired", "Released", "NotAvailable"];
    let condition = (times(), select(reasons), select(vec!["True", "False"]));
    let condition = condition.prop_map(|(since, reason, status)| {
        map([
            ("lastTransitionTime", since),
            ("message", text("")),
            ("observedGeneration", Some(Node::Int(1))),
            ("reason", text(reason)),
            ("status", text(status)),
            ("type", text("Ready")),
        ])
    });
    let conditions = vec(condition, 0..3).prop_map(Node::List);
    let status = (
        option::of(times()),
        conditions,
        option::of(times()),
        any::<bool>(),
        option::of(named()),
    );
    let status = status.prop_map(|(begin, conditions, end, ended, exporter)| {
        map([
            ("beginTime", begin.flatten()),
            ("conditions", Some(conditions)),
            ("endTime", end.flatten()),
            ("ended", Some(Node::Bool(ended))),
            ("exporterRef", exporter),
        ])
    });
    (metadata(), spec, status)
        .prop_map(|(metadata, spec, status)| object("Lease", Some(spec), Some(status), metadata))
}

pub(crate) fn exporter() -> impl Strategy<Value = Node> {
    let device = (labels(), "[0-9a-f]{8}")
        .prop_map(|(labels, uuid)| map([("labels", Some(labels)), ("uuid", text(&uuid))]));
    let states = option::of(select(vec!["Available", "LeaseReady", "Offline"]));
    let status = (named(), option::of(vec(device, 0..3)), states).prop_map(
        |(credential, devices, state)| {
            map([
                ("credential", Some(credential)),
                ("devices", devices.map(Node::List)),
                ("endpoint", text("ctl:8082")),
                ("exporterStatus", state.and_then(text)),
            ])
        },
    );
    (metadata(), status)
        .prop_map(|(metadata, status)| object("Exporter", None, Some(status), metadata))
}

pub(crate) fn client() -> impl Strategy<Value = Node> {
    let status = named().prop_map(|credential| {
        map([
            ("credential", Some(credential)),
            ("endpoint", text("ctl:8082")),
        ])
    });
    (metadata(), option::of(status))
        .prop_map(|(metadata, status)| object("Client", None, status, metadata))
}
