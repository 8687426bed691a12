//! Instances of one driver whose configurations do not go together, such as two that are to share a
//! program and give it different arguments.

use super::{Planned, PlannedInstance, PlannedKind, Planner};
use crate::config::Problem;

impl Planner<'_> {
    /// One problem for each instance: with the first of those before it that it does not go with.
    pub(super) fn check_beside(&mut self, root: &PlannedInstance) {
        let mut earlier: Vec<(&Planned, &PlannedInstance)> = Vec::new();
        let mut problems = Vec::new();
        root.walk(&mut |node| {
            let PlannedKind::Instance(instance) = &node.kind else {
                return;
            };
            let clash = earlier.iter().find_map(|(first, other)| {
                let checked = instance.blueprint.check_beside(&other.blueprint);
                checked.err().map(|error| (*first, error))
            });
            if let Some((first, error)) = clash {
                let message = format!("`{}`: {}", node.path, error.message);
                let problem = Problem::new(message, node.span);
                problems.push(problem.related(first.span, "beside this one"));
            }
            earlier.push((node, instance));
        });
        self.problems.extend(problems);
    }
}
