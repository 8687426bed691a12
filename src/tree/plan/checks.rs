//! What only the whole tree can tell: references, ids, the calls of safeState, interlocks,
//! missing drivers.

use std::collections::{BTreeMap, HashMap};

use rigd_driver::{Blueprint, MethodKind};
use uuid::Uuid;

use super::{Planned, PlannedInstance, PlannedKind, Planner};
use crate::config::{
    ExporterConfig, Interlock, Problem, SafeCall, SafeStep, Span, Spanned, did_you_mean,
};

/// Instances by every path that names them.
struct Named(BTreeMap<String, Blueprint>);

impl Named {
    fn instance(&self, what: &str, path: &str, place: Span) -> Result<&Blueprint, Problem> {
        self.0.get(path).ok_or_else(|| {
            let help = did_you_mean(path, self.0.keys().map(String::as_str));
            let text = format!("{what} `{path}`, which does not exist");
            Problem::new(text, place).maybe_help(help)
        })
    }

    /// What is wrong with `path.method`; `who` `verb`s it.
    fn method(
        &self,
        who: &str,
        [verb, noun]: [&str; 2],
        call: &Spanned<String>,
        fits: impl Fn(MethodKind) -> bool,
    ) -> Option<Problem> {
        let (path, method) = call.value.rsplit_once('.').unwrap_or((&call.value, ""));
        let blueprint = match self.instance(&format!("{who} {verb}"), path, call.span) {
            Ok(blueprint) => blueprint,
            Err(problem) => return Some(problem),
        };
        let methods = blueprint.methods().into_iter();
        let methods = methods.filter(|(_, kind)| fits(*kind));
        let names: Vec<_> = methods.map(|(name, _)| name).collect();
        if names.contains(&method) {
            return None;
        }
        let help = did_you_mean(method, names.iter().copied());
        let text = format!("{who}: `{path}` has no {noun} `{method}`");
        Some(Problem::new(text, call.span).maybe_help(help))
    }

    /// What is wrong with a state that `who` asks for.
    fn state(&self, who: &str, path: &Spanned<String>, state: &Spanned<String>) -> Option<Problem> {
        let what = format!("{who} depends on");
        let blueprint = match self.instance(&what, &path.value, path.span) {
            Ok(blueprint) => blueprint,
            Err(problem) => return Some(problem),
        };
        let (path, states) = (path, blueprint.states());
        if states.contains(&state.value.as_str()) {
            return None;
        }
        if states.is_empty() {
            let text = format!("{who}: `{}` has no state that rigd knows of", path.value);
            let below = format!("{}.", path.value);
            let has = |(name, blueprint): &(&String, &Blueprint)| {
                name.starts_with(&below) && !blueprint.states().is_empty()
            };
            let part = self.0.iter().find(has);
            let help = part.map(|(name, _)| format!("did you mean `{name}`?"));
            return Some(Problem::new(text, path.span).maybe_help(help));
        }
        let text = format!("{who}: `{}` has no state `{}`", path.value, state.value);
        let help = did_you_mean(&state.value, states.iter().copied());
        Some(Problem::new(text, state.span).maybe_help(help))
    }
}

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
        let Some(named) = self.named(root) else {
            return;
        };
        let steps = config.safe_state.iter().flat_map(|steps| &steps.value);
        let calls = steps.flat_map(|step| match step {
            SafeStep::Call(call) => std::slice::from_ref(call),
            SafeStep::Parallel(calls) => calls,
        });
        let calls = calls.filter_map(|SafeCall { call, .. }| {
            let is_call = |kind| kind == MethodKind::Call;
            named.method("`safeState`", ["calls", "call"], call, is_call)
        });
        self.problems.extend(calls);
    }

    /// Every rule can refuse something and can be met; one that cannot would look like safety.
    pub(super) fn check_interlocks(&mut self, config: &ExporterConfig, root: &PlannedInstance) {
        let Some(named) = self.named(root) else {
            return;
        };
        for Interlock { name, deny, unless } in config.interlocks.iter().flat_map(|r| &r.value) {
            let rule = format!("interlock `{}`", name.value);
            let denied = deny.iter();
            let denied = denied
                .filter_map(|method| named.method(&rule, ["denies", "method"], method, |_| true));
            self.problems.extend(denied);
            let states = unless.iter();
            let states = states.filter_map(|(path, state)| named.state(&rule, path, state));
            self.problems.extend(states);
        }
    }

    /// All instances, unless some are missing only because their entries have mistakes of their own.
    fn named(&self, root: &PlannedInstance) -> Option<Named> {
        if !self.problems.is_empty() || !self.missing_drivers.is_empty() {
            return None;
        }
        let mut instances = BTreeMap::new();
        root.walk_all("", root, &mut |path, instance| {
            instances.insert(path.to_owned(), instance.blueprint.clone());
        });
        Some(Named(instances))
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
