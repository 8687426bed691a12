//! Texts of objects are those of the released Python package, byte for byte, and are read back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

#[path = "dumps/cluster.rs"]
mod cluster;
#[path = "dumps/objects.rs"]
mod objects;
#[path = "dumps/package.rs"]
mod package;
#[path = "dumps/proper.rs"]
mod proper;
#[path = "../../tests/support/python.rs"]
#[allow(
    dead_code,
    reason = "every test binary compiles this anew and uses its own part of it"
)]
mod python;

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use package::Package;
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use rigd_controller::resources::{
    Client, Detail, Exporter, Lease, List, Node, Resource, Row,
    dumps::{FromDict, V1Alpha1Client, V1Alpha1Exporter, V1Alpha1Lease},
};

/// Objects of a kind that are compared.
const CASES: u32 = 1500;

/// Where the list of packages is.
pub(crate) fn python_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/python")
        .join(name)
}

/// Runs a check over generated values.
fn each<S: Strategy>(cases: u32, values: S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&values, check)
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// Both texts are the package's, and are read as what was written.
fn same_texts<T>(package: &RefCell<Package>, value: &T) -> Result<(), TestCaseError>
where
    T: Resource + PartialEq + std::fmt::Debug,
{
    let (json, yaml) = (value.dump_json(), value.dump_yaml());
    let answer = package
        .borrow_mut()
        .ask("build", &T::kind(), &value.to_node(), None);
    prop_assert_eq!(answer.error(), None);
    prop_assert_eq!(answer.text("yaml"), Some(yaml.as_str()));
    prop_assert_eq!(answer.text("json"), Some(json.as_str()));
    let read = T::from_json(&json);
    prop_assert_eq!(read.as_ref(), Ok(value));
    // Sorting labels is what YAML loses.
    let read = T::from_yaml(&yaml).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(sorted(read.to_node()), sorted(value.to_node()));
    Ok(())
}

fn sorted(node: Node) -> Node {
    match node {
        Node::Map(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (key, sorted(value)));
            let mut entries: Vec<_> = entries.collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            Node::Map(entries)
        }
        Node::List(items) => Node::List(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[test]
fn leases_are_written_as_the_package_does() {
    let Some(package) = Package::start().map(RefCell::new) else {
        return;
    };
    each(CASES, objects::lease(), |lease| {
        same_texts(&package, &lease)
    });
    let lists = proptest::collection::vec(objects::lease(), 0..3);
    each(CASES / 20, lists, |items| {
        same_texts(&package, &List::<V1Alpha1Lease> { items })
    });
}

#[test]
fn exporters_are_written_as_the_package_does() {
    let Some(package) = Package::start().map(RefCell::new) else {
        return;
    };
    each(CASES, objects::exporter(), |exporter| {
        same_texts(&package, &exporter)
    });
    let lists = proptest::collection::vec(objects::exporter(), 0..3);
    each(CASES / 20, lists, |items| {
        same_texts(&package, &List::<V1Alpha1Exporter> { items })
    });
}

#[test]
fn clients_are_written_as_the_package_does() {
    let Some(package) = Package::start().map(RefCell::new) else {
        return;
    };
    each(CASES, objects::client(), |client| {
        same_texts(&package, &client)
    });
    let lists = proptest::collection::vec(objects::client(), 0..3);
    each(CASES / 20, lists, |items| {
        same_texts(&package, &List::<V1Alpha1Client> { items })
    });
}

/// What the package reads is read in the same way, and what it refuses is refused.
fn same_reading<T: Resource + FromDict>(
    package: &RefCell<Package>,
    data: &Node,
) -> Result<(), TestCaseError> {
    let answer = package.borrow_mut().ask("read", &T::kind(), data, None);
    match (T::from_dict(data), answer.error()) {
        (Ok(value), None) => {
            let (json, yaml) = (value.dump_json(), value.dump_yaml());
            prop_assert_eq!(answer.text("json"), Some(json.as_str()));
            prop_assert_eq!(answer.text("yaml"), Some(yaml.as_str()));
        }
        (Err(_), Some(_)) => {}
        (own, package) => {
            let own = own.err().map(|error| error.to_string());
            prop_assert!(false, "here {own:?}, package {package:?}");
        }
    }
    Ok(())
}

#[test]
fn objects_of_the_cluster_are_read_as_the_package_does() {
    let Some(package) = Package::start().map(RefCell::new) else {
        return;
    };
    each(CASES, cluster::damaged(cluster::lease()), |data| {
        same_reading::<V1Alpha1Lease>(&package, &data)
    });
    each(CASES, cluster::damaged(cluster::exporter()), |data| {
        same_reading::<V1Alpha1Exporter>(&package, &data)
    });
    each(CASES, cluster::damaged(cluster::client()), |data| {
        same_reading::<V1Alpha1Client>(&package, &data)
    });
    each(
        CASES / 10,
        cluster::damaged(cluster::list(cluster::lease())),
        |data| same_reading::<List<V1Alpha1Lease>>(&package, &data),
    );
    each(
        CASES / 10,
        cluster::damaged(cluster::list(cluster::client())),
        |data| same_reading::<List<V1Alpha1Client>>(&package, &data),
    );
}

/// A table and the names are the package's.
fn same_table<T, U>(package: &RefCell<Package>, data: &Node) -> Result<(), TestCaseError>
where
    T: Resource + Row,
    U: Resource + FromDict + PartialEq + std::fmt::Debug + for<'a> From<&'a T>,
{
    /// Between the times of the generated objects, which are in the past.
    const NOW: u64 = 2_000_000_000;
    let object = T::from_node(data.clone());
    let object = object.map_err(|error| TestCaseError::fail(error.to_string()))?;
    // What is known by both is the same on both ways.
    let known = U::from_dict(data);
    prop_assert_eq!(known.as_ref(), Ok(&U::from(&object)));
    let answer = package
        .borrow_mut()
        .ask("read", &T::kind(), data, Some(NOW));
    prop_assert_eq!(answer.error(), None);
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    for (detail, columns, rows) in [
        (Detail::Brief, "columns", "rows"),
        (Detail::Wide, "wide_columns", "wide"),
    ] {
        prop_assert_eq!(answer.texts(columns), T::columns(detail));
        prop_assert_eq!(answer.rows(rows), object.rows(detail, now));
    }
    prop_assert_eq!(answer.texts("names"), [object.full_name()]);
    Ok(())
}

#[test]
fn tables_have_the_cells_of_the_package() {
    let Some(package) = Package::start().map(RefCell::new) else {
        return;
    };
    each(CASES / 4, proper::lease(), |data| {
        same_table::<Lease, V1Alpha1Lease>(&package, &data)
    });
    each(CASES / 4, proper::exporter(), |data| {
        same_table::<Exporter, V1Alpha1Exporter>(&package, &data)
    });
    each(CASES / 4, proper::client(), |data| {
        same_table::<Client, V1Alpha1Client>(&package, &data)
    });
}
