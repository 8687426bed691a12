//! The contract suite that every driver passes.
//!
//! A driver's crate turns it on in its dev-dependencies and calls it from a test with a config
//! that opens (against a pty, a loopback server, a file):
//!
//! ```toml
//! [dev-dependencies]
//! rigd-driver = { workspace = true, features = ["contract"] }
//! ```
//! ```ignore
//! #[tokio::test]
//! async fn keeps_the_contract() {
//!     rigd_driver::contract::check::<MockPower>(MockPowerConfig {}).await;
//! }
//! ```
//!
//! It panics with the sentence of the contract that does not hold:
//! - names: `TYPE` and `CLIENT` are well formed;
//! - config: unknown keys are refused and every key is documented, at any depth;
//! - methods: each one listed answers to its name, an unknown name and a wrong kind get the texts
//!   that clients match on, surplus arguments are refused before anything acts;
//! - keys: under a revoked key nothing starts, and what is open ends;
//! - leases: an end may come twice, and the next lease works;
//! - close: all tasks end and nothing keeps the driver.
//!
//! Calls are made with too many arguments only, so nothing is switched; streaming calls and byte
//! streams are opened and left. Children that the driver brings along are checked with it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    Blueprint, ByteStream, Driver, DriverError, Health, Instance, InstanceConfig, KeyKind,
    KeyOwner, MethodKind,
};

mod schema;
#[cfg(test)]
mod tests;

pub use schema::check_schema;

/// How long anything that must end or answer may take. Well under the 10 s that a lease step has.
const LIMIT: Duration = Duration::from_secs(5);
/// More arguments than any method can take: a handler has five at most.
const TOO_MANY: usize = 6;

/// Checks a driver that stands alone. The daemon's state directory is a temporary one.
pub async fn check<D: Driver>(config: D::Config) {
    let checked = D::check(&config);
    assert!(checked.is_ok(), "its own check refuses it: {checked:?}");
    // A directory that cannot be made shows up in the drivers that use one.
    let state_dir = std::env::temp_dir().join(format!("rigd-contract-{}", Uuid::new_v4()));
    let _remove = RemoveDir(&state_dir);
    let instance = instance(Blueprint::new::<D>(config), &state_dir, None);
    check_instance::<D>(instance).await;
}

/// Checks a driver in an instance that the test has prepared (a parent, children, a state
/// directory) and not started. The instance is closed afterwards; its parent is not.
pub async fn check_instance<D: Driver>(instance: Arc<Instance>) {
    check_names(D::TYPE, D::CLIENT);
    check_schema::<D::Config>();
    start(&instance).await;
    let open = instance.downcast::<D>();
    assert!(open.is_some(), "{instance:?} holds no {}", D::TYPE);
    let weak = open.map_or(Weak::new(), |driver| Arc::downgrade(&driver));
    check_methods(&instance).await;
    check_leases(&instance).await;
    for child in children(&instance).await {
        check_names(child.blueprint().type_name(), child.blueprint().client());
        check_methods(&child).await;
        check_leases(&child).await;
        close(&child).await;
    }
    close(&instance).await;
    assert!(
        weak.upgrade().is_none(),
        "something keeps {} after close: a task outside of its TaskScope, or a circle",
        D::TYPE
    );
}

/// An instance of `blueprint` that is not started, named like its type.
pub fn instance(
    blueprint: Blueprint,
    state_dir: &Path,
    parent: Option<Arc<Instance>>,
) -> Arc<Instance> {
    Instance::new(InstanceConfig {
        exporter: "contract".into(),
        path: blueprint.type_name().replace('.', "-"),
        uuid: Uuid::new_v4(),
        state_dir: state_dir.into(),
        blueprint,
        parent,
        children: BTreeMap::new(),
        descriptor: None,
    })
}

struct RemoveDir<'a>(&'a Path);

impl Drop for RemoveDir<'_> {
    fn drop(&mut self) {
        // Most drivers never made it.
        std::fs::remove_dir_all(self.0).ok();
    }
}

async fn start(instance: &Arc<Instance>) {
    instance.start().await;
    let health = instance.health();
    assert_eq!(health, Health::Ready, "{instance:?} did not open");
}

async fn children(parent: &Arc<Instance>) -> Vec<Arc<Instance>> {
    let mut instances = Vec::new();
    for child in parent.blueprint().children() {
        let checked = child.blueprint.check();
        assert!(checked.is_ok(), "child {}: {checked:?}", child.name);
        let state_dir = std::env::temp_dir().join(format!("rigd-contract-{}", Uuid::new_v4()));
        let child = instance(child.blueprint, &state_dir, Some(parent.clone()));
        start(&child).await;
        instances.push(child);
    }
    instances
}

fn check_names(type_name: &str, client: &str) {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    assert!(
        !type_name.is_empty() && type_name.chars().all(allowed),
        "TYPE {type_name:?} must be made of a-z, 0-9, '.' and '-'"
    );
    let word = |part: &str| {
        let mut chars = part.chars();
        chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(
        client.contains('.') && client.split('.').all(word),
        "CLIENT {client:?} must be a dotted class path, e.g. jumpstarter_driver_x.client.XClient"
    );
}

/// Names, kinds and counts of arguments.
async fn check_methods(instance: &Instance) {
    let owner = KeyOwner::issue(KeyKind::Client);
    let missing = "no_such_method";
    for kind in [
        MethodKind::Call,
        MethodKind::StreamingCall,
        MethodKind::Stream,
    ] {
        let text = error(reach(instance, &owner, missing, kind, 0).await, missing);
        assert_eq!(
            text.to_string(),
            "method no_such_method not found on driver"
        );
        for (method, own) in instance.blueprint().methods() {
            if kind != own {
                let text = error(reach(instance, &owner, method, kind, 0).await, method);
                let wanted = format!("method {method} missing marker {}", kind.marker());
                assert_eq!(text.to_string(), wanted, "{method} reached as {kind:?}");
            } else if kind != MethodKind::Stream {
                let error = error(
                    reach(instance, &owner, method, kind, TOO_MANY).await,
                    method,
                );
                assert!(
                    matches!(error, DriverError::InvalidArgument(_)),
                    "{method} with {TOO_MANY} arguments must be an invalid argument: {error:?}"
                );
            }
        }
    }
}

/// Two leases, one after the other.
async fn check_leases(instance: &Instance) {
    for lease in ["first", "second"] {
        let owner = KeyOwner::issue(KeyKind::Client);
        bounded("lease_start", instance.lease_start()).await;
        let mut open = Vec::new();
        for (method, kind) in instance.blueprint().methods() {
            if kind == MethodKind::Stream {
                let opening = bounded(method, instance.stream(&owner.key(), method)).await;
                assert!(
                    opening.is_ok(),
                    "stream {method} does not open in the {lease} lease: {:?}",
                    opening.err()
                );
                open.extend(opening.ok().map(|stream| (method, stream)));
            }
        }
        let reading = start_reading(instance, &owner);
        owner.revoke(format!("the {lease} lease ended"));
        for (method, stream) in open {
            check_ended(method, stream).await;
        }
        bounded("streaming calls under a revoked key", reading).await;
        check_fenced(instance, &owner).await;
        bounded("lease_end", instance.lease_end()).await;
        bounded("lease_end again", instance.lease_end()).await;
        check_fenced(instance, &owner).await;
    }
}

/// Starts every streaming call that works without arguments; the future reads them to their ends.
fn start_reading(instance: &Instance, owner: &KeyOwner) -> impl Future<Output = ()> + use<> {
    let mut calls = Vec::new();
    for (method, kind) in instance.blueprint().methods() {
        if kind == MethodKind::StreamingCall
            && let Ok(items) = instance.streaming_call(&owner.key(), None, method, Vec::new())
        {
            calls.push(Box::pin(items));
        }
    }
    async move {
        for items in calls {
            items.for_each(|_| std::future::ready(())).await;
        }
    }
}

/// A stream whose key is revoked: both directions are over.
async fn check_ended(method: &str, mut stream: ByteStream) {
    let what = format!("the reader of {method} under a revoked key");
    let rest = async { while let Some(Ok(_)) = stream.reader.next().await {} };
    bounded(&what, rest).await;
    let what = format!("the writer of {method} under a revoked key");
    let sent = bounded(&what, stream.writer.send(bytes::Bytes::from_static(b"x"))).await;
    assert!(sent.is_err(), "{what} takes bytes");
}

/// Nothing starts under a revoked key.
async fn check_fenced(instance: &Instance, owner: &KeyOwner) {
    for (method, kind) in instance.blueprint().methods() {
        let error = error(reach(instance, owner, method, kind, 0).await, method);
        assert!(
            matches!(error, DriverError::Fenced(_)),
            "{method} under a revoked key must be fenced: {error:?}"
        );
    }
}

async fn close(instance: &Instance) {
    bounded("close", instance.close()).await;
    for (method, kind) in instance.blueprint().methods() {
        let owner = KeyOwner::issue(KeyKind::Client);
        let error = error(reach(instance, &owner, method, kind, 0).await, method);
        assert!(
            matches!(error, DriverError::Unavailable(_)),
            "{method} after close must be unavailable: {error:?}"
        );
    }
}

/// Reaches `method` as `kind` with that many nulls as arguments.
async fn reach(
    instance: &Instance,
    owner: &KeyOwner,
    method: &str,
    kind: MethodKind,
    arguments: usize,
) -> Result<(), DriverError> {
    let key = owner.key();
    let args = vec![json!(null); arguments];
    match kind {
        MethodKind::Call => {
            let answer: Result<Value, _> =
                bounded(method, instance.call(&key, None, method, args)).await;
            answer.map(|_| ())
        }
        MethodKind::StreamingCall => {
            let items = instance.streaming_call(&key, None, method, args)?;
            let first = bounded(method, Box::pin(items).next()).await;
            first.map_or(Ok(()), |item| item.map(|_| ()))
        }
        MethodKind::Stream => bounded(method, instance.stream(&key, method))
            .await
            .map(|_| ()),
    }
}

/// The error, or a failed check.
#[track_caller]
fn error(outcome: Result<(), DriverError>, method: &str) -> DriverError {
    assert!(outcome.is_err(), "{method} must fail here and did not");
    outcome.err().unwrap_or(DriverError::Unknown(String::new()))
}

async fn bounded<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = timeout(LIMIT, work).await;
    #[allow(clippy::panic, reason = "the suite runs in tests only")]
    done.unwrap_or_else(|_| panic!("{what}: not done within {} s", LIMIT.as_secs()))
}
