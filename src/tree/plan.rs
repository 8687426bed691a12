//! What will be built: each entry of `export:` with its driver, checked without hardware.

mod beside;
mod checks;

use std::collections::{BTreeMap, HashMap};

use rigd_driver::Blueprint;
use uuid::Uuid;

use crate::{
    config::{
        EntryKind, ExportEntry, ExporterConfig, GenericConfig, Interlock, LogLevel, MissingDrivers,
        Problem, Span, did_you_mean, from_node,
    },
    registry::{Registry, Resolved},
};

/// Ids of instances are v5 of `namespace/exporter/path` under this id, so they are the same after a
/// restart and on every host. It is v5 of "rigd" under the namespace for names without a domain.
const ID_SPACE: Uuid = Uuid::from_u128(0x8f2c_7d0e_51b3_5a6f_9c1d_2e47_a06b_43d5);

/// How many references may follow each other; the configuration has refused circles already.
const MAX_REFS: usize = 64;

/// A checked tree that is not built yet.
#[derive(Debug)]
pub struct Plan {
    pub(super) exporter: String,
    pub(super) id: Uuid,
    pub(super) root: PlannedInstance,
    pub(super) interlocks: Vec<Interlock>,
}

/// One node of it.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) kind: PlannedKind,
    pub(super) span: Span,
}

#[derive(Debug)]
pub(super) enum PlannedKind {
    Instance(Box<PlannedInstance>),
    /// Another name for the node at this path, which stands at this place.
    Ref(String, Span),
}

#[derive(Debug)]
pub(super) struct PlannedInstance {
    pub(super) id: Uuid,
    pub(super) blueprint: Blueprint,
    pub(super) generic: GenericConfig,
    /// From `children:`.
    pub(super) configured: Vec<Planned>,
    /// From the driver.
    pub(super) brought: Vec<Planned>,
}

impl Plan {
    /// Resolves every type, reads every driver's config and checks every reference.
    ///
    /// # Errors
    /// All mistakes of the tree, each with its place.
    pub fn new(config: &ExporterConfig, registry: &Registry) -> Result<Self, Vec<Problem>> {
        let namespace = config.metadata.namespace.as_deref().unwrap_or_default();
        let exporter = config.metadata.name.clone();
        let mut planner = Planner {
            id_base: format!("{namespace}/{exporter}"),
            missing: config.missing_drivers,
            registry,
            problems: Vec::new(),
            missing_drivers: Vec::new(),
        };
        let configured = planner.entries(&config.export, "");
        let root = PlannedInstance {
            id: planner.id(""),
            blueprint: registry.composite(),
            generic: GenericConfig {
                description: config.description.clone(),
                ..GenericConfig::default()
            },
            configured,
            brought: Vec::new(),
        };
        planner.check_refs(&root);
        planner.check_ids(&root);
        planner.check_beside(&root);
        planner.check_safe_state(config, &root);
        planner.check_interlocks(config, &root);
        planner.report_missing();
        let interlocks = config.interlocks.as_ref().map(|rules| rules.value.clone());
        let interlocks = interlocks.unwrap_or_default();
        if planner.problems.is_empty() {
            Ok(Self {
                exporter,
                id: planner.id("/exporter"),
                root,
                interlocks,
            })
        } else {
            Err(planner.problems)
        }
    }

    /// Least levels of the instances' log lines, by path.
    pub fn log_levels(&self) -> BTreeMap<String, LogLevel> {
        let mut levels = BTreeMap::new();
        self.root.walk(&mut |node| {
            if let PlannedKind::Instance(instance) = &node.kind
                && let Some(level) = instance.generic.log_level
            {
                levels.insert(node.path.clone(), level);
            }
        });
        levels
    }

    /// Every path by which an instance can be named, with its id.
    pub(super) fn paths(&self) -> HashMap<String, Uuid> {
        let mut paths = HashMap::new();
        self.root.walk_all("", &self.root, &mut |path, instance| {
            paths.insert(path.to_owned(), instance.id);
        });
        paths
    }

    /// Path of the first instance that clients drive with this class.
    pub(crate) fn first_with_client(&self, client: &str) -> Option<String> {
        let mut first = None;
        self.root.walk(&mut |node| {
            if let PlannedKind::Instance(instance) = &node.kind
                && first.is_none()
                && instance.blueprint.client() == client
            {
                first = Some(node.path.clone());
            }
        });
        first
    }

    /// Paths and short type names of all instances, for `rigd check`.
    pub fn instances(&self) -> Vec<(String, &'static str)> {
        let mut all = Vec::new();
        self.root.walk(&mut |node| {
            if let PlannedKind::Instance(instance) = &node.kind {
                all.push((node.path.clone(), instance.blueprint.type_name()));
            }
        });
        all
    }
}

impl PlannedInstance {
    /// Everything below, parents first.
    fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Planned)) {
        for child in self.children() {
            visit(child);
            if let PlannedKind::Instance(instance) = &child.kind {
                instance.walk(visit);
            }
        }
    }

    pub(super) fn children(&self) -> impl Iterator<Item = &Planned> {
        self.configured.iter().chain(&self.brought)
    }

    /// Every instance by every path that names it.
    fn walk_all<'a>(
        &'a self,
        above: &str,
        root: &'a PlannedInstance,
        visit: &mut dyn FnMut(&str, &'a PlannedInstance),
    ) {
        for child in self.children() {
            let Some(target) = child.resolve(root) else {
                continue;
            };
            let path = join(above, &child.name);
            visit(&path, target);
            target.walk_all(&path, root, visit);
        }
    }

    /// The node at a path below this one. Like upstream's, it does not lead through references.
    fn find(&self, path: &str) -> Option<&Planned> {
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        let child = self.children().find(|child| child.name == first)?;
        match (rest, &child.kind) {
            (None, _) => Some(child),
            (Some(rest), PlannedKind::Instance(instance)) => instance.find(rest),
            (Some(_), PlannedKind::Ref(..)) => None,
        }
    }
}

impl Planned {
    /// The instance that this node is or refers to.
    pub(super) fn resolve<'a>(&'a self, root: &'a PlannedInstance) -> Option<&'a PlannedInstance> {
        let mut node = self;
        for _ in 0..MAX_REFS {
            match &node.kind {
                PlannedKind::Instance(instance) => return Some(instance),
                PlannedKind::Ref(target, _) => node = root.find(target)?,
            }
        }
        None
    }
}

/// A name below a dotted path.
fn join(above: &str, name: &str) -> String {
    if above.is_empty() {
        name.to_owned()
    } else {
        format!("{above}.{name}")
    }
}

struct Planner<'a> {
    id_base: String,
    missing: MissingDrivers,
    registry: &'a Registry,
    problems: Vec<Problem>,
    /// Upstream drivers that are not native yet: path, type, place.
    missing_drivers: Vec<(String, String, Span)>,
}

impl Planner<'_> {
    fn id(&self, path: &str) -> Uuid {
        Uuid::new_v5(&ID_SPACE, format!("{}/{path}", self.id_base).as_bytes())
    }

    fn entries(&mut self, entries: &[ExportEntry], above: &str) -> Vec<Planned> {
        entries
            .iter()
            .filter_map(|entry| self.entry(entry, above))
            .collect()
    }

    fn entry(&mut self, entry: &ExportEntry, above: &str) -> Option<Planned> {
        let name = entry.name.value.clone();
        let path = join(above, &name);
        let span = entry.name.span;
        let kind = match &entry.kind {
            EntryKind::Ref { target } => PlannedKind::Ref(target.value.clone(), target.span),
            EntryKind::Composite {
                description,
                children,
            } => {
                let generic = GenericConfig {
                    description: description.clone(),
                    ..GenericConfig::default()
                };
                let composite = self.registry.composite();
                self.instance(&path, composite, generic, children, span)
            }
            EntryKind::Driver(driver) => {
                let generic = driver.generic.clone();
                match self.registry.resolve(&driver.type_name.value) {
                    Resolved::Driver(entry) => {
                        let blueprint = match entry.parse(&driver.config) {
                            Ok(blueprint) => Some(blueprint),
                            Err(problems) => {
                                self.problems.extend(problems);
                                None
                            }
                        };
                        // Mistakes below a broken entry are of interest as well.
                        let composite = self.registry.composite();
                        let blueprint = blueprint.unwrap_or(composite);
                        self.instance(&path, blueprint, generic, &driver.children, span)
                    }
                    Resolved::Proxy => match from_node::<ProxyConfig>(&driver.config) {
                        Ok(config) => PlannedKind::Ref(config.target, span),
                        Err(problems) => {
                            self.problems.extend(problems);
                            return None;
                        }
                    },
                    Resolved::Upstream { client } if self.missing == MissingDrivers::Stub => {
                        let blueprint = self.registry.stub(client);
                        self.instance(&path, blueprint, generic, &driver.children, span)
                    }
                    Resolved::Upstream { .. } => {
                        let missing = driver.type_name.value.clone();
                        self.missing_drivers
                            .push((path, missing, driver.type_name.span));
                        return None;
                    }
                    Resolved::Unknown => {
                        let written = &driver.type_name.value;
                        let help = did_you_mean(written, self.registry.names());
                        let list = "`rigd drivers` lists the known types".to_owned();
                        let problem = Problem::new(
                            format!("unknown driver type `{written}`"),
                            driver.type_name.span,
                        );
                        self.problems.push(problem.help(help.unwrap_or(list)));
                        return None;
                    }
                }
            }
        };
        Some(Planned {
            name,
            path,
            kind,
            span,
        })
    }

    fn instance(
        &mut self,
        path: &str,
        blueprint: Blueprint,
        generic: GenericConfig,
        children: &[ExportEntry],
        span: Span,
    ) -> PlannedKind {
        let configured = self.entries(children, path);
        let brought: Vec<_> = blueprint
            .children()
            .into_iter()
            .map(|child| {
                let path = format!("{path}.{}", child.name);
                let kind =
                    self.instance(&path, child.blueprint, GenericConfig::default(), &[], span);
                Planned {
                    name: child.name,
                    path,
                    kind,
                    span,
                }
            })
            .collect();
        for child in &configured {
            if brought.iter().any(|b| b.name == child.name) {
                let message = format!(
                    "`{}` is a name that the driver {} uses for an instance of its own",
                    child.name,
                    blueprint.type_name()
                );
                self.problems
                    .push(Problem::new(message, child.span).help("choose another name"));
            }
        }
        let id = generic.uuid.unwrap_or_else(|| self.id(path));
        let instance = PlannedInstance {
            id,
            blueprint,
            generic,
            configured,
            brought,
        };
        PlannedKind::Instance(Box::new(instance))
    }
}

/// `config:` of an entry that spells a reference as a driver.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyConfig {
    #[serde(rename = "ref")]
    target: String,
}
