//! What the system lets the process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that all exporters of a host may need: each tunnel is one, and a lease may have 128.
const OPEN_FILES: u64 = 65_536;

/// Raises the limit of open files as far as this process may. Where it may not, what does not fit
/// fails when it is opened.
pub fn raise_open_files() {
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if now.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: now.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, wanted, "The limit of open files stays as it is.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Nofile).current;
        raise_open_files();
        let after = getrlimit(Resource::Nofile);
        let least = after
            .maximum
            .map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
        assert!(after.current.is_none_or(|now| now >= least), "{after:?}");
        assert!(after.current.unwrap_or(u64::MAX) >= before.unwrap_or(0));
    }
}
