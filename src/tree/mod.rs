//! The instances of one exporter: planned from the configuration, built once, opened once.
//!
//! ```text
//!   ExporterConfig ──plan (no hardware)──> Plan ──build──> Tree ──start──> instances open
//! ```

mod build;
mod plan;
mod report;

use std::{collections::HashMap, sync::Arc};

use futures::{FutureExt, future::BoxFuture, future::join_all};
use rigd_driver::{Health, Instance};
use rigd_proto::v1::GetReportResponse;
use uuid::Uuid;

pub use plan::Plan;

/// The instances of one exporter.
#[derive(Debug)]
pub struct Tree {
    report: GetReportResponse,
    by_id: HashMap<Uuid, Arc<Instance>>,
    /// Every way to name an instance, references included.
    by_path: HashMap<String, Uuid>,
    root: Node,
}

/// An instance with those below it, in the order of opening.
#[derive(Debug)]
struct Node {
    instance: Arc<Instance>,
    /// Opened before it: it may use them.
    configured: Vec<Node>,
    /// Opened after it: it brought them along.
    brought: Vec<Node>,
}

impl Node {
    fn start(&self) -> BoxFuture<'_, ()> {
        async {
            join_all(self.configured.iter().map(Node::start)).await;
            self.instance.start().await;
            join_all(self.brought.iter().map(Node::start)).await;
        }
        .boxed()
    }

    fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Arc<Instance>)) {
        visit(&self.instance);
        for node in self.configured.iter().chain(&self.brought) {
            node.walk(visit);
        }
    }
}

impl Tree {
    /// Opens all instances, side by side; hardware that is not there does not stop the others.
    pub async fn start(&self) {
        self.root.start().await;
    }

    /// Puts every instance into the state in which a lease begins.
    pub async fn lease_start(&self) {
        join_all(self.instances().iter().map(|i| i.lease_start())).await;
    }

    /// Clients of the lease may act from now on. At most a second.
    pub async fn clients_start(&self) {
        join_all(self.instances().iter().map(|i| i.clients_start())).await;
    }

    /// The key of the clients is revoked. At most a second.
    pub async fn clients_end(&self) {
        join_all(self.instances().iter().map(|i| i.clients_end())).await;
    }

    /// Makes every instance forget the lease.
    pub async fn lease_end(&self) {
        join_all(self.instances().iter().map(|i| i.lease_end())).await;
    }

    /// Closes the hardware.
    pub async fn close(&self) {
        join_all(self.instances().iter().map(|i| i.close())).await;
    }

    /// The instance with this id.
    pub fn instance(&self, id: Uuid) -> Option<&Arc<Instance>> {
        self.by_id.get(&id)
    }

    /// The instance at this dotted path, which may lead through other names for it.
    pub fn by_path(&self, path: &str) -> Option<&Arc<Instance>> {
        self.by_id.get(self.by_path.get(path)?)
    }

    /// All instances, parents first.
    pub fn instances(&self) -> Vec<&Arc<Instance>> {
        let mut all = Vec::new();
        self.root.walk(&mut |instance| all.push(instance));
        all
    }

    /// Instances that cannot be used, with the reason.
    pub fn unusable(&self) -> Vec<(String, String)> {
        let all = self.instances().into_iter();
        all.filter_map(|instance| match instance.health() {
            Health::Ready => None,
            Health::Absent(reason) => {
                Some((instance.path().to_owned(), format!("absent: {reason}")))
            }
            Health::Faulty(reason) => {
                Some((instance.path().to_owned(), format!("faulty: {reason}")))
            }
        })
        .collect()
    }

    /// What clients are told of the tree.
    pub fn report(&self) -> &GetReportResponse {
        &self.report
    }
}
