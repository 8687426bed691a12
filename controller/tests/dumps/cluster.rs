//! Objects as a cluster sends them, and such with a key too few or a `null` too many.

use proptest::{collection::vec, option, prelude::*, sample::Index};
use rigd_controller::resources::{Node, Pairs};

use super::objects::{pairs, text, tree};

pub(crate) fn map<const N: usize>(fields: [(&str, Option<Node>); N]) -> Node {
    let there = fields.into_iter();
    let there = there.filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Node::Map(there.collect())
}

fn labels(pairs: Pairs) -> Node {
    let entries = pairs.0.into_iter();
    Node::Map(entries.map(|(k, v)| (k, Node::Text(v))).collect())
}

fn word() -> impl Strategy<Value = Option<Node>> {
    text().prop_map(|text| Some(Node::Text(text)))
}

fn perhaps() -> impl Strategy<Value = Option<Node>> {
    option::of(text().prop_map(Node::Text))
}

fn number() -> impl Strategy<Value = Option<Node>> {
    any::<i64>().prop_map(|number| Some(Node::Int(number)))
}

fn named() -> impl Strategy<Value = Node> {
    word().prop_map(|name| map([("name", name)]))
}

fn metadata() -> impl Strategy<Value = Option<Node>> {
    let fields = vec(tree(), 0..2).prop_map(Node::List);
    (word(), number(), fields, word(), perhaps(), word()).prop_map(
        |(created, generation, fields, name, labels, uid)| {
            Some(map([
                ("creationTimestamp", created),
                ("generation", generation),
                ("labels", labels),
                ("managedFields", Some(fields)),
                ("name", name.clone()),
                ("namespace", name),
                ("resourceVersion", uid.clone()),
                ("uid", uid),
            ]))
        },
    )
}

pub(crate) fn object(
    kind: &str,
    spec: Option<Node>,
    status: Option<Node>,
    metadata: Option<Node>,
) -> Node {
    map([
        (
            "apiVersion",
            Some(Node::Text("jumpstarter.dev/v1alpha1".into())),
        ),
        ("kind", Some(Node::Text(kind.into()))),
        ("metadata", metadata),
        ("spec", spec),
        ("status", status),
    ])
}

pub(crate) fn lease() -> impl Strategy<Value = Node> {
    let selector = option::of(pairs()).prop_map(|p| map([("matchLabels", p.map(labels))]));
    let spec = (named(), perhaps(), option::of(selector), perhaps()).prop_map(
        |(client, duration, selector, more)| {
            map([
                ("clientRef", Some(client)),
                ("duration", duration),
                ("selector", selector),
                ("release", more),
            ])
        },
    );
    let condition = (word(), number(), word()).prop_map(|(text, generation, reason)| {
        map([
            ("lastTransitionTime", text.clone()),
            ("message", text.clone()),
            ("observedGeneration", generation),
            ("reason", reason.clone()),
            ("status", reason),
            ("type", text),
        ])
    });
    let status = (
        perhaps(),
        vec(condition, 0..3),
        perhaps(),
        any::<bool>(),
        option::of(named()),
    );
    let status = status.prop_map(|(begin, conditions, end, ended, exporter)| {
        map([
            ("beginTime", begin),
            ("conditions", Some(Node::List(conditions))),
            ("endTime", end),
            ("ended", Some(Node::Bool(ended))),
            ("exporterRef", exporter),
            ("priority", Some(Node::Int(0))),
        ])
    });
    (metadata(), spec, status)
        .prop_map(|(metadata, spec, status)| object("Lease", Some(spec), Some(status), metadata))
}

pub(crate) fn exporter() -> impl Strategy<Value = Node> {
    let device = (pairs(), word(), perhaps()).prop_map(|(pairs, uuid, parent)| {
        map([
            ("labels", Some(labels(pairs))),
            ("parent_uuid", parent),
            ("uuid", uuid),
        ])
    });
    let devices = option::of(vec(device, 0..3).prop_map(Node::List));
    let status = (named(), devices, word(), perhaps(), perhaps()).prop_map(
        |(credential, devices, endpoint, state, message)| {
            map([
                ("credential", Some(credential)),
                ("devices", devices),
                ("endpoint", endpoint),
                ("exporterStatus", state),
                ("statusMessage", message),
            ])
        },
    );
    (metadata(), status)
        .prop_map(|(metadata, status)| object("Exporter", None, Some(status), metadata))
}

pub(crate) fn client() -> impl Strategy<Value = Node> {
    let status = (option::of(named()), perhaps()).prop_map(|(credential, endpoint)| {
        map([("credential", credential), ("endpoint", endpoint)])
    });
    (metadata(), option::of(status))
        .prop_map(|(metadata, status)| object("Client", None, status, metadata))
}

pub(crate) fn list(item: impl Strategy<Value = Node>) -> impl Strategy<Value = Node> {
    vec(item, 0..3).prop_map(|items| map([("items", Some(Node::List(items)))]))
}

/// Half of them as they are; the others without a value, or with nothing or something else in
/// its place.
pub(crate) fn damaged(whole: impl Strategy<Value = Node>) -> impl Strategy<Value = Node> {
    let damage = prop_oneof![
        Just(None),
        Just(Some(Node::Null)),
        Just(Some(Node::Map(Vec::new()))),
    ];
    (whole, option::of((any::<Index>(), damage))).prop_map(|(mut object, damage)| {
        if let Some((at, damage)) = damage {
            let mut at = at.index(places(&object).max(1));
            hurt(&mut object, &mut at, damage.as_ref());
        }
        object
    })
}

/// Where the package takes a map without a look: the values below metadata, and an empty map for
/// an empty list.
fn opaque(key: &str, damage: Option<&Node>) -> bool {
    let untyped = [
        "conditions",
        "devices",
        "items",
        "creationTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "uid",
        "lastTransitionTime",
        "message",
        "observedGeneration",
        "reason",
        "status",
        "type",
    ];
    matches!(damage, Some(Node::Map(_))) && untyped.contains(&key)
}

/// Values of maps, at any depth but not in managed fields.
fn places(node: &Node) -> usize {
    match node {
        Node::Map(entries) => entries
            .iter()
            .map(|(key, value)| {
                1 + if key == "managedFields" {
                    0
                } else {
                    places(value)
                }
            })
            .sum(),
        Node::List(items) => items.iter().map(places).sum(),
        _ => 0,
    }
}

fn hurt(node: &mut Node, at: &mut usize, damage: Option<&Node>) -> bool {
    match node {
        Node::List(items) => items.iter_mut().any(|item| hurt(item, at, damage)),
        Node::Map(entries) => {
            for index in 0..entries.len() {
                let (key, value) = &mut entries[index];
                if *at == 0 {
                    match damage {
                        None => drop(entries.remove(index)),
                        Some(_) if opaque(key, damage) => {}
                        Some(other) => *value = other.clone(),
                    }
                    return true;
                }
                *at -= 1;
                if key != "managedFields" && hurt(value, at, damage) {
                    return true;
                }
            }
            false
        }
        _ => false,
    }
}
