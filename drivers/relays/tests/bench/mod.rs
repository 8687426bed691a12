//! An open driver, as a session uses it, and boards that the test plays.

#![allow(dead_code, reason = "every test binary uses its own part of it")]

use std::{io, sync::Arc, time::Duration};

use rigd_driver::{
    Blueprint, Driver, DriverError, Health, Instance, KeyKind, KeyOwner, Value, contract,
};
use rigd_usb::{Operation, simulated::Answers};
use tokio::time::{sleep, timeout};

/// Longer than any limit here, shorter than a person's patience.
const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Open {
    pub(crate) instance: Arc<Instance>,
    owner: KeyOwner,
    _dir: tempfile::TempDir,
}

impl Open {
    pub(crate) async fn new<D: Driver>(config: Value) -> Self {
        let blueprint = Blueprint::new::<D>(serde_json::from_value(config).unwrap());
        blueprint.check().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let instance = contract::instance(blueprint, dir.path(), None);
        instance.start().await;
        Self {
            instance,
            owner: KeyOwner::issue(KeyKind::Client),
            _dir: dir,
        }
    }

    pub(crate) async fn call(&self, method: &str) -> Result<Value, DriverError> {
        let key = self.owner.key();
        let call = self.instance.call(&key, None, method, vec![]);
        timeout(SOON, call).await.expect("an answer")
    }

    /// The text of a failure.
    pub(crate) async fn error(&self, method: &str) -> DriverError {
        self.call(method).await.expect_err("must fail")
    }

    pub(crate) async fn until(&self, wanted: impl Fn(&Health) -> bool) -> Health {
        let seen = async {
            while !wanted(&self.instance.health()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let health = timeout(SOON, seen).await;
        assert!(health.is_ok(), "{:?}", self.instance.health());
        self.instance.health()
    }
}

pub(crate) fn answers(
    answer: impl Fn(&Operation) -> io::Result<Vec<u8>> + Send + Sync + 'static,
) -> Answers {
    Arc::new(answer)
}

/// Why a config is refused.
pub(crate) fn refused<D: Driver>(config: Value) -> String {
    match serde_json::from_value(config) {
        Err(error) => error.to_string(),
        Ok(config) => match Blueprint::new::<D>(config).check() {
            Ok(()) => panic!("it is taken"),
            Err(error) => format!("{}: {error}", error.key),
        },
    }
}
