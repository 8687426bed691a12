//! What only the whole tree can tell: references, ids, the calls of safeState, missing drivers.

use std::collections::HashMap;

use rigd_driver::MethodKind;
use uuid::Uuid;

use super::{Planned, PlannedInstance, PlannedKind, Planner};
use crate::config::{ExporterConfig, Problem, SafeCall, SafeStep, did_you_mean};

impl Planner<'_> {
    /// References below a driver, which only its children can answer. What the file itself shows to
    /// be wrong was reported before.
    pub(super) fn check_refs(&mut self, root: &PlannedInstance) {
        if !self.problems.is_empty() || !self.missing_drivers.is_empty() {
            // A target may be missing only because its entry has a mistake of its own.
            return;
        }
        let mut paths = Vec::new();
        root.walk(&mut |node| paths.push(node.path.as_str()));
        root.walk(&mut |node| {
            let PlannedKind::Ref(target, place) = &node.kind else {
                return;
            };
            if node.resolve(root).is_none() {
                let message = format!("`{}` refers to `{target}`, which does not exist", node.name);
                let help = did_you_mean(target, paths.iter().copied());
                self.problems
                    .push(Problem::new(message, *place).maybe_help(help));
            }
        });
    }

    /// Every call of safeState leads to a method; it is too late to find out at the end of a lease.
    pub(super) fn check_safe_state(&mut self, config: &ExporterConfig, root: &PlannedInstance) {
        if !self.problems.is_empty() || !self.missing_drivers.is_empty() {
            return;
        }
        let mut instances = HashMap::new();
        root.walk_all("", root, &mut |path, instance| {
            instances.insert(path.to_owned(), instance.blueprint.clone());
        });
        let steps = config.safe_state.iter().flat_map(|steps| &steps.value);
        let calls = steps.flat_map(|step| match step {
            SafeStep::Call(call) => std::slice::from_ref(call),
            SafeStep::Parallel(calls) => calls,
        });
        for SafeCall { call, .. } in calls {
            let (path, method) = call.value.rsplit_once('.').unwrap_or((&call.value, ""));
            let problem = match instances.get(path) {
                None => {
                    let help = did_you_mean(path, instances.keys().map(String::as_str));
                    let text = format!("`safeState` calls `{path}`, which does not exist");
                    Problem::new(text, call.span).maybe_help(help)
                }
                Some(blueprint) => {
                    let methods = blueprint.methods().into_iter();
                    let calls = methods.filter(|(_, kind)| *kind == MethodKind::Call);
                    let names: Vec<_> = calls.map(|(name, _)| name).collect();
                    if names.contains(&method) {
                        continue;
                    }
                    let help = did_you_mean(method, names.iter().copied());
                    let text = format!("`safeState`: `{path}` has no call `{method}`");
                    Problem::new(text, call.span).maybe_help(help)
                }
            };
            self.problems.push(problem);
        }
    }

    pub(super) fn check_ids(&mut self, root: &PlannedInstance) {
        let mut seen: HashMap<Uuid, &Planned> = HashMap::new();
        let mut problems = Vec::new();
        root.walk(&mut |node| {
            let PlannedKind::Instance(instance) = &node.kind else {
                return;
            };
            if let Some(first) = seen.insert(instance.id, node) {
                let message = format!(
                    "`{}` and `{}` have the same uuid {}",
                    first.path, node.path, instance.id
                );
                let problem = Problem::new(message, node.span);
                problems.push(problem.related(first.span, "this one has it as well"));
            }
        });
        self.problems.extend(problems);
    }

    /// One problem for each, with what to do said once.
    pub(super) fn report_missing(&mut self) {
        let mut help = Some(
            "this version of rigd has no such driver; remove the entries, or set \
             `missingDrivers: stub` to export them without function",
        );
        for (path, type_name, span) in std::mem::take(&mut self.missing_drivers) {
            let message = format!("`{path}`: the driver `{type_name}` is not native yet");
            let problem = Problem::new(message, span);
            self.problems.push(match help.take() {
                Some(help) => problem.help(help),
                None => problem,
            });
        }
    }
}
