//! Reading what the cluster sends, as the package does: it takes what it knows and needs, and
//! leaves the rest.
//!
//! Keys that it needs must be there; some of them may be `null`.

use super::{
    super::{List, Node, Pairs, ReadError, de, object::API_VERSION},
    DumpCondition, Metadata, Reference, V1Alpha1Client, V1Alpha1ClientStatus, V1Alpha1Exporter,
    V1Alpha1ExporterDevice, V1Alpha1ExporterStatus, V1Alpha1Lease, V1Alpha1LeaseSelector,
    V1Alpha1LeaseSpec, V1Alpha1LeaseStatus,
};

type Read<T> = Result<T, ReadError>;

/// An object that the package reads from the cluster's.
pub trait FromDict: Sized {
    /// A list of them without `items` is an error, not an empty one.
    const ITEMS_NEEDED: bool = true;

    /// Reads an object of the cluster.
    ///
    /// # Errors
    /// A key that the package needs is missing, or a value is of another type.
    fn from_dict(data: &Node) -> Read<Self>;
}

/// The value under a key that must be there.
fn need<'a>(data: &'a Node, key: &str) -> Read<&'a Node> {
    if !matches!(data, Node::Map(_)) {
        return Err(ReadError::new(format!(
            "expected a map, found {}",
            data.what()
        )));
    }
    let found = data.get(key);
    found.ok_or_else(|| ReadError::new(format!("the field `{key}` is missing")))
}

/// What a key that must be there holds.
fn at<T>(data: &Node, key: &str, read: impl FnOnce(&Node) -> Read<T>) -> Read<T> {
    read(need(data, key)?).map_err(|error| error.under(key))
}

/// What a key holds, if it is there.
fn at_if<T>(data: &Node, key: &str, read: impl FnOnce(&Node) -> Read<T>) -> Read<Option<T>> {
    match data.get(key) {
        Some(_) => at(data, key, read).map(Some),
        None => Ok(None),
    }
}

/// A value of its own type; `null` only where the type has it.
fn value<T: serde::de::DeserializeOwned>(node: &Node) -> Read<T> {
    de::read(node.clone())
}

fn is(data: &Node, key: &str, wanted: &str) -> Read<()> {
    at(data, key, |node| match node {
        Node::Text(text) if text == wanted => Ok(()),
        Node::Text(text) => Err(ReadError::new(format!("this is `{text}`, not `{wanted}`"))),
        other => Err(ReadError::new(format!(
            "expected `{wanted}`, found {}",
            other.what()
        ))),
    })
}

fn header(data: &Node, kind: &str) -> Read<()> {
    is(data, "apiVersion", API_VERSION)?;
    is(data, "kind", kind)
}

fn metadata(data: &Node) -> Read<Metadata> {
    Ok(Metadata {
        creation_timestamp: at(data, "creationTimestamp", value)?,
        generation: at(data, "generation", value)?,
        name: at(data, "name", value)?,
        namespace: at(data, "namespace", value)?,
        resource_version: at(data, "resourceVersion", value)?,
        uid: at(data, "uid", value)?,
        ..Metadata::default()
    })
}

fn reference(data: &Node) -> Read<Reference> {
    Ok(Reference {
        name: at(data, "name", value)?,
        ..Reference::default()
    })
}

fn list<T>(data: &Node, read: impl Fn(&Node) -> Read<T>) -> Read<Vec<T>> {
    let Node::List(items) = data else {
        return Err(ReadError::new(format!(
            "expected a list, found {}",
            data.what()
        )));
    };
    let items = items.iter().enumerate();
    let items = items.map(|(index, item)| read(item).map_err(|error| error.at(index)));
    items.collect()
}

impl FromDict for V1Alpha1Lease {
    fn from_dict(data: &Node) -> Read<Self> {
        header(data, "Lease")?;
        Ok(Self {
            metadata: at(data, "metadata", |data| {
                Ok(Metadata {
                    managed_fields: at(data, "managedFields", value)?,
                    ..metadata(data)?
                })
            })?,
            spec: at(data, "spec", lease_spec)?,
            status: at(data, "status", lease_status)?,
        })
    }
}

fn lease_spec(data: &Node) -> Read<V1Alpha1LeaseSpec> {
    let labels = |selector: &Node| match selector {
        Node::Map(_) => at_if(selector, "matchLabels", value::<Pairs>),
        other => Err(ReadError::new(format!(
            "expected a map, found {}",
            other.what()
        ))),
    };
    Ok(V1Alpha1LeaseSpec {
        client: at(data, "clientRef", reference)?,
        duration: at_if(data, "duration", value)?.flatten(),
        selector: V1Alpha1LeaseSelector {
            match_labels: at_if(data, "selector", labels)?
                .flatten()
                .unwrap_or_default(),
        },
    })
}

fn lease_status(data: &Node) -> Read<V1Alpha1LeaseStatus> {
    Ok(V1Alpha1LeaseStatus {
        begin_time: at_if(data, "beginTime", value)?.flatten(),
        conditions: at(data, "conditions", |data| list(data, condition))?,
        end_time: at_if(data, "endTime", value)?.flatten(),
        ended: at(data, "ended", value)?,
        exporter: at_if(data, "exporterRef", reference)?,
    })
}

fn condition(data: &Node) -> Read<DumpCondition> {
    Ok(DumpCondition {
        last_transition_time: at(data, "lastTransitionTime", value)?,
        message: at(data, "message", value)?,
        observed_generation: at(data, "observedGeneration", value)?,
        reason: at(data, "reason", value)?,
        status: at(data, "status", value)?,
        kind: at(data, "type", value)?,
    })
}

impl FromDict for V1Alpha1Exporter {
    fn from_dict(data: &Node) -> Read<Self> {
        header(data, "Exporter")?;
        Ok(Self {
            metadata: at(data, "metadata", metadata)?,
            status: at(data, "status", |data| {
                Ok(V1Alpha1ExporterStatus {
                    credential: at(data, "credential", reference)?,
                    devices: at_if(data, "devices", |data| list(data, device))?.unwrap_or_default(),
                    endpoint: at(data, "endpoint", value)?,
                    exporter_status: at_if(data, "exporterStatus", value)?.flatten(),
                    status_message: at_if(data, "statusMessage", value)?.flatten(),
                })
            })?,
        })
    }
}

fn device(data: &Node) -> Read<V1Alpha1ExporterDevice> {
    Ok(V1Alpha1ExporterDevice {
        labels: at(data, "labels", value)?,
        uuid: at(data, "uuid", value)?,
    })
}

impl FromDict for V1Alpha1Client {
    const ITEMS_NEEDED: bool = false;

    fn from_dict(data: &Node) -> Read<Self> {
        header(data, "Client")?;
        Ok(Self {
            metadata: at(data, "metadata", metadata)?,
            status: at_if(data, "status", |data| {
                if !matches!(data, Node::Map(_)) {
                    return Err(ReadError::new(format!(
                        "expected a map, found {}",
                        data.what()
                    )));
                }
                Ok(V1Alpha1ClientStatus {
                    credential: at_if(data, "credential", reference)?,
                    endpoint: at_if(data, "endpoint", value)?.unwrap_or_default(),
                })
            })?,
        })
    }
}

impl<T: FromDict> FromDict for List<T> {
    /// The list's own kind, version and metadata are not looked at.
    fn from_dict(data: &Node) -> Read<Self> {
        if data.get("items").is_none() && !T::ITEMS_NEEDED {
            return Ok(Self { items: Vec::new() });
        }
        let items = at(data, "items", |data| list(data, T::from_dict))?;
        Ok(Self { items })
    }
}
