//! From a plan to instances.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use rigd_driver::{Instance, InstanceConfig};
use uuid::Uuid;

use super::{
    Node, Plan, Tree,
    plan::{Planned, PlannedInstance, PlannedKind},
    report,
};
use crate::{
    config::{self, Spanned},
    os::paths,
};

impl Tree {
    /// Makes the instances of a plan. `state_dir` is the exporter's own; `motd` greets clients.
    pub fn build(plan: Plan, state_dir: &Path, motd: Option<String>) -> Arc<Self> {
        let report = report::report(&plan, motd);
        let by_path = plan.paths();
        let mut builder = Builder {
            exporter: plan.exporter,
            state_dir: state_dir.into(),
            by_id: HashMap::new(),
        };
        let root = builder.instance("", plan.root, None);
        let tree = Arc::new(Self {
            report,
            by_id: builder.by_id,
            by_path,
            root,
        });
        rigd_driver::Interlock::install(plan.interlocks.iter().map(|i| tree.rule(i)).collect());
        tree
    }

    /// A rule over the tree's own instances; the plan has checked every path.
    fn rule(&self, rule: &config::Interlock) -> rigd_driver::Interlock {
        let denied = |method: &Spanned<String>| {
            let (path, method) = method.value.rsplit_once('.')?;
            Some((self.by_path(path)?.clone(), method.to_owned()))
        };
        let state = |(path, state): &(Spanned<String>, Spanned<String>)| {
            Some((self.by_path(&path.value)?.clone(), state.value.clone()))
        };
        rigd_driver::Interlock {
            name: rule.name.value.clone(),
            deny: rule.deny.iter().filter_map(denied).collect(),
            unless: rule.unless.iter().filter_map(state).collect(),
        }
    }
}

struct Builder {
    exporter: String,
    state_dir: PathBuf,
    by_id: HashMap<Uuid, Arc<Instance>>,
}

impl Builder {
    fn nodes(&mut self, nodes: Vec<Planned>, parent: Option<&Arc<Instance>>) -> Vec<Node> {
        let instances = nodes.into_iter().filter_map(|node| match node.kind {
            PlannedKind::Instance(instance) => Some((node.path, instance)),
            // Another name for an instance is a line in the report and nothing to open.
            PlannedKind::Ref(..) => None,
        });
        instances
            .map(|(path, instance)| self.instance(&path, *instance, parent))
            .collect()
    }

    fn instance(
        &mut self,
        path: &str,
        planned: PlannedInstance,
        parent: Option<&Arc<Instance>>,
    ) -> Node {
        let configured = self.nodes(planned.configured, None);
        let children = configured.iter().map(|node| {
            let path = node.instance.path();
            let name = path.rsplit('.').next().unwrap_or(path);
            (name.to_owned(), node.instance.clone())
        });
        let instance = Instance::new(InstanceConfig {
            exporter: self.exporter.clone(),
            path: path.into(),
            uuid: planned.id,
            state_dir: self.state_dir.join(paths::component(path)),
            blueprint: planned.blueprint,
            parent: parent.cloned(),
            children: children.collect(),
            descriptor: None,
        });
        self.by_id.insert(planned.id, instance.clone());
        let brought = self.nodes(planned.brought, Some(&instance));
        Node {
            instance,
            configured,
            brought,
        }
    }
}
