//! safeState: the calls that leave a board safe at the end of a lease, each with a budget.
//!
//! Steps follow each other, the calls of one step run side by side. A call that fails or takes too
//! long is told in the log, and the others go on: half a safe state is better than none.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use rigd_driver::{Instance, Key};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    config::{SafeCall, SafeStep},
    tree::Tree,
};

/// Time for one step. A relay takes milliseconds, a network PDU a second or two.
pub(crate) const STEP: Duration = Duration::from_secs(10);

/// The calls of a configuration, resolved.
#[derive(Debug, Clone, Default)]
pub struct SafeState(Vec<Vec<Call>>);

#[derive(Debug, Clone)]
struct Call {
    instance: Arc<Instance>,
    method: String,
    args: Vec<Value>,
}

impl SafeState {
    /// Resolves the steps; the plan of the tree has checked every path.
    pub fn new(steps: &[SafeStep], tree: &Tree) -> Self {
        let resolve = |call: &SafeCall| {
            let (path, method) = call.call.value.rsplit_once('.')?;
            let instance = tree.by_path(path)?.clone();
            Some(Call {
                instance,
                method: method.into(),
                args: call.args.clone(),
            })
        };
        let steps = steps.iter().map(|step| match step {
            SafeStep::Call(call) => resolve(call).into_iter().collect(),
            SafeStep::Parallel(calls) => calls.iter().filter_map(resolve).collect(),
        });
        Self(steps.collect())
    }

    /// The longest it may take; none when there is nothing to do.
    pub fn budget(&self) -> Option<Duration> {
        let steps = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        (steps > 0).then(|| STEP.saturating_mul(steps))
    }

    /// Runs all steps under `key`.
    pub async fn run(&self, key: &Key) {
        for step in &self.0 {
            join_all(step.iter().map(|call| call.run(key))).await;
        }
    }
}

impl Call {
    async fn run(&self, key: &Key) {
        let call = self
            .instance
            .call(key, None, &self.method, self.args.clone());
        let error = match timeout(STEP, call).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done within {} s", STEP.as_secs()),
        };
        let (instance, method) = (self.instance.path(), &self.method);
        tracing::error!(instance, method, error, "A step of safeState failed.");
    }
}
