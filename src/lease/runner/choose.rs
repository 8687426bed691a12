//! Which instance a person means: the one of a path, or the only one of its kind.

use std::sync::Arc;

use rigd_driver::Instance;
use tonic::Status;

use crate::{config::nearest, tree::Tree};

/// What is looked for, in words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) one: &'static str,
    pub(super) many: &'static str,
}

/// The instance at `path` if it is such a one; without a path the only one that `is`.
///
/// # Errors
/// All errors list those there are. NOT_FOUND: there is none, or nothing has the path.
/// FAILED_PRECONDITION: there are several, or the instance is another thing.
pub(super) fn choose<'a>(
    tree: &'a Tree,
    path: &str,
    kind: Kind,
    is: impl Fn(&Instance) -> bool,
) -> Result<&'a Arc<Instance>, Status> {
    let Kind { one, many } = kind;
    let found: Vec<_> = tree.instances().into_iter().filter(|i| is(i)).collect();
    let paths: Vec<_> = found.iter().map(|instance| instance.path()).collect();
    let all = match paths.as_slice() {
        [] => format!("the exporter has no {one}"),
        paths => format!("its {many} are: {}", paths.join(", ")),
    };
    if path.is_empty() {
        return match found.as_slice() {
            [only] => Ok(only),
            [] => Err(Status::not_found(all)),
            _ => Err(Status::failed_precondition(format!(
                "which {one}? Write EXPORTER/PATH; {all}"
            ))),
        };
    }
    match tree.by_path(path) {
        Some(instance) if is(instance) => Ok(instance),
        Some(_) => Err(Status::failed_precondition(format!(
            "'{path}' is no {one}; {all}"
        ))),
        None => {
            let near = nearest(path, paths);
            let near = near.map(|near| format!("; did you mean '{near}'?"));
            let near = near.unwrap_or_default();
            Err(Status::not_found(format!("no {one} '{path}'{near}; {all}")))
        }
    }
}
